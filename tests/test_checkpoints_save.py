"""What is written is read back: in every library's format, and every network in our own."""

import dataclasses
import functools
import pathlib

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from safetensors.numpy import load_file
from stored import CASES, case_arguments, case_file, same, values
from tiny import TINY

from mindvit import (
    ViT,
    create_model,
    from_checkpoint,
    index2label,
    read_checkpoint,
    save_weights,
)
from mindvit.cli import main

FORMATS = {"mindspore": ".ckpt", "suite": ".ckpt", "timm": ".safetensors", "huggingface": ".safetensors",
           "torchvision": ".safetensors"}
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


def test_the_names_of_the_classes_are_in_the_file(tmp_path):
    network = ViT(**TINY)
    network.class_names = ["老虎", *(f"kind {i}" for i in range(9))]
    (tmp_path / "a").mkdir()
    save_weights(network, tmp_path / "a/vit.ckpt")
    assert from_checkpoint(tmp_path / "a/vit.ckpt").class_names == network.class_names
    assert from_checkpoint(tmp_path / "a/vit.ckpt", num_classes=3).class_names is None
    (tmp_path / "a/classes.txt").write_text("".join(f"{i}\n" for i in range(10)))  # what a person wrote comes first
    assert from_checkpoint(tmp_path / "a/vit.ckpt").class_names == list("0123456789")
    network = create_model("vit_t_16", num_layers=1)
    network.class_names = list(index2label().values())
    save_weights(network, tmp_path / "imagenet.ckpt")
    assert "mindvit" not in ms.load_checkpoint(str(tmp_path / "imagenet.ckpt"))
    assert from_checkpoint(tmp_path / "imagenet.ckpt").class_names == network.class_names


@pytest.mark.parametrize("target, format", [("vit.ckpt", "suite"), ("source.ckpt", "suite"), ("folder", "timm")])
def test_convert_overwrites_nothing(target, format, capsys):
    save_weights(ViT(**TINY), "source.ckpt")
    before = pathlib.Path("source.ckpt").read_bytes()
    pathlib.Path("vit.ckpt").write_text("mine")
    pathlib.Path("folder").mkdir()
    pathlib.Path("folder/model.safetensors").write_text("mine")
    assert main(["convert", "source.ckpt", target, "--format", format]) == 2
    assert "is there already; name another target, or remove it" in capsys.readouterr().err
    assert pathlib.Path("source.ckpt").read_bytes() == before
    assert pathlib.Path("vit.ckpt").read_text() == pathlib.Path("folder/model.safetensors").read_text() == "mine"
