"""ONNX: a network as a graph, and what computes one with onnxruntime."""

import os
from collections.abc import Callable

import numpy as np

from mindvit.exporting.cells import write
from mindvit.exporting.graph import Graph
from mindvit.exporting.pixels import prepared
from mindvit.extras import needed
from mindvit.models import ViT
from mindvit.preprocessing import Preprocessing

Logits = Callable[[np.ndarray], np.ndarray]  # from a batch of what the network takes to its logits


def network_graph(network: ViT, preprocessing: Preprocessing | None = None, batch_size: int | None = None,
                  metadata: dict[str, str] | None = None) -> Graph:
    """A network in evaluation as ONNX.

    Args:
        network: the network.
        preprocessing: where given, the graph takes `pixels` uint8 (batch, height, width, 3) of pictures of any size and
            prepares them so; else `images` float32 (batch, channels, H, W).
        batch_size: of every batch; by default any.
        metadata: what the file says of itself.

    Raises:
        ValueError: there is no ONNX form of one of its cells, or of the preprocessing.
    """
    graph, arguments, batch = Graph(), network.arguments, batch_size or "batch"
    if preprocessing:
        pixels = graph.input("pixels", "uint8", [batch, "height", "width", 3])
        x = prepared(graph, pixels, arguments["image_size"], preprocessing)
    else:
        x = graph.input("images", "float32", [batch, arguments["input_channels"], *arguments["image_size"]])
    width = network.num_classes or arguments["representation_size"] or arguments["embed_dim"]
    graph.output(write(graph, network, x), "logits", [batch, width], metadata or {})
    return graph


def threads() -> int:
    """As many as OMP_NUM_THREADS says, which MindSpore follows too, else as there are cores for this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnxruntime_session(model: bytes | str, weights: dict[str, np.ndarray] | None = None) -> Logits:
    """What computes the logits of an ONNX file, or of its content, on the CPU; with weights that lie in memory."""
    ort, values = needed("onnxruntime", "export"), weights or {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.add_external_initializers(list(values), [ort.OrtValue.ortvalue_from_numpy(values[name]) for name in values])
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def compute(inputs: np.ndarray, kept: dict[str, np.ndarray] = values) -> np.ndarray:  # no copy is in the session
        return session.run(None, {name: inputs})[0]

    return compute


def onnxruntime_logits(network: ViT) -> Logits:
    """What computes a network's logits by onnxruntime, which reads the weights where they are."""
    weights: dict[str, np.ndarray] = {}

    def place(name, array):
        weights[name] = array
        return {"location": "memory"}

    return onnxruntime_session(network_graph(network).apart(place), weights)
