"""CIFAR-10 and CIFAR-100 in both layouts, and pickles that want to do more than hold it."""
import os
import pickle
import struct

import numpy as np
import pytest
from mindspore.dataset import vision

from mindvit import Cifar10, Cifar100, open_dataset
from mindvit.data import open_evaluation

RNG = np.random.default_rng(3)
PLANES = RNG.integers(0, 256, (6, 3, 32, 32), np.uint8)
LABELS = [3, 9, 0, 1, 1, 8]
FINE = [49, 99, 0, 33, 72, 23]  # mountain, worm, apple, forest, seal, cloud; their groups are
COARSE = [10, 13, 4, 10, 0, 10]  # scenes, invertebrates, fruit, scenes, aquatic mammals, scenes
NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def write_binary(folder, name="data_batch_1.bin"):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [bytes([label]) + planes.tobytes() for label, planes in zip(LABELS, PLANES)]
    (folder / name).write_bytes(b"".join(rows))


def write_cifar100(folder, layout, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        if layout == "binary":
            rows = [bytes([coarse, fine]) + planes.tobytes() for coarse, fine, planes in zip(COARSE, FINE, PLANES)]
            (folder / f"{name}.bin").write_bytes(b"".join(rows))
        else:
            (folder / name).write_bytes(python2_pickle({"coarse_labels": COARSE, "fine_labels": FINE}))
    if names and layout == "binary":
        (folder / "fine_label_names.txt").write_text("\n".join(names) + "\n\n")
    elif names:
        (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [name.encode() for name in names]}, 2))


def python2_pickle(lists=None):
    """What Python 2's cPickle wrote (protocol 2) for {"data": array, "labels": list}, put together by hand."""
    def text(value):
        return b"U" + bytes([len(value)]) + value

    data = PLANES.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff"
    dtype += b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01K\x06M\x00\x0c\x86" + dtype + b"\x89" + b"T" + struct.pack("<i", len(data)) + data + b"tb"
    labels = b"".join(text(key.encode()) + b"](" + b"".join(b"K" + bytes([label]) for label in values) + b"e"
                      for key, values in (lists or {"labels": LABELS}).items())
    return b"\x80\x02}(" + text(b"data") + array + labels + b"u."


def check(dataset, labels=LABELS, names=NAMES):
    assert len(dataset) == 6 and dataset.index2label == dict(enumerate(names))
    for i, (planes, label) in enumerate(zip(PLANES, labels)):
        encoded, found = dataset[i]
        assert found == label and (vision.Decode()(encoded) == planes.transpose(1, 2, 0)).all()


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_binary(tmp_path, inside):
    write_binary(tmp_path / inside)
    write_binary(tmp_path / inside, "test_batch.bin")
    check(open_dataset(tmp_path, "train"))
    batches = list(Cifar10(tmp_path, "val", batch_size=4, resize=32).run().create_dict_iterator(output_numpy=True))
    assert [batch["image"].shape for batch in batches] == [(4, 3, 32, 32), (2, 3, 32, 32)]
    assert np.concatenate([batch["label"] for batch in batches]).tolist() == LABELS


@pytest.mark.parametrize("protocol", ["python2", 2, 4])
def test_pickles(tmp_path, protocol):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = {"data": PLANES.reshape(6, -1), "labels": LABELS}
    (folder / "data_batch_1").write_bytes(python2_pickle() if protocol == "python2" else
                                          pickle.dumps(content, protocol=protocol))
    check(open_dataset(tmp_path, "train"))


class Runs:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("function, args", [(os.system, ("touch executed",)), (eval, ("open('executed', 'w')",)),
                                            (np.save, ("executed.npy", 1))])
def test_pickle_that_runs_something_is_refused(tmp_path, function, args):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": Runs(function, *args), "labels": LABELS}))
    with pytest.raises(ValueError, match=f"data_batch_1.*{function.__name__}.*only arrays and plain values"):
        Cifar10(tmp_path)
    assert not os.path.exists("executed") and not os.path.exists("executed.npy")


def test_damaged_batches_are_refused(tmp_path):
    write_binary(tmp_path)
    file = tmp_path / "data_batch_1.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="data_batch_1.bin: 18437 bytes are no multiple of 3073"):
        Cifar10(tmp_path)
    file.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(ValueError, match="data_batch_1.bin.*outside 0 to 9"):
        Cifar10(tmp_path)
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="1000 classes.*10"):
        Cifar10(tmp_path, num_classes=1000)
    with pytest.raises(FileNotFoundError, match="CIFAR-10 batches for 'val'"):
        Cifar10(tmp_path, "val")
    file.unlink()
    (tmp_path / "data_batch_1").write_bytes(python2_pickle()[:-400])
    with pytest.raises(ValueError, match="data_batch_1"):
        Cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": PLANES, "labels": LABELS[:5]}))
    with pytest.raises(ValueError, match=r"\(6, 3, 32, 32\) with 5 labels"):
        Cifar10(tmp_path)


