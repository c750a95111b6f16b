"""Choosing device, precision and mode, and building the `Model` that follows from them."""

import dataclasses
import logging

import mindspore as ms
from mindspore.train import Model

from mindvit.engine.compile_cache import keep_graphs


@dataclasses.dataclass(frozen=True)
class Device:
    """What a run uses: device target, mixed-precision level, and whether data goes through the device's queue."""

    target: str
    amp_level: str
    data_sink: bool


def available(target):
    """Whether this MindSpore has a working backend for the target; MindSpore's own warnings about it are muted."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return ms.hal.is_available(target)
    finally:
        logging.disable(disabled)


def choose_target(device_target):
    """The device target, "auto" resolved: Ascend, then GPU, then CPU."""
    if device_target != "auto":
        return device_target
    return next(target for target in ("Ascend", "GPU", "CPU") if available(target))


def use_device(device_target="auto", amp_level=None, data_sink=None, mode=None):
    """Sets MindSpore's device and mode, prints what was chosen and why.

    Args:
        device_target (str): "auto" (Ascend, then GPU, then CPU), "Ascend", "GPU" or "CPU".
        amp_level (str, optional): "O0" to "O3"; by default "O2" on Ascend and "O0" elsewhere.
        data_sink (bool, optional): by default on Ascend only.
        mode (str, optional): "graph" (the default) or "pynative".

    Returns:
        Device.

    Raises:
        ValueError: the device asked for has no working backend.
    """
    why, mode = "as asked", mode or "graph"
    if device_target == "auto":
        device_target = choose_target("auto")
        why = {"Ascend": "auto: an Ascend backend is available", "GPU": "auto: no Ascend, but a GPU is available",
               "CPU": "auto: neither an Ascend nor a GPU backend is available"}[device_target]
    elif not available(device_target):
        raise ValueError(f"device target {device_target} has no working backend in this MindSpore {ms.__version__}; "
                         "use auto, or install the MindSpore package and driver for it")
    if ms.get_context("device_target") != device_target:
        ms.set_device(device_target)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    on_ascend = device_target == "Ascend"
    device = Device(device_target, amp_level or ("O2" if on_ascend else "O0"),
                    on_ascend if data_sink is None else data_sink)
    print(f"device {device.target} ({why}), {mode} mode, amp level {device.amp_level}, "
          f"data sink {'on' if device.data_sink else 'off'}", flush=True)
    return device


def build_model(network, device, loss=None, optimizer=None, metrics=None):
    """A `mindspore.train.Model` at the device's precision, for training (with an optimizer), evaluating or predicting.

    On the CPU, mixed precision runs without a dynamic loss scale, which MindSpore refuses there, and compiled graphs
    are kept for later processes; on Ascend and GPU nobody has tried that yet.
    """
    on_cpu = device.target == "CPU"
    if optimizer is None:  # Model casts for mixed precision only when it trains
        if device.amp_level != "O0":
            network = ms.amp.auto_mixed_precision(network, device.amp_level)
        model = Model(network, loss_fn=loss, metrics=metrics)
    else:
        scale = {"loss_scale_manager": None} if on_cpu else {}
        model = Model(network, loss_fn=loss, optimizer=optimizer, metrics=metrics, amp_level=device.amp_level, **scale)
    for cell in (model.train_network, model.eval_network, model.predict_network) if on_cpu else ():
        if cell is not None:
            keep_graphs(cell)
    return model
