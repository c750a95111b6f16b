"""What the fuzzers started from and found goes through their targets, and so do changes of it that keep its form."""

import json
import pathlib

import numpy as np
import pytest
import targets
from hypothesis import given, settings
from hypothesis import strategies as st

CORPUS = pathlib.Path(__file__).with_name("corpus")
# Small trees of what JSON and YAML can say.
VALUES = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9),
    st.sampled_from(
    ["vit", "gelu", "bicubic", "sgd", "flip", "cls", [224, 224], 10**400])), lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)), max_leaves=6)
NAMES = st.sampled_from([*targets.SHAPES, "x", "mindvit", "blocks.1.norm1.bias", "blocks.99999999999.norm1.bias"])
SIZES = st.one_of(st.integers(0, 5), st.sampled_from([-1, 2**31, 2**62, 2**64, 10**400, 1.5, None, "4"]))
KINDS = [*targets.CHECKPOINTS, *targets.BESIDE, "cifar"]


def kind(name):
    return bytes([KINDS.index(name)])


@pytest.mark.parametrize("target", ["checkpoint", "image", "config"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_corpus_is_read_or_refused(target):
    files = sorted((CORPUS / target).iterdir())
    assert len(files) > 20
    for file in files:
        getattr(targets, target)(file.read_bytes())


def test_good_files_of_pytorch_are_read_without_it():
    """The seeds in both of its formats hold what targets.py says, which torch.save wrote."""
    for file in CORPUS.glob("checkpoint/seed.*.pth"):
        path = pathlib.Path("model.pth")
        path.write_bytes(file.read_bytes()[1:])
        arrays = targets.open_checkpoint(path).arrays
        assert len(arrays) == len(targets.SHAPES)
        assert all((np.asarray(array) == 0.5).all() for array in arrays.values())
        assert sorted(array.shape for array in arrays.values()) == sorted(targets.SHAPES.values())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "F8_E5M2", "x", 3]), "shape": st.lists(SIZES, max_size=5),
    "data_offsets": st.lists(SIZES, max_size=3)}) | VALUES, max_size=5))
def test_headers_of_safetensors(header):
    targets.checkpoint(kind("header") + json.dumps(header).encode())


@settings(max_examples=200, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(targets.SHAPES)), st.lists(st.integers(0, 9), max_size=5),
    max_size=3))
def test_shapes_of_arrays(changes):
    arrays = targets.small() | {name: np.zeros(shape, np.float32) for name, shape in changes.items()}
    targets.checkpoint(kind("ckpt") + targets.checkpoint_of({name: array for name,
        array in arrays.items() if array.size}))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*targets.BESIDE, "marks"]), st.dictionaries(st.sampled_from(
    ["arguments", "preprocessing", "class_names", "architecture", "model_args", "global_pool", "pretrained_cfg",
        "num_heads",
     "image_size", "size", "crop_size", "resample", "image_processor_type", "label_names", "id2label", "mean",
     "crop_pct"]),
    VALUES, max_size=5))
def test_json_beside_and_inside(place, content):
    targets.checkpoint(kind(place) + json.dumps(content).encode())


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["data", "model", "train", "out", "checkpoint", "resume", "x"]),
    VALUES | st.dictionaries(
    st.sampled_from(["root", "augment", "mean", "name", "overrides", "epochs", "optimizer", "schedule", "save_every",
        "lr"]),
    VALUES, max_size=3), max_size=3))
def test_configurations(content):
    targets.config(b"2" + json.dumps(content).encode())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["--data.augment", "--train.lr", "--model.overrides", "--config", "--recipe",
    "--debug=",
                                 "--train.save_every", "--per_class", "--data.mean=", "--model.overrides.x", "{",
                                 "flip"])
                | st.text(max_size=12), max_size=5))
def test_flags(words):
    targets.config(b"1" + "\n".join(words).encode(errors="surrogateescape"))
