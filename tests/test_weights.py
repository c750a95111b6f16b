"""Checkpoints against the logits of the libraries that made them, there and back, and against damage."""

import contextlib
import functools
import io
import json
import os
import pickle
import re
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mindspore import nn
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint
from PIL import Image
from safetensors.numpy import load_file, save_file

from mindvit.models import GELU, ViT, create_model
from mindvit.preprocessing import IMAGENET_MEAN
from mindvit.weights import (
    checkpoint_sizes,
    convert_weights,
    fetch_public_weights,
    from_checkpoint,
    load_weights,
    public,
    read_checkpoint,
    save_weights,
)
from mindvit.weights.resize import resize_kernel, resize_pos_embedding

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
CASES |= {"mindvision_tiny": {}, "mindvision_tiny_representation": {}}
TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 128,
        "num_classes": 10}
FORMATS = {"mindspore": ".ckpt", "suite": ".ckpt", "timm": ".safetensors", "huggingface": ".safetensors",
           "torchvision": ".safetensors"}


def case_file(case):
    return next(str(path) for path in DATA.glob(f"{case}.*") if path.suffix != ".json" and ".io" not in path.name)


def case_arguments(case):
    """What the files of these untypical sizes do not tell: 32 wide tokens belong to no known variant."""
    arguments = {} if case == "google_vit" else {"num_heads": 4}
    if "rectangular" in CASES[case]:
        arguments["image_size"] = tuple(CASES[case]["rectangular"])
    return arguments


def values(network):
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def logits_error(network, case):
    example = np.load(DATA / f"{case}.io.npz")
    error = np.abs(network(ms.Tensor(example["input"])).asnumpy() - example["logits"]).max()
    return error / np.ptp(example["logits"])


@pytest.fixture
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.mark.parametrize("case", CASES)
def test_logits_of_each_library(case):
    assert logits_error(from_checkpoint(case_file(case), **case_arguments(case)), case) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_logits_of_each_library_in_graph_mode(case, graph_mode):
    assert logits_error(from_checkpoint(case_file(case), **case_arguments(case)), case) < 1e-5


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_bit_exact(case, format, tmp_path):
    network = from_checkpoint(case_file(case), **case_arguments(case))
    path = str(tmp_path / f"saved{FORMATS[format]}")
    homeless = {"timm_deit_distilled": ("suite", "torchvision"), "timm_vit_no_qkv_bias": ("torchvision",),
                "timm_vit_mean_pool": ("huggingface", "torchvision"),
                "mindvision_tiny_representation": ("huggingface",), "torchvision_vit_representation": ("huggingface",)}
    if format in homeless.get(case, ()):
        with pytest.raises(ValueError, match=format):
            save_weights(network, path, format)
        assert not list(tmp_path.iterdir())
        return
    save_weights(network, path, format)
    assert read_checkpoint(path)[1] == format
    if format in ("mindspore", "suite"):  # these note what names and shapes do not tell
        back = from_checkpoint(path)
        assert back.preprocessing == network.preprocessing
        shape = (2, 3, *network.patch_embedding.image_size)
        images = ms.Tensor(np.random.default_rng(0).normal(0, 1, shape), ms.float32)
        assert (back(images).asnumpy() == network(images).asnumpy()).all()
    else:
        back = from_checkpoint(path, **{"num_heads": 4, **case_arguments(case)})
    assert same(values(network), values(back))
    if case.startswith(format.replace("huggingface", "hf")):  # the library's own file has the same names and numbers
        assert same(load_file(case_file(case)), load_file(path))
    if format == "mindspore" and case == "timm_vit":
        assert ms.load_param_into_net(ViT(**TINY), ms.load_checkpoint(path)) == ([], ["mindvit"])


def test_convert_needs_no_sizes(tmp_path):
    for case in ("timm_vit", "timm_vit_rectangular", "torchvision_vit_representation"):
        there, back = str(tmp_path / "there.ckpt"), str(tmp_path / "back.safetensors")
        convert_weights(case_file(case), there, "suite")
        convert_weights(there, back, case.split("_")[0])
        assert same(load_file(case_file(case)), load_file(back))


def test_loading_into_a_network_that_already_ran(graph_mode):
    network = ViT(**TINY, norm_eps=1e-6, activation=functools.partial(GELU, approximate=False)).set_train(False)
    assert logits_error(network, "timm_vit") > 0.1
    load_weights(network, case_file("timm_vit"))
    assert logits_error(network, "timm_vit") < 1e-5


