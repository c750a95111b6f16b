"""MNIST's files, checked against an array written by hand and by MindSpore's own reader."""

import gzip
import re
import struct

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision

from mindvit import Mnist, TrainConfig, TrainJob, open_dataset
from mindvit.config import DataConfig, ModelConfig
from mindvit.data import open_evaluation
from mindvit.training.loop import train

RNG = np.random.default_rng(5)
IMAGES = {"train": RNG.integers(0, 256, (12, 28, 28), np.uint8), "t10k": RNG.integers(0, 256, (6, 28, 28), np.uint8)}
LABELS = {"train": np.arange(12, dtype=np.uint8) % 4, "t10k": np.array([3, 1, 0, 0, 2, 1], np.uint8)}


def write(folder, end="", hyphen="-"):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, images in IMAGES.items():
        for what, values in (("images", images), ("labels", LABELS[stem])):
            content = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
            path = folder / f"{stem}-{what}{hyphen}idx{values.ndim}-ubyte{end}"
            path.write_bytes(gzip.compress(content) if end else content)
    return folder


@pytest.mark.parametrize("end, hyphen", [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
def test_images_and_labels_are_those_in_the_files(tmp_path, end, hyphen):
    write(tmp_path, end, hyphen)
    for split, stem in (("train", "train"), ("val", "t10k")):
        data = open_dataset(tmp_path, split)
        assert type(data) is Mnist and data.classes == ["0", "1", "2", "3"] and len(data) == len(IMAGES[stem])
        for i, (image, label) in enumerate(zip(IMAGES[stem], LABELS[stem])):
            encoded, found = data[i]
            assert found == label and (vision.Decode()(encoded) == image[..., None]).all()


def test_mindspores_reader_gives_the_same(tmp_path):
    write(tmp_path)
    rows = ds.MnistDataset(str(tmp_path), "test", shuffle=False).create_tuple_iterator(output_numpy=True, num_epochs=1)
    data = Mnist(tmp_path, "val")
    for i, (image, label) in enumerate(rows):
        assert label == data.labels[i] and (image == data.images[i]).all()
    assert i == 5


def test_names_come_from_the_file_beside_and_a_heads_are_found_among_them(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("T-shirt\nTrouser\nPullover\nDress\nCoat\n")
    assert Mnist(tmp_path).classes == ["T-shirt", "Trouser", "Pullover", "Dress", "Coat"]
    names = ["Bag", "Coat", "Dress", "Pullover", "Trouser", "T-shirt"]
    data = open_evaluation(tmp_path, class_names=names)[0]
    assert [names[label] for label in data.labels] == [["T-shirt", "Trouser", "Pullover", "Dress"][i]
                                                       for i in LABELS["t10k"]]
    assert data.remarks == ["1 of the 6 classes are not in MNIST: Bag"]
    (tmp_path / "classes.txt").write_text("T-shirt\nTrouser\n")
    with pytest.raises(ValueError, match="names 2 classes, but there are labels up to 3"):
        Mnist(tmp_path)


@pytest.mark.parametrize("name, content, message", [
    ("train-images-idx3-ubyte", b"<html>not found</html>", "is no IDX file of bytes; download it again"),
    ("train-images-idx3-ubyte", b"", "is no IDX file of bytes"),
    ("train-images-idx3-ubyte", b"\0\0\x08\x03\0\0", "is no IDX file of bytes"),
    ("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12 + b"1234", "has 4 values, but says 4294967295 x"),
    ("train-images-idx3-ubyte", b"\0\0\x08\x03" + struct.pack(">3I", 1, 1, 1) + b"1", "has the shape (1, 1, 1) and"),
    ("train-labels-idx1-ubyte", b"\0\0\x08\x01" + struct.pack(">I", 12) + bytes(11), "has 11 values, but says 12"),
    ("train-labels-idx1-ubyte", b"\0\0\x0d\x01" + struct.pack(">I", 12) + bytes(48), "is no IDX file of bytes"),
])
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        Mnist(tmp_path)


def test_a_cut_off_archive_or_a_missing_file_is_named(tmp_path):
    write(tmp_path, ".gz")
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz cannot be read"):
        Mnist(tmp_path, "val")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, with or without"):
        open_dataset(tmp_path, "val")
    with pytest.raises(ValueError, match="the head has 7 classes, but MNIST has 4"):
        Mnist(tmp_path, num_classes=7)


def test_a_network_is_trained_on_it(tmp_path):
    root = str(write(tmp_path / "mnist"))
    job = TrainJob(data=DataConfig(root, augment=["resize"]), train=TrainConfig(epochs=1, batch_size=4),
                   model=ModelConfig("vit_t_16", image_size=28, overrides={"patch_size": 7, "num_layers": 1}),
                   out=str(tmp_path / "run"))
    assert train(job)["images"] == 6
    assert (tmp_path / "run/classes.txt").read_text() == "0\n1\n2\n3\n"
