"""Checkpoints against the logits of the libraries that made them, there and back, and against damage."""

import contextlib
import dataclasses
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

from mindvit import (
    GELU,
    ViT,
    create_model,
    fetch_public_weights,
    from_checkpoint,
    load_weights,
    read_checkpoint,
    save_weights,
    zoo,
)
from mindvit.checkpoints import build
from mindvit.checkpoints.resize import resize_kernel, resize_pos_embedding
from mindvit.preprocessing import IMAGENET_MEAN

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
CASES |= {"mindvision_tiny": {}, "mindvision_tiny_representation": {}}
TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 128,
        "num_classes": 10, "init": "timm"}  # timm's start has no zero head, behind which all networks are equal
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


REFUSED = {  # case: {format: what it has no place for}
    "timm_vit": {"suite": "gelu"}, "google_vit": {"suite": "gelu"}, "hf_vit": {"suite": "gelu"},
    "torchvision_vit": {"suite": "gelu"},
    "timm_deit_distilled": {"suite": "distillation token", "torchvision": "distillation token"},
    "timm_vit_no_qkv_bias": {"suite": "qkv_bias=False", "torchvision": "qkv_bias=False"},
    "timm_vit_mean_pool": {"suite": "class token", "huggingface": "pool='mean'", "torchvision": "pool='mean'"},
    "timm_vit_rectangular": {"suite": "image_size", "torchvision": "image_size"},
    "mindvision_tiny": {"torchvision": "gelu_tanh"},
    "mindvision_tiny_representation": {"timm": "representation_size", "huggingface": "representation_size",
                                       "torchvision": "gelu_tanh"},
    "torchvision_vit_representation": {"suite": "gelu", "timm": "representation_size",
                                       "huggingface": "representation_size"}}
EPSILON = {"mindvision": 1e-7, "timm": 1e-6, "google": 1e-6, "torchvision": 1e-6, "hf": 1e-12}  # by the case's name


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case, format, tmp_path):
    network = from_checkpoint(case_file(case), **case_arguments(case))
    path = str(tmp_path / f"saved{FORMATS[format]}")
    if format in REFUSED[case]:
        with pytest.raises(ValueError, match=f"{format}.*{REFUSED[case][format]}"):
            save_weights(network, path, format)
        assert not list(tmp_path.iterdir())
        return
    save_weights(network, path, format)
    assert read_checkpoint(path)[1] == format
    back = from_checkpoint(path, **({"num_heads": 4} if format == "torchvision" else {}))
    images = ms.Tensor(np.random.default_rng(0).normal(0, 1, (2, 3, *network.arguments["image_size"])), ms.float32)
    expected = network(images).asnumpy()
    own_epsilon = {"suite": 1e-7, "timm": 1e-6, "torchvision": 1e-6}.get(format)
    if own_epsilon in (None, EPSILON[case.split("_")[0]]):
        assert same(values(network), values(back)) and np.array_equal(back(images).asnumpy(), expected)
    else:
        assert back.norm.epsilon == own_epsilon
        assert np.abs(back(images).asnumpy() - expected).max() < 1e-5 * np.ptp(expected)
    if format != "torchvision":
        assert not [line for line in back.load_report.assumed if not line.startswith("preprocessing")]
        assert {**back.arguments, "norm_eps": 0} == {**network.arguments, "norm_eps": 0}
    if format in ("mindspore", "suite"):
        assert back.preprocessing == network.preprocessing
    if case.startswith(format.replace("huggingface", "hf")):  # the library's own file has the same names and numbers
        assert same(load_file(case_file(case)), load_file(path))
    if format == "mindspore" and case == "timm_vit":
        assert ms.load_param_into_net(ViT(**TINY), ms.load_checkpoint(path)) == ([], ["mindvit"])


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
    fresh = from_checkpoint(case_file("torchvision_vit_representation"), num_heads=4, num_classes=3, init="timm")
    assert fresh.dense.weight.shape == (3, 64) and 0 < fresh.dense.weight.asnumpy().std() < 0.1
    with pytest.raises(ValueError, match="head is 'drop'"):
        load_weights(network, case_file("timm_vit"), head="drop")


