"""The device with its reason, and mixed precision on it."""

import os
import re
from typing import get_args

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from tiny import TINY

from mindvit import (
    ViT,
    build_model,
    device,
    use_device,
)
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


OPTIONS = {"jit_level": "O1", "precision_mode": "allow_fp32_to_fp16", "conv_hf32": False, "overflow_mode": "infnan"}


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
    return calls


def test_the_options_of_ascend_reach_mindspore(ascend, capsys):
    use_device("Ascend", **OPTIONS)
    assert ascend == [("set_device", "Ascend", "INFNAN_MODE"), ("set_context", {"jit_config": {"jit_level": "O1"}}),
                      ("precision_mode", "allow_fp32_to_fp16"), ("conv_allow_hf32", False),
                      ("set_context", {"mode": ms.GRAPH_MODE})]
    assert "jit_level O1, precision_mode allow_fp32_to_fp16, conv_hf32 False, overflow_mode infnan" in \
        capsys.readouterr().out
    with pytest.raises(ValueError, match="jit_level is O2, which compiles whole graphs, but the mode is pynative"):
        use_device("Ascend", jit_level="O2", mode="pynative")


def test_an_option_that_this_mindspore_does_not_have(ascend, monkeypatch):
    monkeypatch.delattr(ms.device_context.ascend.op_precision, "conv_allow_hf32")
    with pytest.raises(ValueError, match="conv_hf32 is True, which MindSpore 2.* refuses .*leave it out"):
        use_device("Ascend", conv_hf32=True)


def test_the_options_are_those_of_the_documentation():
    text = ms.device_context.ascend.op_precision.precision_mode.__doc__
    assert list(get_args(PrecisionMode)) == re.findall(r"^ +- (\w+):", text, re.MULTILINE)
    assert "CANN enables FP32 to HF32\n    for Conv operators by default" in \
        ms.device_context.ascend.op_precision.conv_allow_hf32.__doc__
    assert '"must_keep_origin_dtype" by default' in text and '{"jit_level": "O0"}' in ms.set_context.__doc__
