"""The device with its reason, and mixed precision on it."""

import contextlib
import dataclasses
import os
import re
from typing import get_args

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from tiny import TINY, images

from mindvit import Attention, ViT, build_model, device, kernels, use_device
from mindvit.cli import main
from mindvit.config import PrecisionMode


def test_device_is_named_with_its_reason(capsys):
    device = use_device()
    assert (device.target, device.amp_level, device.data_sink) == ("CPU", "O0", False)
    assert "device CPU (auto: neither an Ascend nor a GPU backend is available), graph mode" in capsys.readouterr().out
    assert use_device(amp_level="O2", data_sink=True, mode="pynative").amp_level == "O2"
    with pytest.raises(ValueError, match="device target Ascend has no working backend .* use auto"):
        use_device("Ascend")


def test_o2_runs_in_float16_and_agrees_with_o0():
    images = Tensor(np.random.default_rng(0).normal(0, 1, (8, 3, 32, 32)).astype(np.float32))
    ms.set_seed(1)
    network = ViT(**{**TINY, "num_layers": 4}, distilled=True).set_train(False)
    full = build_model(network, use_device()).predict(images).asnumpy()
    half = build_model(network, use_device(amp_level="O2")).predict(images)
    assert half.dtype == ms.float32 and {p.dtype for p in network.get_parameters()} == {ms.float32}
    difference = np.abs(half.asnumpy() - full).max() / np.ptp(full)
    assert 1e-5 < difference < 2e-2  # above float32's rounding, so the float16 is real
    ms.set_context(mode=ms.PYNATIVE_MODE)
    assert network.patch_embedding(images).dtype == ms.float16


OPTIONS = {"jit_level": "O1", "precision_mode": "allow_fp32_to_fp16", "conv_hf32": False, "overflow_mode": "infnan",
           "flash_attention": True}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_ascend_is_refused_elsewhere(name, capsys):
    with pytest.raises(ValueError, match=f"{name} is {OPTIONS[name]}, an option of Ascend, but the device is CPU"):
        use_device(**{name: OPTIONS[name]})
    assert main(["train", "--device-target", "CPU", f"--{name}", str(OPTIONS[name] or "false")]) == 2
    assert re.match(f"mindvit train: {name} is .*leave it out here", capsys.readouterr().err)


@pytest.fixture
def ascend(monkeypatch):
    """The calls that would reach an Ascend device; a stand-in, which proves names and order and no more."""
    calls = []
    precision = ms.device_context.ascend.op_precision
    monkeypatch.setattr(device, "available", lambda target: True)
    monkeypatch.setattr(ms, "set_device", lambda *words: calls.append(
        ("set_device", *words, os.environ.get("MS_ASCEND_CHECK_OVERFLOW_MODE"))))
    monkeypatch.setattr(ms, "set_context", lambda **words: calls.append(("set_context", words)))
    for name in ("precision_mode", "conv_allow_hf32"):
        monkeypatch.setattr(precision, name, lambda value, name=name: calls.append((name, value)))
    monkeypatch.setenv("MS_ASCEND_CHECK_OVERFLOW_MODE", "")
    monkeypatch.setattr(kernels, "flash_attention", False)
    return calls


def test_the_options_of_ascend_reach_mindspore(ascend, capsys):
    use_device("Ascend", **OPTIONS)
    assert kernels.flash_attention
    assert ascend == [("set_device", "Ascend", "INFNAN_MODE"), ("set_context", {"jit_config": {"jit_level": "O1"}}),
                      ("precision_mode", "allow_fp32_to_fp16"), ("conv_allow_hf32", False),
                      ("set_context", {"mode": ms.GRAPH_MODE})]
    assert ("jit_level O1, precision_mode allow_fp32_to_fp16, conv_hf32 False, overflow_mode infnan, "
            "flash_attention True") in capsys.readouterr().out
    with pytest.raises(ValueError, match="jit_level is O2, which compiles whole graphs, but the mode is pynative"):
        use_device("Ascend", jit_level="O2", mode="pynative")
    with pytest.raises(ValueError, match="flash_attention takes float16, but amp_level is O0; take O2"):
        use_device("Ascend", "O0", flash_attention=True)
    use_device("Ascend")
    assert not kernels.flash_attention


