"""`mindvit doctor`: a minute of small checks on the device, whose output is what a report of a problem needs."""

import time
from collections.abc import Callable
from typing import Literal

import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, nn, ops

from mindvit.device import Device, build_model, use_device, versions
from mindvit.models.vit import ViT
from mindvit.optim.optimizers import adam
from mindvit.training.loss import CrossEntropySmooth

SMALL = {"image_size": 32, "patch_size": 8, "embed_dim": 48, "num_layers": 2, "num_heads": 3, "mlp_dim": 96,
         "num_classes": 4, "init": "timm"}
BATCH = 4


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """The images (8, 3, 32, 32) and labels (8,) of the checks."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (2 * BATCH, 3, 32, 32)).astype(np.float32), np.array([0, 0, 0, 1, 0, 0, 2, 3], np.int32)


def near(found: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """How far they are from each other, in words.

    Raises:
        ValueError: they differ by more than the tolerance's share of the largest expected value.
    """
    worst = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not worst <= tolerance:
        raise ValueError(f"differs by {worst:.1e} of the largest value; at most {tolerance:.0e} is rounding")
    return f"differs by {worst:.1e} of the largest value"


def product(device: Device) -> str:
    """A product of matrices against numpy's."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (64, 48)).astype(np.float32), rng.normal(0, 1, (48, 32)).astype(np.float32)
    return near(ops.matmul(Tensor(a), Tensor(b)).asnumpy(), a.astype(float) @ b, 1e-2)


def forward(device: Device) -> str:
    """Logits of a small network: those of four images are those of the same four among eight."""
    network, images = ViT(**SMALL).set_train(False), numbers()[0]  # type: ignore[arg-type]
    model = build_model(network, Device(device.target, "O0", False))
    return near(model.predict(Tensor(images[:BATCH])).asnumpy(), model.predict(Tensor(images)).asnumpy()[:BATCH], 1e-2)


def gradient(device: Device) -> str:
    """The gradient of the loss by the head's bias against the formula: softmax minus the targets, averaged."""
    images, labels = numbers()
    network = ViT(**SMALL).set_train()  # type: ignore[arg-type]
    assert network.dense is not None
    loss = nn.WithLossCell(network, CrossEntropySmooth(num_classes=4))
    found = ops.GradOperation(get_by_list=True)(loss, [network.dense.bias])(Tensor(images), Tensor(labels))[0]
    logits = network.set_train(False)(Tensor(images)).asnumpy().astype(float)
    share = np.exp(logits - logits.max(1, keepdims=True))
    expected = (share / share.sum(1, keepdims=True) - np.eye(4)[labels]).mean(0)
    return near(found.asnumpy(), expected, 2e-2)


def steps(device: Device) -> str:
    """Training steps at O2, in float16 with a loss scale, through the device's data queue where the device has it: the
    loss of eight images falls.

    Raises:
        ValueError: it does not.
    """
    images, labels = numbers()
    network = ViT(**SMALL)  # type: ignore[arg-type]
    epochs = 20
    queue = ds.NumpySlicesDataset((np.concatenate([images] * 2), np.concatenate([labels] * 2)), shuffle=False)
    loss = CrossEntropySmooth(num_classes=4)
    model = build_model(network, Device(device.target, "O2", device.data_sink), loss,
                        adam(network.trainable_params(), 2e-3), {"loss"}, "dynamic")
    batches = queue.batch(2 * BATCH)
    before = model.eval(batches, dataset_sink_mode=device.data_sink)["loss"]
    model.train(epochs, batches, dataset_sink_mode=device.data_sink)
    after = model.eval(batches, dataset_sink_mode=device.data_sink)["loss"]
    if not after < 0.5 * before:
        raise ValueError(f"the loss went from {before:.3f} to {after:.3f} in {2 * epochs} steps, not below half")
    return f"loss {before:.3f} to {after:.3f} in {2 * epochs} steps; {model.step.measures()}"


CHECKS: dict[str, Callable[[Device], str]] = {
    "product": product, "forward": forward, "gradient": gradient, "O2 and data": steps}


def doctor(device_target: Literal["auto", "Ascend", "GPU", "CPU"] = "auto") -> int:
    """Checks the device in a minute: versions, a product, forward, gradient, training at O2 and the data queue.

    Args:
        device_target: auto takes Ascend, then GPU, then CPU.

    Returns:
        int: 0, or 1 when a check failed.
    """
    print(f"versions: {versions()}", flush=True)
    try:
        device = use_device(device_target)
    except Exception as error:  # whatever goes wrong on a device nobody had is what the report is for
        print(f"device: failed, {type(error).__name__}: {error}", flush=True)
        return 1
    failed = []
    for name, check in CHECKS.items():
        start = time.time()
        try:
            line = f"ok, {check(device)}"
        except Exception as error:
            failed.append(name)
            line = f"failed, {type(error).__name__}: {str(error).strip() or 'no message'}"
        print(f"{name}: {line} ({time.time() - start:.1f} s)", flush=True)
    sink = "the data went through the device's queue" if device.data_sink else "the device has no data queue"
    print(f"{len(failed)} of {len(CHECKS)} checks failed{': ' + ', '.join(failed) if failed else ''}; {sink}. A report "
          "needs all of this output", flush=True)
    return int(bool(failed))
