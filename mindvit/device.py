"""Choosing device, precision and mode, and building the `Model` that follows from them."""

import dataclasses
import functools
import logging
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mindspore as ms
from mindspore import nn
from mindspore.train import Metric, Model

from mindvit import kernels
from mindvit.config import RunConfig
from mindvit.optim.distillation import WithTeacher
from mindvit.optim.step import StepModel, TrainStep
from mindvit.runtime.workers import start, workers


@dataclasses.dataclass(frozen=True)
class Device:
    """What a run uses: device target, mixed-precision level, and whether data goes through the device's queue."""

    target: str
    amp_level: str
    data_sink: bool


def versions() -> str:
    """Versions of Python, MindSpore, mindvit and numpy, and of CANN's Python packages where they are installed."""
    found = [f"Python {platform.python_version()} on {platform.machine()}", f"MindSpore {ms.__version__}"]
    for name in ("mindvit", "numpy", "te", "hccl"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@functools.cache
def say_pynative():
    """The line that tells how to leave PyNative mode, once a process."""
    print("MindSpore runs operator by operator (PyNative, its default mode); "
          "mindspore.set_context(mode=mindspore.GRAPH_MODE) at the start of the program makes this about six times "
          "faster (measured on a CPU)", flush=True)


def notice_pynative():
    """Says once a process, on CPU and Ascend, that PyNative mode is slow."""
    if ms.get_context("mode") == ms.PYNATIVE_MODE and ms.get_context("device_target") in ("CPU", "Ascend"):
        say_pynative()


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


@functools.cache
def dumps():
    """A folder, removed when the process ends, for what MindSpore leaves where somebody works: rank_0 of a graph that
    it could not compile, and rewritten_network."""
    return tempfile.TemporaryDirectory(prefix="mindvit-")


def mixed_precision(network, amp_level):
    """`mindspore.amp.auto_mixed_precision`, which at O1 writes the network's rewritten code into the current folder."""
    before = os.getcwd()
    if amp_level == "O1":
        os.chdir(dumps().name)
    try:
        return ms.amp.auto_mixed_precision(network, amp_level)
    finally:
        os.chdir(before)


def check_ascend_options(target, mode, amp_level, options):
    """ValueError if there are options that are Ascend's and the target is another."""
    for name, value in options.items():
        if target != "Ascend":
            raise ValueError(f"{name} is {value}, an option of Ascend, but the device is {target}; leave it out here")
    if options.get("jit_level") == "O2" and mode != "graph":
        raise ValueError(f"jit_level is O2, which compiles whole graphs, but the mode is {mode}; take graph mode, or "
                         "leave jit_level out")
    if options.get("flash_attention") and amp_level not in ("O2", "O3"):
        raise ValueError(f"flash_attention takes float16, but amp_level is {amp_level}; take O2, or leave "
                         "flash_attention out")


def use_ascend_options(options):
    """Sets the options of Ascend, once it is the device.

    Raises:
        ValueError: this MindSpore does not have one of them.
    """
    for name, value in options.items():
        try:
            if name == "jit_level":
                ms.set_context(jit_config={"jit_level": value})
            elif name == "precision_mode":
                ms.device_context.ascend.op_precision.precision_mode(value)
            elif name == "conv_hf32":
                ms.device_context.ascend.op_precision.conv_allow_hf32(value)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{name} is {value}, which MindSpore {ms.__version__} refuses ({error}); it is "
                             "documented for 2.7 to 2.10, and set once a process; leave it out") from error