@pytest.mark.parametrize("grid", [(24, 24), (10, 10), (16, 20)])
def test_position_embedding_equals_timm(grid, tmp_path):
    oracle = np.load(DATA / "timm_pos_embed_resize.npz")
    expected = oracle[f"bicubic_{grid[0]}" if grid[0] == grid[1] else f"bicubic_{grid[0]}x{grid[1]}"]
    np.testing.assert_allclose(resize_pos_embedding(oracle["before"], 1, (14, 14), grid), expected, atol=1e-5)

    source = ViT(**TINY | {"image_size": 14 * 8, "num_layers": 1})
    source.pos_embedding.set_data(ms.Tensor(oracle["before"]))
    path = str(tmp_path / "source.ckpt")
    save_weights(source, path)
    network = ViT(**TINY | {"image_size": (grid[0] * 8, grid[1] * 8), "num_layers": 1})
    report = load_weights(network, path)
    assert report.resized == ["pos_embedding"] and not report.replaced
    np.testing.assert_allclose(network.pos_embedding.asnumpy(), expected, atol=1e-5)


def test_patch_kernel_of_a_larger_patch_gives_the_same_tokens():
    rng = np.random.default_rng(0)
    kernel, patch = rng.normal(size=(5, 3, 8, 8)).astype(np.float32), rng.normal(size=(3, 8, 8)).astype(np.float32)
    larger = np.stack([Image.fromarray(channel).resize((24, 16), Image.Resampling.BICUBIC) for channel in patch])
    tokens = np.einsum("dcij,cij->d", kernel, patch)
    np.testing.assert_allclose(np.einsum("dcij,cij->d", resize_kernel(kernel, (16, 24)), larger), tokens, atol=1e-3)


def test_channels_and_patch_size_are_fitted():
    path = case_file("timm_vit")
    original = load_file(path)["patch_embed.proj.weight"]
    gray = from_checkpoint(path, num_heads=4, input_channels=1)
    np.testing.assert_allclose(gray.patch_embedding.conv.weight.asnumpy(), original.sum(1, keepdims=True), rtol=1e-6)
    five = from_checkpoint(path, num_heads=4, input_channels=5)
    repeated = original[:, [0, 1, 2, 0, 1]] * 0.6
    np.testing.assert_allclose(five.patch_embedding.conv.weight.asnumpy(), repeated, rtol=1e-6)
    network = ViT(**TINY | {"patch_size": 16, "image_size": 64})
    assert load_weights(network, path).resized == ["patch_embedding.conv.weight"]
    with pytest.raises(ValueError, match=r"timm_vit.*pos_embedding.*33.*square"):
        load_weights(ViT(**TINY), case_file("timm_vit_rectangular"))


def test_head_of_another_size(tmp_path):
    network = ViT(**TINY | {"num_classes": 3})
    before = values(network)
    with pytest.raises(ValueError, match=r"keep.*\(10, 32\).*\(3, 32\)"):
        load_weights(network, case_file("timm_vit"), head="keep")
    assert same(before, values(network))
    report = load_weights(network, case_file("timm_vit"))
    assert report.replaced == ["dense.bias", "dense.weight"] and not report.missing and not report.unused
    assert report.format == "timm" and "replaced     2" in str(report)
    assert np.array_equal(network.dense.weight.asnumpy(), before["dense.weight"])
    assert not np.array_equal(network.norm.gamma.asnumpy(), before["norm.gamma"])
    fresh = from_checkpoint(case_file("torchvision_vit_representation"), num_heads=4, num_classes=3)
    assert fresh.dense.weight.shape == (3, 64) and 0 < fresh.dense.weight.asnumpy().std() < 0.1
    with pytest.raises(ValueError, match="head is 'drop'"):
        load_weights(network, case_file("timm_vit"), head="drop")