@pytest.mark.parametrize("head_dim", [8, 16, 80])
def test_flash_attention_is_asked_for_what_attention_is(monkeypatch, mode, head_dim):
    """The operator itself is Ascend's: here its documented formula stands in for it."""
    def formula(query, key, value, head_num, scalar_value, input_layout):
        assert (head_num, input_layout) == (2, "BNSD") and query.shape[3] % 16 == 0
        weights = ops.softmax(ops.matmul(query, key.swapaxes(2, 3)) * scalar_value)
        return ops.matmul(weights, value)

    monkeypatch.setattr(ops, "flash_attention_score", formula)
    plain = Attention(24, num_heads=2, head_dim=head_dim)
    monkeypatch.setattr(kernels, "flash_attention", True)
    flash = Attention(24, num_heads=2, head_dim=head_dim)
    ms.load_param_into_net(flash, {name: value for name, value in plain.parameters_dict().items()})
    tokens = Tensor(images(2, 5, 24))
    np.testing.assert_allclose(flash(tokens).asnumpy(), plain(tokens).asnumpy(), atol=1e-6)
    with pytest.raises(ValueError, match="attention_keep_prob is 0.9, and flash attention drops no weights; give 1.0"):
        Attention(24, num_heads=2, attention_keep_prob=0.9)
    with pytest.raises(ValueError, match="takes heads up to 512 wide, not 513; leave flash_attention out"):
        Attention(24, num_heads=2, head_dim=513)


def test_an_option_that_this_mindspore_does_not_have(ascend, monkeypatch):
    monkeypatch.delattr(ms.device_context.ascend.op_precision, "conv_allow_hf32")
    with pytest.raises(ValueError, match="conv_hf32 is True, which MindSpore 2.* refuses .*leave it out"):
        use_device("Ascend", conv_hf32=True)


def test_the_options_are_those_of_the_documentation():
    text = ms.device_context.ascend.op_precision.precision_mode.__doc__
    assert list(get_args(PrecisionMode)) == re.findall(r"^ +- (\w+):", text, re.MULTILINE)
    assert "CANN enables FP32 to HF32\n    for Conv operators by default" in \
        ms.device_context.ascend.op_precision.conv_allow_hf32.__doc__
    flash = ms.ops.flash_attention_score.__doc__
    assert "multiple of 16, with the max value of 512" in flash and "dtype is float16 and bfloat16" in flash
    assert '"must_keep_origin_dtype" by default' in text and '{"jit_level": "O0"}' in ms.set_context.__doc__


@pytest.mark.parametrize("level", ["O1", "O3"])
def test_levels_that_the_cpu_cannot_compute_are_refused(level, capsys):
    with pytest.raises(ValueError, match=f"^amp_level is {level}, for which MindSpore's CPU lacks operators; take O0"):
        use_device("CPU", level)
    assert main(["eval", "--checkpoint", "x.ckpt", "--amp_level", level, "--device_target", "CPU"]) == 2
    assert f"mindvit eval: amp_level is {level}, " in capsys.readouterr().err


class Wrong(nn.Cell):
    """Shapes that do not fit, which shows when the graph is compiled."""

    def construct(self, images):
        return ops.matmul(images, images)


def test_mindspore_leaves_no_folder_where_somebody_works():
    device = use_device("CPU")
    with pytest.raises(RuntimeError, match="analyze_fail.ir"):
        build_model(Wrong().set_train(False), device).predict(ms.ops.ones((1, 3, 4, 5)))
    with contextlib.suppress(TypeError):  # MindSpore 2.10 cannot rewrite all of mindvit's cells
        build_model(ViT(**TINY).set_train(False), dataclasses.replace(device, amp_level="O1"))
    assert os.listdir() == []
