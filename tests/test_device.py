"""The device with its reason, and mixed precision on it."""


import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from tiny import TINY

from mindvit import (
    ViT,
    build_model,
    use_device,
)


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