def test_what_is_missing_or_unused_is_named():
    network = ViT(**TINY | {"num_layers": 1})
    with pytest.raises(ValueError, match=r"timm_vit.safetensors.*unused: blocks\.1\..* and 4 more"):
        load_weights(network, case_file("timm_vit"))
    assert len(load_weights(network, case_file("timm_vit"), strict=False).unused) == 12
    deeper = ViT(**TINY | {"num_layers": 3})
    with pytest.raises(ValueError, match=r"missing: transformer\.layers\.2\.0\.cell\.0\.gamma.* and 4 more"):
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
    assert again.preprocessing.mean == IMAGENET_MEAN and int(32 / again.preprocessing.crop_fraction) == 35

    student = {re.sub("^cls_", "", name): array for name, array in load_file(teacher).items()
               if not name.startswith("distillation_classifier")}
    save_file(student, tmp_path / "student.safetensors")  # DeiTForImageClassification: the class token's head alone
    images = ms.Tensor(np.load(DATA / "timm_deit_distilled.io.npz")["input"])
    alone = from_checkpoint(str(tmp_path / "student.safetensors"), num_heads=4, norm_eps=1e-6)
    np.testing.assert_allclose(alone(images).asnumpy(), network.set_train(True)(images)[0].asnumpy(), atol=1e-5)

    (tmp_path / "config.json").unlink()
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
    network = ViT(48, 1, (8, 4), 192, 1, 3, 96, num_classes=7, distilled=True, qkv_bias=False, norm_eps=1e-6)
    path = str(tmp_path / "odd.safetensors")
    save_weights(network, path, "timm")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="odd.*image_size"):  # 6 x 12 patches are no square
        from_checkpoint(path)
    back = from_checkpoint(path, image_size=48)
    assert same(values(network), values(back))
    assert {name for name, value in network.arguments.items() if back.arguments[name] != value} == {"activation"}
    with pytest.raises(ValueError, match=r"timm_vit.*num_heads=\.\.\."):
        from_checkpoint(case_file("timm_vit"))
    assert from_checkpoint(case_file("google_vit")).arguments["num_heads"] == 4  # its shapes tell


NETWORKS = {  # everything that shapes do not tell
    "head_dim": {"head_dim": 24}, "no positions": {"pos_embedding": "none"},
    "fixed positions": {"pos_embedding": "sincos2d"}, "patches (8, 4)": {"patch_size": (8, 4)},
    "patches (16, 4)": {"patch_size": (16, 4)},
    "rectangle": {"image_size": (16, 64)}, "pool": {"pool": "mean"}, "norm": {"pool": "mean", "norm_after_pool": True},
    "epsilon": {"norm_eps": 0.01}, "relu": {"activation": "relu"}, "quick": {"activation": "quick_gelu"},
    "nn.ReLU": {"activation": nn.ReLU}, "lambda": {"activation": lambda: nn.GELU(False)},
    "partial": {"activation": functools.partial(nn.GELU, approximate=False)},
    "numpy": {"num_layers": np.int64(2)}, "one head": {"num_heads": 1},
    "student": {"distilled": True, "distillation_head": False}, "headless": {"num_classes": 0},
    "partial norm": {"norm": functools.partial(nn.LayerNorm, epsilon=0.1)}, "no norms": {"norm": None},
    "patch norms": {"patch_norm": True}, "no projection": {"num_heads": 1, "out_projection": False},
    "mean of all": {"pool": "mean_all"}, "any size": {"dynamic_image_size": True}}


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_file_rebuilds_every_network(name, tmp_path):
    network = ViT(**TINY | NETWORKS[name]).set_train(False)
    save_weights(network, str(tmp_path / "own.ckpt"))
    back = from_checkpoint(str(tmp_path / "own.ckpt"))
    assert back.arguments == network.arguments and not back.load_report.assumed
    images = ms.Tensor(np.random.default_rng(0).normal(0, 1, (2, 3, *network.arguments["image_size"])), ms.float32)
    np.testing.assert_allclose(back(images).asnumpy(), network(images).asnumpy(), atol=1e-5 if name == "lambda" else 0)


