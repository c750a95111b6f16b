"""The operations that have another form on the CPU than on Ascend or GPU: one table decides by device target.

The device target is read when a cell is built, so set it before. Why the forms differ stands in `cpu`.
"""

import contextlib
import functools

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvit.kernels import cpu, native
from mindvit.kernels.cpu import tanh
from mindvit.kernels.native import patches

# operation: (form on the CPU, form elsewhere)
TABLE = {
    "dense": (cpu.Dense, nn.Dense),
    "dropout": (cpu.Dropout, nn.Dropout),
    "gelu": (cpu.GELU, nn.GELU),
    "layer_norm": (cpu.LayerNorm, nn.LayerNorm),
    "merge_heads": (cpu.MergeHeads, native.MergeHeads),
    "patch_product": (cpu.PatchProduct, native.PatchProduct),
    "softmax": (cpu.Softmax, nn.Softmax),
    "split_heads": (cpu.SplitHeads, native.SplitHeads),
    "sum_of_squares": (cpu.sum_of_squares, native.sum_of_squares),  # functions, x to ()
}


flash_attention = False  # whether attention is computed by Ascend's fused operator; `use_device` sets it
elsewhere = False  # whether cells are built for another device than this process runs on; `native_forms` sets it


def on_cpu():
    """Whether the cells that are built now will run on the CPU."""
    return not elsewhere and ms.get_context("device_target") == "CPU"


@contextlib.contextmanager
def native_forms():
    """In the block cells are built in MindSpore's own operators, as for Ascend and GPU, whatever the device is."""
    global elsewhere
    before, elsewhere = elsewhere, True
    try:
        yield
    finally:
        elsewhere = before


def kernel(operation):
    """The class of an operation's form for the device target."""
    return TABLE[operation][0 if on_cpu() else 1]


def fast(make):
    """The device's form of the MindSpore cell that `make` makes: of `nn.GELU`, `nn.LayerNorm`, and partials of them."""
    if isinstance(make, functools.partial):
        return functools.partial(fast(make.func), *make.args, **make.keywords)
    return next((kernel(operation) for operation, (_, native_form) in TABLE.items() if native_form is make), make)


def GELU(approximate: bool = True) -> nn.Cell:
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016, section 2), same values as `nn.GELU(approximate)`.

    Args:
        approximate (bool): the tanh approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (MindSpore's default
            and the Vision suite's checkpoints) or, when False, the exact erf form (timm, torchvision, Hugging Face).

    Inputs and outputs: a float tensor of any shape.

    Example:
        >>> [round(value, 4) for value in GELU(approximate=False)(mindspore.Tensor([0.0, 1.0])).tolist()]
        [0.0, 0.8413]
    """
    return kernel("gelu")(approximate)


class SplitQKV(nn.Cell):
    """Queries, keys and values, (B, heads, N, Dh) each, from their products with the tokens (B, N, 3 * heads * Dh)."""

    def __init__(self, num_heads):
        super().__init__()
        self.split_heads, self.thirds = kernel("split_heads")(3 * num_heads), ops.Split(1, 3)

    def construct(self, x):
        return self.thirds(self.split_heads(x))


def dropout_states(network):
    """The parameters that hold the random state of a network's dropouts; none where the device keeps it itself."""
    return [cell.draws.number for _, cell in network.cells_and_names() if isinstance(cell, cpu.Dropout) and cell.p]


def separate_dropouts(network, worker):
    """Makes the dropouts of a network draw other numbers than those of equal networks in other workers, before it is
    compiled. On the CPU the states stay the same in all workers, so that one's stand for all."""
    for place, (_, cell) in enumerate(network.cells_and_names()):
        if isinstance(cell, cpu.Dropout):
            cell.worker = ms.Tensor(worker * 0x9e3779b9 % 2**32, ms.uint32)  # far apart: 2^32 over the golden ratio
        elif isinstance(cell, nn.Dropout) and worker:
            seeds = np.random.default_rng([ms.get_seed() or 0, place, worker]).integers(1, 2**31, 2).tolist()
            cell.dropout = ops.Dropout(1.0 - cell.p, *seeds)


def repeat(x, times):
    """x (1, ...) once for each image, (times, ...); as broadcasting does, which is slow on the CPU."""
    return ops.tile(x, (times,) + (1,) * (x.ndim - 1))


__all__ = ["GELU", "SplitQKV", "TABLE", "dropout_states", "fast", "kernel", "native_forms", "on_cpu", "patches",
           "repeat", "separate_dropouts", "tanh"]