def test_what_is_missing_or_unused_is_named():
    network = ViT(**TINY | {"num_layers": 1})
    with pytest.raises(ValueError, match=r"timm_vit.safetensors.*unused: blocks\.1\..*blocks.1.norm2.weight"):
        load_weights(network, case_file("timm_vit"))
    assert len(load_weights(network, case_file("timm_vit"), strict=False).unused) == 12
    deeper = ViT(**TINY | {"num_layers": 3})
    with pytest.raises(ValueError, match=r"missing: transformer\.layers\.2\.0\.cell\.0\.gamma.*layers\.2\.1\."):
        load_weights(deeper, case_file("timm_vit"))
    assert len(load_weights(deeper, case_file("timm_vit"), strict=False).missing) == 12
    with pytest.raises(ValueError, match="norm.gamma.*fc_norm.weight"):  # the same norm at another place
        load_weights(ViT(**TINY), case_file("timm_vit_mean_pool"))


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("token", ["cls", "cls_token"])
@pytest.mark.parametrize("head", ["dense", "head.dense", "head.classifier", "classifier"])
def test_every_spelling_of_the_suite(prefix, token, head, tmp_path):
    arrays = {name: array.asnumpy() for name, array in ms.load_checkpoint(case_file("mindvision_tiny")).items()}
    spelled = {re.sub(r"^head\.dense", head, re.sub("^backbone.cls_token", f"backbone.{token}", name)
                      ).replace("backbone.", prefix): ms.Tensor(array) for name, array in arrays.items()}
    path = str(tmp_path / "spelled.ckpt")
    ms.save_checkpoint([{"name": name, "data": array} for name, array in spelled.items()], path)
    network = ViT(**TINY)
    load_weights(network, path)
    assert logits_error(network.set_train(False), "mindvision_tiny") < 1e-5


def rename(case, path, pairs, change=lambda arrays: arrays):
    arrays = load_file(case_file(case))
    for pattern, replacement in pairs:
        arrays = {re.sub(pattern, replacement, name): array for name, array in arrays.items()}
    save_file(change(arrays), path)
    return str(path)


