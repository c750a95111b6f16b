"""What computes a network's logits: MindSpore, or another program from its ONNX graph; one table, name and function."""

import pathlib
import tempfile
from collections.abc import Callable

import mindspore as ms

from mindvit.choices import entry
from mindvit.config import BackendConfig
from mindvit.device import Device, build_model, device_of
from mindvit.exporting.graph import MOST_BYTES
from mindvit.exporting.onnx_file import Logits, network_graph, onnxruntime_logits, threads
from mindvit.extras import needed
from mindvit.models import ViT

# What another program than MindSpore has no use for.
OF_MINDSPORE = ("amp_level", "data_sink", "mode", "jit_level", "precision_mode", "conv_hf32", "overflow_mode",
                "flash_attention")
# Of benchmarks/results/backends.json, for batches of 8.
FASTER = ("with --backend openvino a ViT-B/16 ran 1.4 times as fast on a CPU, with --backend_precision bfloat16 too "
          "2.5 times (docs/export.md)")
EXTRAS = {"onnxruntime": "export", "openvino": "openvino"}  # of setup.py
BACKENDS: dict[str, Callable[[ViT, Device, str], Logits]] = {}  # the last argument is the precision


@entry(BACKENDS)
def mindspore(network, device, precision):
    model = build_model(network, device)
    return lambda images: model.predict(ms.Tensor(images)).asnumpy()


@entry(BACKENDS)
def onnxruntime(network, device, precision):
    return onnxruntime_logits(network)


@entry(BACKENDS)
def openvino(network, device, precision):
    core = needed("openvino", "openvino").Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("backend_precision is bfloat16, which this processor does not have; leave it out")
    options = {"INFERENCE_NUM_THREADS": threads(),
               "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    graph = network_graph(network)
    if graph.nbytes <= MOST_BYTES:
        model = core.compile_model(core.read_model(graph.in_one()), "CPU", options)
    else:
        with tempfile.TemporaryDirectory() as folder:  # what is open stays readable when its name is gone
            path = pathlib.Path(folder, "vit.onnx")
            graph.write(path)
            model = core.compile_model(core.read_model(path), "CPU", options)
    return lambda images: model(images)[0]


def by_mindspore(job: BackendConfig) -> bool:
    """Whether MindSpore computes the logits of a job."""
    return job.backend in ("auto", "mindspore")


def backend_device(job: BackendConfig, mode: str | None = None) -> Device:
    """The device of a job, in this mode where MindSpore computes and the job names none; prints what was chosen.

    Raises:
        ValueError: see `use_device`; or something that the backend does not have is asked for, or it is not installed.
    """
    precision = job.backend_precision or "float32"
    if by_mindspore(job):
        if job.backend_precision:
            raise ValueError(f"backend_precision is {precision}, but the backend is MindSpore, whose precision "
                             "--amp_level says; leave it out")
        return device_of(job, mode)
    for name, value in [("distributed", getattr(job, "distributed", False) or None),
                        *((name, getattr(job, name)) for name in OF_MINDSPORE)]:
        if value is not None:
            raise ValueError(f"{name} is {value}, which the backend {job.backend} does not have; leave it out")
    if job.device_target not in ("auto", "CPU"):
        raise ValueError(f"device_target is {job.device_target}, but the backend {job.backend} runs on the CPU; leave "
                         "one of them out")
    if precision == "bfloat16" and job.backend != "openvino":
        raise ValueError(f"backend_precision is bfloat16, which the backend {job.backend} does not compute in; take "
                         "--backend openvino")
    needed("onnx", EXTRAS[job.backend])
    if ms.get_context("device_target") != "CPU":
        ms.set_device("CPU")
    device = Device("CPU", "O0", False)
    print(what_computes(job, device), flush=True)
    return device


def what_computes(job: BackendConfig, device: Device) -> str:
    """What computes the logits of a job, in words."""
    if by_mindspore(job):
        return f"{device.target}, amp level {device.amp_level}"
    version = needed(job.backend, EXTRAS[job.backend]).__version__.partition("-")[0]
    return f"backend {job.backend} {version}, CPU, {threads()} threads, {job.backend_precision or 'float32'}"


def open_backend(job: BackendConfig, network: ViT, device: Device) -> Logits:
    """What computes the logits of a job's network, in evaluation mode, from images (B, 3, H, W) float32.

    Raises:
        ValueError: a cell of the network has no ONNX form, or the processor does not have the precision.
    """
    name = "mindspore" if by_mindspore(job) else job.backend
    return BACKENDS[name](network.set_train(False), device, job.backend_precision or "float32")