def use_device(device_target: str = "auto", amp_level: str | None = None, data_sink: bool | None = None,
               mode: str | None = None, distributed: bool = False, **options: Any) -> Device:
    """Sets MindSpore's device and mode, prints what was chosen and why.

    Args:
        device_target (str): "auto" (Ascend, then GPU, then CPU), "Ascend", "GPU" or "CPU".
        amp_level (str, optional): "O0" to "O3"; by default "O2" on Ascend and "O0" elsewhere.
        data_sink (bool, optional): by default on Ascend only.
        mode (str, optional): "graph" (the default) or "pynative".
        distributed (bool): join the other workers that a launcher started, see docs/scaling.md.
        **options: jit_level, precision_mode, conv_hf32, overflow_mode and flash_attention, for Ascend alone: see
            `RunConfig` and docs/ascend.md. None of them was ever run. Flash attention is that of networks built
            afterwards.

    Returns:
        Device.

    Raises:
        ValueError: the device asked for has no working backend, amp_level is O1 or O3 on a CPU, an option of Ascend is
            given for another, or this MindSpore does not have it; or no launcher started this process.

    Example:
        >>> use_device("CPU").amp_level
        device CPU (as asked), graph mode, amp level O0, data sink off
        'O0'
    """
    why, mode = "as asked", mode or "graph"
    if device_target == "auto":
        device_target = choose_target("auto")
        why = {"Ascend": "auto: an Ascend backend is available", "GPU": "auto: no Ascend, but a GPU is available",
               "CPU": "auto: neither an Ascend nor a GPU backend is available"}[device_target]
    elif not available(device_target):
        raise ValueError(f"device target {device_target} has no working backend in this MindSpore {ms.__version__}; "
                         "use auto, or install the MindSpore package and driver for it")
    options = {name: value for name, value in options.items() if value is not None}
    on_ascend = device_target == "Ascend"
    amp_level = amp_level or ("O2" if on_ascend else "O0")
    if device_target == "CPU" and amp_level in ("O1", "O3"):
        raise ValueError(f"amp_level is {amp_level}, for which MindSpore's CPU lacks operators; take O0, or O2 to try "
                         "float16 here")
    check_ascend_options(device_target, mode, amp_level, options)
    os.environ.setdefault("MS_OM_PATH", dumps().name)
    kernels.flash_attention = bool(options.get("flash_attention"))
    if "overflow_mode" in options:  # read when the device starts
        os.environ["MS_ASCEND_CHECK_OVERFLOW_MODE"] = f"{options['overflow_mode'].upper()}_MODE"
    if ms.get_context("device_target") != device_target:
        ms.set_device(device_target)
    use_ascend_options(options)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    if distributed:
        start()
    device = Device(device_target, amp_level, on_ascend if data_sink is None else data_sink)
    print(f"device {device.target} ({why}), {mode} mode, amp level {device.amp_level}, "
          f"data sink {'on' if device.data_sink else 'off'}"
          f"{''.join(f', {name} {value}' for name, value in options.items())}"
          f"{f', {workers.count} workers, of which this is process {os.getpid()}' if distributed else ''}", flush=True)
    return device


def device_of(job: RunConfig, mode: str | None = None) -> Device:
    """What `use_device` chooses for a job, in this mode where the job names none."""
    return use_device(job.device_target, job.amp_level, job.data_sink, job.mode or mode,
                      getattr(job, "distributed", False), jit_level=job.jit_level, precision_mode=job.precision_mode,
                      conv_hf32=job.conv_hf32, overflow_mode=job.overflow_mode, flash_attention=job.flash_attention)


def loss_scaler(loss_scale, device):
    """MindSpore's scaler of a loss: for "dynamic", a number, or None for the device's default; None for "none"."""
    if loss_scale is None:
        loss_scale = "dynamic" if device.amp_level in ("O2", "O3") and device.target != "CPU" else "none"
    if loss_scale == "none":
        return None
    if loss_scale == "dynamic":
        return ms.amp.DynamicLossScaler(2.0**16, 2, 2000)
    if loss_scale < 1:
        raise ValueError(f"loss_scale is {loss_scale}; it is at least 1, dynamic or none")
    return ms.amp.StaticLossScaler(float(loss_scale))


def build_model(network: nn.Cell, device: Device, loss: nn.Cell | None = None, optimizer: nn.Optimizer | None = None,
                metrics: dict[str, Metric] | set[str] | None = None, loss_scale: str | float | None = None,
                teacher: nn.Cell | None = None, **options: Any) -> Model:
    """A `mindspore.train.Model` at the device's precision, for training (with an optimizer), evaluating or predicting.

    Args:
        network (nn.Cell): the network.
        device (Device): what `use_device` chose.
        loss (nn.Cell, optional): for training and evaluation.
        optimizer (nn.Optimizer, optional): for training.
        metrics (dict, optional): for evaluation.
        loss_scale (str or float, optional): in training, "dynamic", a number or "none"; by default dynamic for the
            float16 of O2 and O3, but none on a CPU.
        teacher (Teacher, optional): in training the loss takes its logits too.
        **options: of `TrainStep`.

    Raises:
        ValueError: loss_scale is below 1.

    Example:
        >>> network = create_model("vit_t_16", num_layers=1)
        >>> model = build_model(network.set_train(False), use_device("CPU"))
        device CPU ...
        >>> model.predict(mindspore.ops.ones((2, 3, 224, 224))).shape
        (2, 1000)
    """
    if loss is not None:  # a few images are predicted in PyNative mode on purpose
        notice_pynative()
    if optimizer is None:  # Model casts for mixed precision only when it trains
        if device.amp_level != "O0":
            network = mixed_precision(network, device.amp_level)
        return Model(network, loss_fn=loss, metrics=metrics)

    def cast(cell):
        return cell if device.amp_level == "O0" else mixed_precision(cell, device.amp_level)

    forward = WithTeacher(cast(network), loss, cast(teacher)) if teacher else nn.WithLossCell(cast(network), loss)
    step = TrainStep(forward, optimizer, scaler=loss_scaler(loss_scale, device), **options)
    return StepModel(step, network, loss_fn=loss, optimizer=optimizer, metrics=metrics, amp_level=device.amp_level)
