"""ONNX: a network as a graph, and what computes one with onnxruntime."""

import os
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np

from mindvit.exporting.cells import write
from mindvit.exporting.graph import MOST_BYTES, Graph
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


def opened(graph: Graph, open_model: Callable[[bytes | str], Logits]) -> Logits:
    """What opens a model's bytes, or a file where they are too many, does so with the graph's."""
    if graph.nbytes <= MOST_BYTES:
        return open_model(graph.in_one())
    with tempfile.TemporaryDirectory() as folder:  # what is open stays readable when its name is gone
        path = pathlib.Path(folder, "vit.onnx")
        graph.write(path)
        return open_model(str(path))


def threads() -> int:
    """As many as OMP_NUM_THREADS says, which MindSpore follows too, else as there are cores for this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnxruntime_session(model: bytes | str) -> Logits:
    """What computes the logits of an ONNX file, or of its content, on the CPU."""
    ort = needed("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})[0]