def test_hugging_face_4_names_and_config(tmp_path):
    path = rename("hf_vit", tmp_path / "model.safetensors", [
        (r"^vit\.layers\.", "vit.encoder.layer."), (r"attention\.q_proj", "attention.attention.query"),
        (r"attention\.k_proj", "attention.attention.key"), (r"attention\.v_proj", "attention.attention.value"),
        (r"attention\.o_proj", "attention.output.dense"), (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense")])
    assert logits_error(from_checkpoint(path, num_heads=4), "hf_vit") < 1e-5
    config = {"model_type": "vit", "num_attention_heads": 4, "layer_norm_eps": 0.5, "hidden_act": "gelu_new"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = from_checkpoint(path)
    activation = network.transformer.layers[0][1].cell[1].activation
    assert network.norm.epsilon == 0.5
    assert activation(ms.Tensor([1.0])).asnumpy() == pytest.approx(0.841192, abs=2e-6)  # tanh form; erf: 0.841345
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "swish"}))
    with pytest.raises(ValueError, match="swish"):
        from_checkpoint(path)


def test_hugging_face_deit_and_headless(tmp_path):
    network = from_checkpoint(case_file("timm_deit_distilled"), num_heads=4)
    teacher = str(tmp_path / "teacher.safetensors")
    save_weights(network, teacher, "huggingface")
    assert {"deit.embeddings.distillation_token", "cls_classifier.weight", "distillation_classifier.bias"} <= \
        load_file(teacher).keys()
    again = from_checkpoint(teacher, num_heads=4, norm_eps=1e-6)
    assert logits_error(again, "timm_deit_distilled") < 1e-5
    assert again.preprocessing.mean == IMAGENET_MEAN and again.preprocessing.crop_fraction == 0.875

    student = {re.sub("^cls_", "", name): array for name, array in load_file(teacher).items()
               if not name.startswith("distillation_classifier")}
    save_file(student, tmp_path / "student.safetensors")  # DeiTForImageClassification: the class token's head alone
    images = ms.Tensor(np.load(DATA / "timm_deit_distilled.io.npz")["input"])
    alone = from_checkpoint(str(tmp_path / "student.safetensors"), num_heads=4, norm_eps=1e-6)
    np.testing.assert_allclose(alone(images).asnumpy(), network.set_train(True)(images)[0].asnumpy(), atol=1e-5)

    bare = rename("hf_vit", tmp_path / "bare.safetensors", [(r"^vit\.", "")], lambda arrays: {
        name: array for name, array in arrays.items() if not name.startswith("classifier")} | {
        "pooler.dense.weight": np.eye(32, dtype=np.float32), "pooler.dense.bias": np.zeros(32, np.float32)})
    pooled = from_checkpoint(bare, num_heads=4)  # ViTModel: tanh of a dense layer on the class token
    features = from_checkpoint(case_file("hf_vit"), num_heads=4).forward_features(images)[:, 0].asnumpy()
    np.testing.assert_allclose(pooled(images).asnumpy(), np.tanh(features), atol=1e-5)
    save_weights(pooled, str(tmp_path / "again.safetensors"), "huggingface")
    assert same(load_file(bare), load_file(tmp_path / "again.safetensors"))
    assert load_weights(ViT(**TINY), bare).replaced == [
        "dense.bias", "dense.weight", "representation.bias", "representation.weight"]


def test_google_with_representation_layer(tmp_path):
    arrays = dict(np.load(case_file("google_vit")))
    rng = np.random.default_rng(0)
    arrays["pre_logits/kernel"] = kernel = rng.normal(size=(32, 24)).astype(np.float32)
    arrays["pre_logits/bias"] = bias = rng.normal(size=24).astype(np.float32)
    arrays["head/kernel"] = rng.normal(size=(24, 10)).astype(np.float32)
    path = str(tmp_path / "in21k.npz")
    np.savez(path, **arrays)
    images = ms.Tensor(np.load(DATA / "google_vit.io.npz")["input"])
    features = from_checkpoint(case_file("google_vit")).forward_features(images)[:, 0].asnumpy()
    expected = np.tanh(features @ kernel + bias) @ arrays["head/kernel"] + arrays["head/bias"]
    np.testing.assert_allclose(from_checkpoint(path)(images).asnumpy(), expected, atol=1e-4)
    assert load_weights(ViT(**TINY | {"num_classes": 3}), path).replaced == [
        "dense.bias", "dense.weight", "representation.bias", "representation.weight"]


def test_mindcv_names_epsilon_and_gelu(tmp_path):
    native = {name.removeprefix("backbone.").replace("cls_token", "cls").replace("head.dense", "dense"): array
              for name, array in ms.load_checkpoint(case_file("mindvision_tiny")).items()}
    pairs = [("^cls$", "cls_token"), ("^pos_embedding", "pos_embed"), (r"patch_embedding\.conv", "patch_embed.proj"),
             (r"^transformer\.layers", "blocks"), (r"(s\.\d)\.0\.cell\.0", r"\1.norm1"),
             (r"(s\.\d)\.1\.cell\.0", r"\1.norm2"), (r"0\.cell\.1\.qkv", "attn.qkv"),
             (r"0\.cell\.1\.out", "attn.proj"), (r"1\.cell\.1\.dense", "mlp.fc"), ("^dense", "head")]
    for pattern, replacement in pairs:
        native = {re.sub(pattern, replacement, name): array for name, array in native.items()}
    path = str(tmp_path / "mindcv.ckpt")
    ms.save_checkpoint([{"name": name, "data": array} for name, array in native.items()], path)
    assert "blocks.1.norm2.gamma" in native and read_checkpoint(path)[1] == "mindcv"
    assert logits_error(from_checkpoint(path, num_heads=4), "mindvision_tiny") < 1e-5  # mindcv: 1e-7 and tanh, too


def optimizers(parameters):
    return {"Adam": functools.partial(nn.Adam, parameters, nn.cosine_decay_lr(0.0, 1e-3, 2, 2, 1)),
            "AdamWeightDecay": functools.partial(nn.AdamWeightDecay, parameters),
            "Momentum": functools.partial(nn.Momentum, parameters, 0.1, 0.9),
            "RMSProp": functools.partial(nn.RMSProp, parameters), "Ftrl": functools.partial(nn.FTRL, parameters),
            "SGD": functools.partial(nn.SGD, parameters),
            "groups": lambda: nn.Adam([{"params": parameters[:4], "lr": 0.1}, {"params": parameters[4:]}], 0.01)}


@pytest.mark.parametrize("optimizer", ["Adam", "AdamWeightDecay", "Momentum", "RMSProp", "Ftrl", "SGD", "groups"])
def test_training_state_is_known(optimizer, tmp_path, graph_mode):
    network = ViT(**TINY | {"num_layers": 1})
    columns = {"image": np.zeros((2, 3, 32, 32), np.float32), "label": np.zeros(2, np.int32)}
    data = ms.dataset.NumpySlicesDataset(columns, num_parallel_workers=1).batch(2)
    model = Model(network, nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean"),
                  optimizers(network.trainable_params())[optimizer]())
    keep = CheckpointConfig(save_checkpoint_steps=1, append_info=["epoch_num", "step_num", {"note": "text"}])
    model.train(1, data, callbacks=[ModelCheckpoint("net", str(tmp_path), keep)], dataset_sink_mode=False)
    path = next(str(path) for path in tmp_path.glob("*.ckpt"))
    assert len(ms.load_checkpoint(path)) > len(values(network))
    report = load_weights(ViT(**TINY | {"num_layers": 1}), path)
    assert not report.unused and not report.missing and len(report.loaded) == len(values(network))


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


def test_sizes_are_read_from_the_file(tmp_path):
    network = ViT(48, 1, (8, 4), 192, 1, 3, 96, num_classes=7, distilled=True, qkv_bias=False)
    path = str(tmp_path / "odd.safetensors")
    save_weights(network, path, "timm")
    with pytest.raises(ValueError, match="odd.*image_size"):  # 6 x 12 patches are no square
        from_checkpoint(path)
    assert checkpoint_sizes(path) == {
        "patch_size": (8, 4), "input_channels": 1, "embed_dim": 192, "num_layers": 1, "num_heads": 3, "mlp_dim": 96,
        "num_classes": 7, "qkv_bias": False, "class_token": True, "distilled": True}
    assert same(values(network), values(from_checkpoint(path, image_size=48)))
    with pytest.raises(ValueError, match=r"timm_vit.*num_heads=\.\.\."):
        from_checkpoint(case_file("timm_vit"))
    assert checkpoint_sizes(case_file("google_vit"))["num_heads"] == 4
    assert checkpoint_sizes(case_file("torchvision_vit_representation"))["representation_size"] == 64


def test_preprocessing_is_the_librarys(tmp_path):
    expected = {"timm_vit": (0.5, 0.9, "bicubic", "pillow"), "timm_deit_distilled": (0.485, 0.9, "bicubic", "pillow"),
                "hf_vit": (0.5, 1.0, "bilinear", "torch"), "google_vit": (0.5, 1.0, "bilinear", "tensorflow"),
                "torchvision_vit": (0.485, 0.875, "bilinear", "pillow"),
                "mindvision_tiny": (0.485, 0.875, "bilinear", "mindspore")}
    for case, row in expected.items():
        network = from_checkpoint(case_file(case), num_heads=4)
        found = network.preprocessing
        assert (found.mean[0], found.crop_fraction, found.interpolation, found.resizer) == row
        assert found.predict_squash == (case == "mindvision_tiny")
        assert [line for line in network.load_report.assumed if found.describe(32) in line]
    path = shutil.copy(case_file("timm_vit"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224", "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95, "interpolation": "bilinear"}}))
    found = from_checkpoint(path, num_heads=4).preprocessing
    assert found.std == (0.5, 0.5, 0.5) and found.crop_fraction == 0.95 and found.interpolation == "bilinear"
    assert from_checkpoint(path, num_heads=4, preprocessing=found).preprocessing is found
    network = from_checkpoint(case_file("mindvision_tiny"), num_heads=4)
    assert isinstance(network.transformer.layers[0][1].cell[1].activation, GELU) and network.norm.epsilon == 1e-7


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
        r"dense1.weight has shape \(100, 32\).*\(128, 32\)"),
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
    with pytest.raises(ValueError, match="is a folder"):
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