def test_a_public_vit_needs_no_entry_of_ours(tmp_path):
    network = create_model("vit_t_16", num_layers=1)
    save_weights(network, str(tmp_path / "plain.ckpt"))
    assert "mindvit" not in ms.load_checkpoint(str(tmp_path / "plain.ckpt"))
    assert from_checkpoint(str(tmp_path / "plain.ckpt")).arguments == network.arguments | {"norm_after_pool": False}
    network.preprocessing = dataclasses.replace(network.preprocessing, predict_squash=False)
    save_weights(network, str(tmp_path / "own.ckpt"))
    assert from_checkpoint(str(tmp_path / "own.ckpt")).preprocessing == network.preprocessing


class OwnNorm(nn.LayerNorm):
    """A norm whose form no file can note."""


@pytest.mark.parametrize("option", [{"activation": nn.Tanh}, {"activation": lambda: nn.LeakyReLU(0.3)},
                                    {"norm": OwnNorm}])
def test_what_cannot_be_noted_cannot_be_saved(option, tmp_path):
    with pytest.raises(ValueError, match="'mindspore' has no place for (an activation|a norm)"):
        save_weights(ViT(**TINY | option), str(tmp_path / "own.ckpt"))
    assert not list(tmp_path.iterdir())


def with_marks(path, **changes):
    """A valid file of ours whose entry `mindvit` says otherwise."""
    save_weights(ViT(**TINY), str(path))
    arrays = ms.load_checkpoint(str(path))
    marks = json.loads(arrays["mindvit"].asnumpy().tobytes())
    marks["arguments"] |= changes
    entry = ms.Tensor(np.frombuffer(json.dumps(marks).encode(), np.uint8))
    ms.save_checkpoint([{"name": name, "data": entry if name == "mindvit" else array}
                        for name, array in arrays.items()], str(path))
    return str(path)


@pytest.mark.parametrize("changes, reason", [
    ({"image_size": [16, 16 * 10**9]}, "2 x 2000000000 patches, and the position embedding has 16"),
    ({"image_size": [16, 16 * 10**9], "pos_embedding": "none"}, "says pos_embedding 'none', its arrays are with"),
    ({"num_layers": 20000}, "says num_layers 20000, its shapes say 2"), ({"num_heads": 10**9}, "heads of 8"),
    ({"embed_dim": 10**6}, "says embed_dim 1000000, its shapes say 32"), ({"image_size": "big"}, "image_size"),
    ({"activation": "os.system"}, "activation is 'os.system'"), ({"norm_eps": "x" * 10**6}, "norm_eps"),
    ({"norm": "x"}, "callable"), ({"num_heads": [1]}, "heads"),
    ({"num_heads": "x", "head_dim": 10**18}, "x heads of 1000000000000000000"), ({"unheard_of": 1}, "unheard_of")])
def test_marks_that_contradict_the_file(changes, reason, tmp_path):
    path = with_marks(tmp_path / "hostile.ckpt", **changes)
    with pytest.raises(ValueError, match=rf"hostile\.ckpt.*{reason}") as error:
        from_checkpoint(path)
    assert len(str(error.value)) < 1000


@pytest.fixture
def no_network(monkeypatch):
    """Building a network is an error: what is refused is refused before."""
    def fail(*arguments, **words):
        raise AssertionError("a network was built")

    monkeypatch.setattr(build, "ViT", fail)


def test_claims_beyond_the_file_are_refused_before_a_network_is_built(no_network, tmp_path):
    arrays = load_file(case_file("timm_vit"))
    many = {f"blocks.{i}.norm1.weight": np.ones(1, np.float32) for i in range(20000)}
    save_file(arrays | many, tmp_path / "layers.safetensors")
    with pytest.raises(ValueError, match="it claims 20000 blocks"):
        from_checkpoint(str(tmp_path / "layers.safetensors"), num_heads=4)
    save_file(arrays | {"blocks.2.norm1.weight": np.ones(32, np.float32)}, tmp_path / "lacks.safetensors")
    with pytest.raises(ValueError, match=r"layers.2.0.cell.0.beta is absent, and \(32,\) in the first"):
        from_checkpoint(str(tmp_path / "lacks.safetensors"), num_heads=4, strict=False)
    save_file(arrays | {f"stranger{i}": np.ones(1, np.float32) for i in range(40000)}, tmp_path / "names.safetensors")
    with pytest.raises(ValueError, match="stranger.* and 39992 more") as error:
        from_checkpoint(str(tmp_path / "names.safetensors"), num_heads=4)
    assert len(str(error.value)) < 1000
    save_file({f"stranger{i}": np.ones(1, np.float32) for i in range(300000)}, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match="it holds 300000 arrays"):
        from_checkpoint(str(tmp_path / "more.safetensors"))
    np.savez_compressed(tmp_path / "bomb.npz", **dict(np.load(case_file("google_vit"))),
                        zeros=np.zeros(100_000_000, np.uint8))
    with pytest.raises(ValueError, match="unpacks to"):
        from_checkpoint(str(tmp_path / "bomb.npz"))


