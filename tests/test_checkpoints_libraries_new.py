"""Another library is one more file in mindvit/checkpoints/libraries: its checkpoints load, and are written, at once."""

import pathlib
import re
import sys

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import TINY

from mindvit import ViT, from_checkpoint, read_checkpoint, save_weights
from mindvit.checkpoints import libraries

MODULE = '''
import dataclasses

from mindvit.checkpoints.library import Library, Writing, as_stored, only_here

NAMES = {
    "cls": "summary",
    "pos_embedding": "places",
    "patch_embedding.conv.{p}": "eye.{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "storey.{i}.quiet_a.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "storey.{i}.{qkv}.{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "storey.{i}.collect.{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "storey.{i}.quiet_b.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "storey.{i}.wide.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "storey.{i}.narrow.{p}",
    "norm.{p}": "quiet.{p}",
    "dense.{p}": "mouth.{p}"}


def transposed(name, array):
    return array.T if array.ndim == 2 else array


ATTIC = Library(
    name="attic", names=NAMES, norm_words=("gain", "shift"), other_words=("matrix", "offset"),
    qkv=("ask", "answer", "tell"), spellings=((r"^house[.]", ""),), layout=lambda *file: transposed,
    activation="quick_gelu", norm_eps=1e-3, usual_heads=lambda embed_dim, width: (width // 8, "heads of 8"))
CELLAR = dataclasses.replace(
    ATTIC, name="cellar", other_words=("sheet", "offset"), layout=as_stored, writing=Writing(".safetensors", only_here))
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
    """LIBRARIES with those of MODULE, which lies as a file in another folder of the package."""
    (tmp_path / "attic.py").write_text(MODULE)
    monkeypatch.setattr(libraries, "__path__", [*libraries.__path__, str(tmp_path)])
    for name, library in libraries.find_libraries().items():
        monkeypatch.setitem(libraries.LIBRARIES, name, library)
    yield libraries.LIBRARIES
    del sys.modules["mindvit.checkpoints.libraries.attic"], libraries.attic


def network():
    return ViT(**TINY, activation="quick_gelu", norm_eps=1e-3).set_train(False)


def logits(network):
    return network(ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)), ms.float32)).asnumpy()


def test_a_file_of_a_new_library_gives_the_native_logits(added, tmp_path):
    native, foreign = str(tmp_path / "native.ckpt"), str(tmp_path / "foreign.safetensors")
    save_weights(network(), native)
    arrays = {}
    for name, array in read_checkpoint(native)[0].items():
        names, array = added["attic"].foreign_names(name), np.asarray(array)
        for foreign_name, part in zip(names, np.split(array, len(names))):
            arrays[f"house.{foreign_name}"] = np.ascontiguousarray(part.T if part.ndim == 2 else part)
    assert {"house.summary", "house.storey.1.answer.matrix", "house.storey.0.quiet_b.gain"} <= arrays.keys()
    save_file(arrays, foreign)

    found = from_checkpoint(foreign)
    report = found.load_report
    assert (report.format, report.missing, report.unused) == ("attic", [], [])
    assert {"num_heads 4, heads of 8", "activation quick_gelu, usual in files of attic"} <= set(report.assumed)
    assert any(sentence.startswith("preprocessing") for sentence in report.assumed)
    assert np.array_equal(logits(found), logits(from_checkpoint(native)))


def test_a_new_library_is_written(added, tmp_path):
    saved, path = network(), str(tmp_path / "written.safetensors")
    assert save_weights(saved, path, format="cellar") == []
    found = from_checkpoint(path)
    assert found.load_report.format == "cellar" and np.array_equal(logits(found), logits(saved))
    with pytest.raises(ValueError, match="'attic'; choose one of 'mindspore', 'suite', .*, 'cellar'"):
        save_weights(saved, path, format="attic")


def test_no_library_is_named_outside_its_file():
    """By comparison, at least; a docstring may."""
    home = pathlib.Path(libraries.__file__).parents[1]
    names = "|".join(libraries.LIBRARIES)
    for file in home.glob("*.py"):
        found = re.findall(rf"(?:==|!=|\bin) *[(\[{{]?[\"'](?:{names})[\"']", file.read_text(encoding="utf-8"))
        assert not found, f"{file} asks for {found}"