class Files(BaseHTTPRequestHandler):
    """Serves one file and counts how often all of it was taken; a client may ask for its size first."""

    content, taken = b"", 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.content)
            type(self).taken += 1

    def log_message(self, *arguments):
        return


def test_public_weights_are_downloaded_once(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(public, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("MINDVIT_CKPT_DIR", str(tmp_path / "store"))
    source = create_model("vit_b_32", num_layers=1, mlp_dim=4, num_classes=3, image_size=384)
    save_weights(source, str(tmp_path / "source.ckpt"))
    Files.content = (tmp_path / "source.ckpt").read_bytes()
    paths = []
    askers = [threading.Thread(target=lambda: paths.append(fetch_public_weights("vit_b_32", 384))) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert paths == [str(tmp_path / "store" / "vit_b_32_384.ckpt")] * 3 and Files.taken == 1
    network = create_model("vit_b_32", pretrained=True, num_layers=1, mlp_dim=4, num_classes=3, image_size=384)
    assert Files.taken == 1 and same(values(source), values(network))
    server.shutdown()
    server.server_close()
    os.remove(paths[0])
    with pytest.raises(OSError, match=r"127\.0\.0\.1.*vit_b_32_384\.ckpt"):
        fetch_public_weights("vit_b_32", 384)
    assert not os.path.exists(paths[0])


def test_variants_without_public_weights_say_so():
    with pytest.raises(ValueError, match="no public checkpoint of vit_t_16 at image size 224.*vit_b_16 at 384"):
        create_model("vit_t_16", pretrained=True)
    with pytest.raises(ValueError, match="vit_b_16 at image size 100"):
        create_model("vit_b_16", pretrained=True, image_size=100, patch_size=10)
