"""The tasks of workers that run a network: mindvit and its peers, at the same sizes and on the same images.

Each function returns the call to measure: a forward pass, or a training step of forward, backward and Adam.
"""

import os
import pathlib

import numpy as np

GEMM_SIZE = 2048


def batch_of(sizes, batch):
    """Images (batch, 3, S, S) and labels (batch,)."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, sizes["image_size"], sizes["image_size"]), np.float32)
    return images, rng.integers(0, 1000, batch)


def graph_mode():
    """Sets MindSpore as a program without mindvit does: the CPU, one compiled graph."""
    import mindspore as ms

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)


class Compiled:
    """A call of a cell with inputs, whose graph `compile` compiles ahead."""

    def __init__(self, cell, *inputs):
        self.cell, self.inputs = cell, inputs

    def compile(self):
        self.cell.compile(*self.inputs)

    def __call__(self):
        return self.cell(*self.inputs).asnumpy()


def mindspore_call(network, sizes, batch, train, recompute=False, level="O0"):
    import mindspore as ms
    from mindspore import nn

    images, labels = batch_of(sizes, batch)
    images, labels = ms.Tensor(images), ms.Tensor(labels, ms.int32)
    if not train:
        return Compiled(network.set_train(False), images)
    forward = network if level == "O0" else ms.amp.auto_mixed_precision(network, level)
    for block in network.transformer.layers if recompute else ():
        block.recompute()
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    optimizer = nn.Adam(network.trainable_params(), 1e-5)
    step = nn.TrainOneStepCell(nn.WithLossCell(forward, loss), optimizer).set_train()
    return Compiled(step, images, labels)


def mindvit(sizes, batch, train):
    import mindvit

    mindvit.use_device("CPU")
    return mindspore_call(mindvit.ViT(**sizes), sizes, batch, train)


def native_forms(sizes, batch, train, recompute=False, level="O0"):
    """mindvit in the forms that Ascend and GPU get."""
    import mindvit
    from mindvit.kernels import native_forms

    mindvit.use_device("CPU")
    with native_forms():
        network = mindvit.ViT(**sizes)
    return mindspore_call(network, sizes, batch, train, recompute, level)


def recomputed(sizes, batch, train):
    return native_forms(sizes, batch, train, recompute=True)


def tutorial(sizes, batch, train):
    from benchmarks.tutorial_vit import ViT

    graph_mode()
    return mindspore_call(ViT(**sizes), sizes, batch, train)


def mindcv(sizes, batch, train):
    from mindcv.models.vit import VisionTransformer

    graph_mode()
    network = VisionTransformer(
        image_size=sizes["image_size"], patch_size=sizes["patch_size"], embed_dim=sizes["embed_dim"],
        depth=sizes["num_layers"], num_heads=sizes["num_heads"], mlp_ratio=sizes["mlp_dim"] / sizes["embed_dim"])
    return mindspore_call(network, sizes, batch, train)


def timm_network(sizes):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=sizes["image_size"], patch_size=sizes["patch_size"], embed_dim=sizes["embed_dim"],
        depth=sizes["num_layers"], num_heads=sizes["num_heads"], mlp_ratio=sizes["mlp_dim"] / sizes["embed_dim"])


def timm(sizes, batch, train):
    import torch

    network = timm_network(sizes)
    images, labels = map(torch.from_numpy, batch_of(sizes, batch))
    if not train:
        network.eval()
        return torch.inference_mode()(lambda: network(images))
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def export_onnx(sizes, path):
    """A call that writes mindvit's network to an ONNX file."""
    import mindvit
    from mindvit.exporting.onnx_file import network_graph

    mindvit.use_device("CPU")
    network = mindvit.ViT(**sizes).set_train(False)
    return lambda: network_graph(network).write(pathlib.Path(path))


def onnxruntime(sizes, batch, path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: batch_of(sizes, batch)[0]}
    return lambda: session.run(None, feed)


def openvino(sizes, batch, path, precision="f32"):
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"])})
    images, _ = batch_of(sizes, batch)
    return lambda: model(images)[0]


def openvino_bfloat16(sizes, batch, path):
    return openvino(sizes, batch, path, "bf16")


def gemm():
    """The machine's own rate: numpy's product of two square float32 matrices."""
    matrix = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE), np.float32)
    return lambda: matrix @ matrix
