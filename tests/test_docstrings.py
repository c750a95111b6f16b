"""Every public name's docstring has an example, and it says the truth."""

import contextlib
import doctest
import inspect
import os
import struct
import zipfile

import mindspore
import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters
from PIL import Image

import mindvit
from mindvit.models.variants import VARIANTS

PUBLIC = {name: getattr(mindvit, name) for name in mindvit.__all__}
DOCUMENTED = sorted(name for name, value in PUBLIC.items() if inspect.isclass(value) or inspect.isfunction(value))


@pytest.fixture(scope="module")
def files(tmp_path_factory, photo_folder):
    """What the examples find in their folder."""
    folder = tmp_path_factory.mktemp("examples")
    mindvit.save_weights(mindvit.create_model("vit_t_16", activation="gelu", norm_eps=1e-6),
                         folder / "vit_tiny_patch16_224.safetensors", "timm")
    (folder / "config.json").unlink()
    (folder / "ckpt").mkdir()
    (folder / "ckpt/vit_b_16_224.ckpt").touch()
    Image.open(next(photo_folder.glob("val/*/*"))).save(folder / "cat.jpg")
    os.symlink(photo_folder, folder / "dataset")
    for name, label_bytes, files in (("cifar-10-batches-bin", 1, ["data_batch_1.bin", "test_batch.bin"]),
                                     ("cifar-100-binary", 2, ["train.bin", "test.bin"])):
        (folder / name).mkdir()
        for file in files:
            np.zeros((20, label_bytes + 3072), np.uint8).tofile(folder / name / file)
    (folder / "mnist").mkdir()
    (folder / "mnist/t10k-images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 10, 28, 28) + bytes(7840))
    (folder / "mnist/t10k-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 10) + bytes(range(10)))
    (folder / "downloads").mkdir()
    with zipfile.ZipFile(folder / "downloads/pictures.zip", "w") as archive:
        archive.write(folder / "cat.jpg", "cat.jpg")
    return folder


@pytest.fixture
def default_mode():
    """Examples that choose a device leave graph mode behind."""
    yield
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] if name == "quickstart" else [])
                                  for name in DOCUMENTED])
def test_example(name, files, default_mode, monkeypatch):
    monkeypatch.chdir(files)
    tests = [test for test in doctest.DocTestFinder(recurse=True).find(
        PUBLIC[name], name, globs={**PUBLIC, "mindspore": mindspore, "np": np}) if test.examples]
    assert any(test.name == name for test in tests), f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    # the largest variants have gigabytes of values, which no example of theirs reads
    with no_init_parameters() if name in VARIANTS else contextlib.nullcontext():
        for test in tests:
            runner.run(test)
    assert not runner.failures
