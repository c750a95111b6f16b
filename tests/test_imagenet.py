"""The names of ImageNet's classes, packaged or from the development kit."""

import io
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from mindvit import imagenet_classes, index2label


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
