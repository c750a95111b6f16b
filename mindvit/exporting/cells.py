"""The cells of a ViT as ONNX: a function for each kind of cell, and the table of them."""

from collections.abc import Callable
from typing import Any

from mindspore import nn

from mindvit.exporting.graph import Graph, Value
from mindvit.kernels import TABLE
from mindvit.models import Attention, Block, FeedForward, PatchEmbedding, TransformerEncoder, ViT
from mindvit.models.layers import QuickGELU, activation_name

CELLS: dict[Any, Callable[[Graph, Any, Value], Value]] = {}  # kind of cell: what writes one, from input to output


def writes(*kinds):
    """A decorator that puts a function into CELLS for these kinds of cell."""
    def put(function):
        CELLS.update(dict.fromkeys(kinds, function))
        return function

    return put


def write(graph: Graph, cell: nn.Cell, x: Value) -> Value:
    """What a cell makes of x.

    Raises:
        ValueError: it is a kind of cell that has no ONNX form here.
    """
    if type(cell) not in CELLS:  # a subclass may compute something else
        raise ValueError(f"{type(cell).__name__} has no ONNX form here; there are forms of "
                         f"{', '.join(sorted({kind.__name__ for kind in CELLS}))}")
    return CELLS[type(cell)](graph, cell, x)


def parameter(graph, parameter, array=None):
    """A parameter, or the array made of it, under its name."""
    return graph.constant(parameter.asnumpy() if array is None else array, "float32", parameter.name)


@writes(*TABLE["dense"])
def dense(graph, cell, x):
    x = graph("MatMul", x, parameter(graph, cell.weight, cell.weight.asnumpy().T))
    return x + parameter(graph, cell.bias) if cell.has_bias else x


@writes(*TABLE["layer_norm"])
def layer_norm(graph, cell, x):
    return graph("LayerNormalization", x, parameter(graph, cell.gamma), parameter(graph, cell.beta), axis=-1,
                 epsilon=cell.epsilon)


@writes(*TABLE["gelu"])
def gelu(graph, cell, x):
    return graph("Gelu", x, approximate="tanh" if activation_name(cell) == "gelu_tanh" else "none")


@writes(QuickGELU)
def quick_gelu(graph, cell, x):
    return x * graph("Sigmoid", x * 1.702)


@writes(nn.ReLU)
def relu(graph, cell, x):
    return graph("Relu", x)


@writes(nn.Identity)
def identity(graph, cell, x):
    return x


@writes(PatchEmbedding)
def patch_embedding(graph, cell, x):
    kernel, bias = cell.conv.weight.asnumpy(), cell.conv.bias  # (D, C, ph, pw)
    (d, c, ph, pw), (rows, columns) = kernel.shape, cell.grid
    if cell.norm1 is None:
        x = graph("Conv", x, parameter(graph, cell.conv.weight), parameter(graph, bias), strides=[ph, pw])
        return graph("Transpose", graph("Reshape", x, [0, d, -1]), perm=[0, 2, 1])  # (B, N, D)
    x = graph("Reshape", x, [0, c, rows, ph, columns, pw])
    x = graph("Reshape", graph("Transpose", x, perm=[0, 2, 4, 1, 3, 5]), [0, rows * columns, c * ph * pw])
    x = graph("MatMul", write(graph, cell.norm1, x), parameter(graph, cell.conv.weight, kernel.reshape(d, -1).T))
    return write(graph, cell.norm2, x + parameter(graph, bias))


@writes(Attention)
def attention(graph, cell, x):
    heads, width = cell.num_heads, cell.head_dim
    parts = graph.several("Split", 3, write(graph, cell.qkv, x), axis=-1, num_outputs=3)
    q, k, v = (graph("Transpose", graph("Reshape", part, [0, 0, heads, width]), perm=perm)
               for part, perm in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])))  # k: (B, H, Dh, N)
    weights = graph("Softmax", graph("MatMul", q * cell.scale, k), axis=-1)  # (B, H, N, N)
    x = graph("Transpose", graph("MatMul", weights, v), perm=[0, 2, 1, 3])
    x = graph("Reshape", x, [0, 0, heads * width])
    return x if cell.out is None else write(graph, cell.out, x)


@writes(FeedForward)
def feed_forward(graph, cell, x):
    return write(graph, cell.dense2, write(graph, cell.activation, write(graph, cell.dense1, x)))


@writes(Block)
def block(graph, cell, x):
    x = x + write(graph, cell.attention, write(graph, cell.norm1, x))
    return x + write(graph, cell.mlp, write(graph, cell.norm2, x))


@writes(TransformerEncoder)
def encoder(graph, cell, x):
    for layer in cell.layers:
        x = write(graph, layer, x)
    return x


@writes(ViT)
def vit(graph, cell, x):
    x = write(graph, cell.transformer, embedded(graph, cell, write(graph, cell.patch_embedding, x)))
    x = x if cell.norm_after_pool else write(graph, cell.norm, x)
    if cell.distillation_head:
        both = [head(graph, cell.dense, token(graph, x, 0)), head(graph, cell.dense_dist, token(graph, x, 1))]
        return (both[0] + both[1]) / 2
    x = token(graph, x, 0) if cell.pool == "cls" else \
        graph("ReduceMean", graph("Slice", x, [cell.first_pooled], [2**31], [1]), [1], keepdims=0)  # (B, D)
    x = write(graph, cell.norm, x) if cell.norm_after_pool else x
    x = x if cell.representation is None else graph("Tanh", write(graph, cell.representation, x))
    return head(graph, cell.dense, x)


def embedded(graph, network, x):
    """The tokens that enter the encoder, from those of the patches."""
    one_each = graph("Concat", graph("Shape", x, start=0, end=1, dtype="int64"), [1, 1], axis=0)  # (B, 1, 1)
    prefix = [graph("Expand", parameter(graph, token), one_each)
              for token in (network.cls_token, network.dist_token) if token is not None]
    x = graph("Concat", *prefix, x, axis=1)  # (B, prefix + patches, D)
    return x if network.pos_embedding is None else x + parameter(graph, network.pos_embedding)


def token(graph, x, place):
    """One of the tokens, (B, D)."""
    return graph("Gather", x, graph.constant(place, "int64"), axis=1)


def head(graph, cell, x):
    return x if cell is None else write(graph, cell, x)