def test_what_is_assumed_is_said(tmp_path):
    said = {sentence.split(" ")[0]: sentence for sentence in
            from_checkpoint(case_file("timm_vit"), num_heads=4).load_report.assumed}
    assert said["activation"] == "activation gelu, usual in files of timm" and "num_heads" not in said
    assert said["norm_eps"].startswith("norm_eps 1e-06") and said["pool"] == "pool cls, the file has a class token"
    assert said["image_size"] == "image_size (32, 32), its 16 patches as a square" and "norm" in said
    wide = ViT(**TINY | {"embed_dim": 384, "num_heads": 6, "norm_eps": 1e-6, "activation": "gelu"})
    save_weights(wide, str(tmp_path / "wide.safetensors"), "torchvision")
    assert "num_heads 6, usual for width 384" in from_checkpoint(str(tmp_path / "wide.safetensors")).load_report.assumed
    report = load_weights(ViT(**TINY), case_file("timm_vit"))
    assert "activation gelu_tanh, as the network was built; the file's is gelu (usual in files of timm)" in \
        report.assumed and "assumed" in str(report)


def test_a_file_without_a_class_position_is_a_square_or_told(tmp_path):
    """timm's no_embed_class, as in FlexiViT: 16 positions for 16 patches and a class token."""
    arrays = load_file(case_file("timm_vit"))
    expected = from_checkpoint(case_file("timm_vit"), num_heads=4)
    expected.pos_embedding.set_data(ms.Tensor(arrays["pos_embed"] * (np.arange(17) > 0)[:, None]))
    save_file(arrays | {"pos_embed": arrays["pos_embed"][:, 1:]}, tmp_path / "flexivit_own.safetensors")
    network = from_checkpoint(str(tmp_path / "flexivit_own.safetensors"), num_heads=4)
    assert same(values(expected), values(network))
    assert "position embedding the class token has none (timm's no_embed_class)" in network.load_report.assumed
    assert load_weights(ViT(**TINY | {"image_size": 64}), str(tmp_path / "flexivit_own.safetensors")).resized == [
        "pos_embedding"]


def test_strict_and_head_of_from_checkpoint(tmp_path):
    arrays = load_file(case_file("timm_vit"))
    save_file(arrays | {"extra": np.ones(3, np.float32)}, tmp_path / "extra.safetensors")
    with pytest.raises(ValueError, match="unused: extra"):
        from_checkpoint(str(tmp_path / "extra.safetensors"), num_heads=4)
    lenient = from_checkpoint(str(tmp_path / "extra.safetensors"), num_heads=4, strict=False)
    assert lenient.load_report.unused == ["extra"]
    with pytest.raises(ValueError, match="head='keep'"):
        from_checkpoint(case_file("timm_vit"), num_heads=4, num_classes=3, head="keep")
    save_file({name: array for name, array in arrays.items() if "patch" not in name}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="no patch_embed.proj.weight; .*whole Vision Transformer. It has blocks.*more"):
        from_checkpoint(str(tmp_path / "part.safetensors"), num_heads=4)


def test_a_tag_of_timm_is_not_the_suites_weights():
    with pytest.raises(ValueError, match="names weights of timm.*vit_b_16 at 384"):
        create_model("vit_base_patch16_384.augreg_in1k", pretrained=True)


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
    assert network.arguments["activation"] == "gelu_tanh" and network.norm.epsilon == 1e-7


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
    monkeypatch.setattr(zoo, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
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