def test_the_classes_are_found_by_name(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (10, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(10)
    rows.tofile(tmp_path / "test_batch.bin")
    names = ["yacht", *reversed(Cifar10(tmp_path, "val").classes)]
    val = Cifar10(tmp_path, "val", class_names=names, num_classes=11)
    assert val.labels.tolist() == list(range(10, 0, -1)) and val.classes == names
    assert val.remarks == ["1 of the 11 classes are not in CIFAR-10: yacht"]
    with pytest.raises(ValueError, match="truck in .* is none of the 10 classes; did you mean 'trucks'"):
        Cifar10(tmp_path, "val", class_names=[*names[2:], "trucks"])


@pytest.mark.parametrize("layout", ["binary", "python"])
@pytest.mark.parametrize("inside", [False, True])
def test_cifar100(tmp_path, layout, inside):
    write_cifar100(tmp_path / f"cifar-100-{layout}", layout)
    root = tmp_path / f"cifar-100-{layout}" if inside else tmp_path
    train, val = open_dataset(root, "train"), open_evaluation(root)[0]
    for dataset in (train, val):
        assert isinstance(dataset, Cifar100) and dataset.num_classes == 100
        check(dataset, FINE, dataset.classes)
        shown = [dataset.classes[label] for label in dataset.labels]
        assert shown == ["mountain", "worm", "apple", "forest", "seal", "cloud"]
    assert train.classes == sorted(set(train.classes))
    batch = next(open_dataset(root, "train", batch_size=6, resize=32).run().create_dict_iterator(output_numpy=True))
    assert batch["image"].shape == (6, 3, 32, 32) and sorted(batch["label"]) == sorted(FINE)


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_names_beside_the_batches(tmp_path, layout):
    names = [f"name {i}" for i in range(100)]
    write_cifar100(tmp_path, layout, names)
    assert Cifar100(tmp_path).classes == names
    assert Cifar100(tmp_path, class_names=[*reversed(names), "more"]).labels.tolist() == [99 - label for label in FINE]
    write_cifar100(tmp_path, layout, names[:99])
    file = "fine_label_names.txt" if layout == "binary" else "meta"
    with pytest.raises(ValueError, match=f"{file} names 99 classes, but CIFAR-100 has 100; remove it"):
        Cifar100(tmp_path)


def test_names_of_cifar10_beside_the_batches(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("\n".join(map(str.upper, NAMES)) + "\n\n")
    check(open_dataset(tmp_path, "train"), names=[name.upper() for name in NAMES])


def test_damaged_cifar100_is_refused(tmp_path):
    write_cifar100(tmp_path, "binary")
    file = tmp_path / "train.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="train.bin: 18443 bytes are no multiple of 3074"):
        Cifar100(tmp_path)
    file.write_bytes(whole[:1] + b"\x64" + whole[2:])
    with pytest.raises(ValueError, match="train.bin.*outside 0 to 99; this is no CIFAR-100 batch"):
        Cifar100(tmp_path)
    with pytest.raises(ValueError, match="10 classes, but CIFAR-100 has 100"):
        Cifar100(tmp_path, "val", num_classes=10)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="no CIFAR-100 batches for 'train'.*cifar-100-binary or cifar-100-py"):
        Cifar100(tmp_path)
    (tmp_path / "train").mkdir()  # a folder of class folders, no batch
    assert not Cifar100.batch_files(tmp_path, "train")


@pytest.mark.parametrize("name", ["train", "meta"])
def test_cifar100_pickles_that_run_something_are_refused(tmp_path, name):
    write_cifar100(tmp_path, "python")
    (tmp_path / name).write_bytes(pickle.dumps({"fine_labels": Runs(os.system, "touch executed")}))
    with pytest.raises(ValueError, match=f"{name}: .*system.*only arrays and plain values"):
        Cifar100(tmp_path)
    assert not os.path.exists("executed")
    for content in ({"data": PLANES, "fine_labels": FINE}, {"data": PLANES.reshape(6, -1), "fine_labels": ["a"] * 6},
                    {"data": PLANES.reshape(6, -1)}, {"data": PLANES.reshape(6, -1), "fine_labels": [FINE, [1]]}, 7):
        (tmp_path / "train").write_bytes(pickle.dumps(content))
        (tmp_path / "meta").unlink(missing_ok=True)
        with pytest.raises(ValueError, match="train: "):
            Cifar100(tmp_path)


def test_a_missing_test_batch_is_named(tmp_path):
    np.zeros((10, 3074), np.uint8).tofile(tmp_path / "train.bin")
    with pytest.raises(FileNotFoundError, match="no CIFAR-100 batches for 'val'.*expected test"):
        open_dataset(tmp_path, "val")
