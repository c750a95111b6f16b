"""Number formats, and files that are damaged or hostile: one clear error, and nothing is changed or run."""

import functools
import io
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from stored import case_file, same, values
from tiny import TINY

from mindvit import (
    ViT,
    from_checkpoint,
    load_weights,
    save_weights,
)


def test_half_precision_is_exact(tmp_path):
    arrays = load_file(case_file("timm_vit"))
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    save_file(half, tmp_path / "half.safetensors")
    network = from_checkpoint(str(tmp_path / "half.safetensors"), num_heads=4)
    assert np.array_equal(network.dense.weight.asnumpy(), half["head.weight"].astype(np.float32))
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(array.astype(np.float16))}
                        for name, array in values(network).items()], str(tmp_path / "half.ckpt"))
    load_weights(network, str(tmp_path / "half.ckpt"))
    assert np.array_equal(network.dense.weight.asnumpy(), half["head.weight"].astype(np.float32))

    upper = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in arrays.items()}  # bfloat16
    save_file(upper, tmp_path / "upper.safetensors")
    data = (tmp_path / "upper.safetensors").read_bytes().replace(b'"U16"', b'"BF16"')
    length = int.from_bytes(data[:8], "little") + len(arrays)
    (tmp_path / "brain.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
    network = from_checkpoint(str(tmp_path / "brain.safetensors"), num_heads=4)
    expected = (arrays["head.weight"].view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert np.array_equal(network.dense.weight.asnumpy(), expected)


def payload(mark):
    """A pickle that makes the file `mark` when it is loaded."""
    class Bomb:
        def __reduce__(self):
            return open, (str(mark), "w")
    return pickle.dumps(Bomb())


def torch_zip(mark):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", payload(mark))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def as_safetensors(tmp_path, **changes):
    arrays = load_file(case_file("timm_vit"))
    path = tmp_path / "changed.safetensors"
    save_file(arrays | {name.replace("__", "."): change(arrays[name.replace("__", ".")])
                        for name, change in changes.items()}, path)
    return path.read_bytes()


def as_npz(tmp_path, **changes):
    path = tmp_path / "changed.npz"
    np.savez(path, **dict(np.load(case_file("google_vit"))) | changes)
    return path.read_bytes()


def with_nan(array):
    array = array.copy()
    array.flat[3] = np.nan
    return array


def content(case):
    return Path(case_file(case)).read_bytes()


def duplicated_ckpt():
    data = content("mindvision_tiny")
    return data + data  # concatenated messages are one message to protobuf


def duplicated_npz(tmp_path):
    path = tmp_path / "twice.npz"
    path.write_bytes(content("google_vit"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cls.npy", archive.read("cls.npy"))
    return path.read_bytes()


BAD = {
    "empty.ckpt": (lambda tmp: b"", "empty"),
    "empty.safetensors": (lambda tmp: b"", "empty"),
    "empty.npz": (lambda tmp: b"", "empty"),
    "truncated.ckpt": (lambda tmp: content("mindvision_tiny")[:-100], "truncated"),
    "truncated.safetensors": (lambda tmp: content("timm_vit")[:-100], ""),
    "truncated.npz": (lambda tmp: content("google_vit")[:-100], ""),
    "halved.safetensors": (lambda tmp: content("timm_vit")[:300], ""),
    "renamed.ckpt": (lambda tmp: content("timm_vit"), "looks like a .safetensors"),
    "renamed.safetensors": (lambda tmp: content("mindvision_tiny"), "looks like a MindSpore .ckpt"),
    "renamed.npz": (lambda tmp: content("timm_vit"), "looks like a .safetensors"),
    "zip.ckpt": (lambda tmp: content("google_vit"), "looks like a zip"),
    "text.ckpt": (lambda tmp: b"<html>404 Not Found</html>", ""),
    "suffix.h5": (lambda tmp: content("timm_vit"), "ends in .h5; known are .ckpt"),
    "nan.safetensors": (lambda tmp: as_safetensors(tmp, norm__bias=with_nan),
                        "norm.beta holds values that are not finite"),
    "nan.npz": (lambda tmp: as_npz(tmp, cls=np.full((1, 1, 32), np.inf, np.float32)), "cls holds values"),
    "dense4d.safetensors": (lambda tmp: as_safetensors(
        tmp, head__weight=lambda array: array[:, :, None, None]), r"dense.weight has shape \(10, 32, 1, 1\)"),
    "shapes.safetensors": (lambda tmp: as_safetensors(
        tmp, blocks__1__mlp__fc1__weight=lambda array: array[:100]),
        r"layers.1.1.cell.1.dense1.weight is \(100, 32\).*\(128, 32\)"),
    "scalar.safetensors": (lambda tmp: as_safetensors(tmp, head__bias=lambda array: np.array(array[0])),
                           "dense.bias has shape"),
    "huge.npz": (lambda tmp: as_npz(tmp, cls=np.full((1, 1, 32), 1e300)), "cls holds values"),
    "integers.safetensors": (lambda tmp: as_safetensors(
        tmp, norm__weight=lambda array: np.ones(32, np.int32)), "norm.gamma has type int32"),
    "strangers.safetensors": (lambda tmp: (save_file({"layer1.conv": np.ones(3)}, tmp / "resnet.safetensors"),
                                           (tmp / "resnet.safetensors").read_bytes())[1], "known library.*layer1.conv"),
    "twice.ckpt": (lambda tmp: duplicated_ckpt(), "holds backbone.cls_token twice"),
    "twice.npz": (duplicated_npz, "holds cls twice"),
    "twice.safetensors": (lambda tmp: content("timm_vit").replace(b'"blocks.0.norm1.bias"', b'"blocks.1.norm1.bias"'),
                          "norm1.bias|invalid|Invalid"),
    "objects.npz": (lambda tmp: as_npz(tmp, cls=np.array([[[None] * 32]])), "cls is an array of Python objects"),
    "pickle.ckpt": (lambda tmp: payload(tmp / "executed"), "a pickle, which is never loaded"),
    "pickle.safetensors": (lambda tmp: payload(tmp / "executed"), "a pickle, which is never loaded"),
    "pickle.npz": (lambda tmp: payload(tmp / "executed"), "a pickle, which is never loaded"),
    "pickle.pth": (lambda tmp: payload(tmp / "executed"), ""),
    "torch.pth": (lambda tmp: torch_zip(tmp / "executed"), ""),
    "torch.npz": (lambda tmp: torch_zip(tmp / "executed"), "which is not an array"),
    "torch.ckpt": (lambda tmp: torch_zip(tmp / "executed"), "looks like a zip"),
}


@pytest.fixture(scope="module")
def tiny():
    return ViT(**TINY)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error(name, tiny, tmp_path):
    make, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    before = values(tiny)
    for load in (functools.partial(load_weights, tiny), functools.partial(from_checkpoint, num_heads=4)):
        with pytest.raises(ValueError, match=f"{re.escape(name)}.*{reason}"):
            load(str(path))
    assert same(before, values(tiny)) and not (tmp_path / "executed").exists()


def test_absent_file_and_folder(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.ckpt"):
        load_weights(tiny, str(tmp_path / "absent.ckpt"))
    with pytest.raises(ValueError, match="is a folder; there is no checkpoint in it"):
        load_weights(tiny, str(tmp_path))
    shutil.copy(case_file("timm_vit"), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is a folder; give one of the files in it: model.safetensors"):
        load_weights(tiny, str(tmp_path))


@pytest.fixture(scope="module")
def checked_files(tmp_path_factory):
    """Small valid files with a checksum: {name: (bytes, values of the network they load into)}."""
    folder = tmp_path_factory.mktemp("checked")
    network = from_checkpoint(case_file("google_vit"))
    save_weights(network, str(folder / "own.ckpt"))
    save_weights(network, str(folder / "own.safetensors"), "timm")
    shutil.copy(case_file("google_vit"), folder / "own.npz")
    return {path.name: (path.read_bytes(), values(network)) for path in folder.iterdir()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["own.ckpt", "own.safetensors", "own.npz"]), data=st.data())
def test_damage_never_passes_for_success(name, data, tiny, checked_files, tmp_path):
    original, expected = checked_files[name]
    damaged = bytearray(original)
    # half of the places lie in the first 4 kB, where the headers are
    place = st.one_of(st.integers(0, 4000), st.integers(0, len(original) - 1), st.integers(len(original) - 4000,
                                                                                           len(original) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "remove", "insert", "swap"]))
    at = data.draw(place)
    if kind == "flip":
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
            at = data.draw(place)
    elif kind == "cut":
        del damaged[at:]
    elif kind == "remove":
        del damaged[at:at + data.draw(st.integers(1, 200))]
    elif kind == "insert":
        damaged[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        other, length = data.draw(place), data.draw(st.integers(1, 64))
        damaged[at:at + length], damaged[other:other + length] = damaged[other:other + length], damaged[at:at + length]
    path = tmp_path / name
    path.write_bytes(damaged)
    before = values(tiny)
    try:
        load_weights(tiny, str(path))
    except ValueError as error:
        assert name in str(error) and same(before, values(tiny))
    else:
        assert same(expected, values(tiny))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_arrays_never_pass_for_success(data, tiny, tmp_path):
    """Whole arrays removed, renamed, reshaped or retyped in a file that is otherwise intact."""
    arrays = load_file(case_file("timm_vit"))
    name = data.draw(st.sampled_from(sorted(arrays)))
    kind = data.draw(st.sampled_from(["remove", "rename", "add", "shape", "type", "number"]))
    if kind == "remove":
        del arrays[name]
    elif kind == "rename":
        arrays[data.draw(st.text("abks.01/", min_size=1)) + name] = arrays.pop(name)
    elif kind == "add":
        arrays[name + data.draw(st.sampled_from([".0", "s", ".weight", " "]))] = arrays[name]
    elif kind == "shape":  # a square position embedding or a kernel of other size would be fitted, rightly
        arrays[name] = np.resize(arrays[name], data.draw(st.lists(st.integers(0, 40), max_size=3).filter(
            lambda shape: tuple(shape) != arrays[name].shape and (name != "pos_embed" or len(shape) < 3))))
    elif kind == "type":
        arrays[name] = arrays[name].astype(data.draw(st.sampled_from(["int8", "int64", "bool"])))
    else:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[data.draw(st.integers(0, arrays[name].size - 1))] = data.draw(
            st.sampled_from([np.nan, np.inf, -np.inf]))
    path = tmp_path / "changed.safetensors"
    save_file(arrays, path)
    before = values(tiny)
    with pytest.raises(ValueError, match="changed.safetensors"):
        load_weights(tiny, str(path))
    with pytest.raises(ValueError, match="changed.safetensors"):
        from_checkpoint(str(path), num_heads=4)
    assert same(before, values(tiny))
