"""`mindvit doctor`, with a healthy device and with broken ones."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvit import doctor as module
from mindvit.cli import main
from mindvit.doctor import CHECKS, near
from mindvit.training.loss import CrossEntropySmooth


@pytest.fixture(autouse=True)
def default_mode():
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def test_a_healthy_device(capsys):
    assert main(["doctor", "--device-target", "CPU"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("versions: Python 3.") and "MindSpore 2." in lines[0]
    assert [line.split(":")[0] for line in lines[2:-1]] == list(CHECKS)
    assert all(": ok, " in line for line in lines[2:-1])
    assert lines[-1].startswith("0 of 4 checks failed; the device has no data queue")


def test_a_device_that_is_not_there(capsys):
    assert main(["doctor", "--device-target", "Ascend"]) == 1
    assert "device: failed, ValueError: device target Ascend has no working backend" in capsys.readouterr().out


def test_what_goes_wrong_is_named_and_the_rest_is_still_checked(capsys, monkeypatch):
    def wrong(*tensors):
        return ops.ones((64, 32))

    def broken(device):
        raise RuntimeError("aclnnMatmul failed, error code 161002")

    monkeypatch.setattr(module.ops, "matmul", wrong)
    monkeypatch.setattr(module, "CHECKS", {"product": module.product, "forward": broken, "last": lambda device: "fine"})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "product: failed, ValueError: differs by" in out and "last: ok, fine" in out
    assert "forward: failed, RuntimeError: aclnnMatmul failed, error code 161002" in out
    assert "device CPU (auto: " in out and "2 of 3 checks failed: product, forward" in out


def test_a_wrong_gradient_and_a_step_that_does_not_learn_fail(monkeypatch):
    device = module.use_device("CPU")
    monkeypatch.setattr(module, "adam", lambda weights, rate: nn.SGD(weights, 1e-9))
    with pytest.raises(ValueError, match="not below half"):
        module.steps(device)
    monkeypatch.setattr(module, "CrossEntropySmooth",
                        lambda num_classes: CrossEntropySmooth(smooth_factor=0.5, num_classes=num_classes))
    with pytest.raises(ValueError, match="at most 2e-02 is rounding"):
        module.gradient(device)


def test_not_a_number_is_not_near():
    with pytest.raises(ValueError, match="differs by nan"):
        near(np.array([np.nan]), np.array([1.0]), 0.1)
