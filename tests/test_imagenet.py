"""The names of ImageNet's classes, packaged or from the development kit, and the packaged digits."""
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import mindvit.data
from mindvit import imagenet_classes, index2label, write_digits


def meta_mat(rename=None):
    """A meta.mat in the layout of the development kit: 1,000 leaves in another order than by wnid, and 74 parents."""
    classes = {**dict(imagenet_classes()[::-1]), **(rename or {})}
    rows = [(i + 1, wnid, names, 0) for i, (wnid, names) in enumerate(classes.items())]
    rows += [(1001 + i, f"n000{i:05d}", "entity", 2) for i in range(74)]
    kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    stream = io.BytesIO()
    savemat(stream, {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})
    return stream.getvalue()


def test_packaged_names():
    names = index2label()
    assert list(names) == list(range(1000)) and [wnid for wnid, _ in imagenet_classes()] == sorted(
        wnid for wnid, _ in imagenet_classes())
    assert [names[i] for i in (0, 1, 236, 999)] == ["tench", "goldfish", "Doberman", "toilet tissue"]


@pytest.mark.parametrize("layout", ["folder", "archive"])
def test_names_from_the_development_kit(tmp_path, layout):
    assert index2label(tmp_path) == index2label()
    content = meta_mat({"n02107142": "pincher, another name"})
    member = "ILSVRC2012_devkit_t12/data/meta.mat"
    if layout == "folder":
        (tmp_path / member).parent.mkdir(parents=True)
        (tmp_path / member).write_bytes(content)
    else:
        with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.rglob("*"))
    names = index2label(tmp_path)
    assert names[236] == "pincher" and {**names, 236: "Doberman"} == index2label()
    assert sorted(tmp_path.rglob("*")) == before  # nothing unpacked


def test_damaged_development_kit_is_named(tmp_path):
    folder = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    for content in (b"", b"no MATLAB file" * 99, meta_mat()[:3000]):
        (folder / "meta.mat").write_bytes(content)
        with pytest.raises(ValueError, match="data/meta.mat.*packaged names"):
            index2label(tmp_path)
    (folder / "meta.mat").unlink()
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"\x1f\x8b\x08 half a file")
    with pytest.raises(ValueError, match="devkit_t12.tar.gz"):
        index2label(tmp_path)


def test_digits(tmp_path):
    folder = write_digits(tmp_path / "new" / "digits")
    files = sorted(folder.rglob("*.png"))
    assert len(files) == 1797 and len(list((folder / "val").rglob("*.png"))) == 360
    with np.load(Path(mindvit.data.__file__).with_name("digits.npz")) as packaged:
        images, labels = packaged["images"], packaged["labels"]
    for file in files:
        image, index = Image.open(file), int(file.stem)
        assert image.mode == "L" and image.size == (32, 32) and int(file.parent.name) == labels[index]
        pixels = np.asarray(image)
        assert pixels[4:28, 4:28].any() and pixels.sum() == pixels[4:28, 4:28].sum()  # a black margin
        # Bicubic interpolation keeps the samples: here the centres of the 3 x 3 pixels.
        assert np.abs(pixels[5:28:3, 5:28:3] / 255 * 16 - images[index]).max() < 0.04
    for digit in range(10):
        held_out, count = len(list((folder / "val" / str(digit)).iterdir())), (labels == digit).sum()
        assert abs(held_out - count / 5) < 1
    times = [file.stat().st_mtime_ns for file in files]
    write_digits(folder)
    assert [file.stat().st_mtime_ns for file in files] == times
    files[0].unlink()
    with pytest.raises(FileExistsError, match="other than the digits"):
        write_digits(folder)
    (tmp_path / "empty").mkdir()
    assert len(list(write_digits(tmp_path / "empty").rglob("*.png"))) == 1797
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "new"]
