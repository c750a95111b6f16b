"""How a network starts: one table, from a scheme's name to the distribution of each kind of parameter."""

import fnmatch
import math

import numpy as np
from mindspore import nn
from mindspore.common.initializer import Initializer, Normal, Uniform, Zero, initializer


class TruncatedNormal(Initializer):
    """Normal values of standard deviation `sigma` after truncation at two deviations, as in Flax and TensorFlow.

    MindSpore's own TruncatedNormal truncates at the absolute values -2 and 2, which for 0.02 truncates nothing, and
    takes ten times as long.
    """

    def __init__(self, sigma):
        super().__init__(sigma=sigma)
        self.sigma = sigma / 0.87962566  # the deviation that a unit normal keeps when cut at -2 and 2

    def _initialize(self, arr):
        rng = np.random.default_rng(np.random.randint(2**31))  # follows mindspore.set_seed
        values = rng.standard_normal(arr.size, np.float32)
        outside = np.flatnonzero(np.abs(values) > 2)
        while outside.size:
            values[outside] = rng.standard_normal(outside.size, np.float32)
            outside = outside[np.abs(values[outside]) > 2]
        values *= np.float32(self.sigma)
        arr[...] = values.reshape(arr.shape)


def zeros(fan_in, fan_out):
    return Zero()


def normal(sigma):
    """Normal values; timm's and DeiT's "truncated" ones are cut at the absolute values -2 and 2: not at all."""
    return lambda fan_in, fan_out: Normal(sigma)


def lecun_normal(fan_in, fan_out):
    """The default of Flax's layers (LeCun et al., "Efficient BackProp", 1998, section 4.6, as a truncated normal)."""
    return TruncatedNormal(fan_in**-0.5)


def torch_uniform(fan_in, fan_out):
    """The default of PyTorch's convolutions, weights and biases."""
    return Uniform(fan_in**-0.5)


def xavier_uniform(fan_in, fan_out):
    """Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16."""
    return Uniform(math.sqrt(6 / (fan_in + fan_out)))


def xavier_uniform_thirds(fan_in, fan_out):
    """`xavier_uniform` of query, key and value, each a matrix of its own."""
    return xavier_uniform(fan_in, fan_out // 3)


# scheme -> pattern of parameters' names -> start, of which the first that fits counts. A start makes the Initializer
# from the fan_in and fan_out of the layer. Norms start at one and zero in all schemes.
SCHEMES = {
    # The paper's code: google-research/vision_transformer, models_vit.py, and the defaults of Flax where it is silent;
    # big_vision differs in the position embedding. The paper has no distillation token; it starts as the class token.
    "flax": {
        "cls": zeros,
        "dist": zeros,
        "pos_embedding": normal(0.02),
        "*conv.weight": lecun_normal,
        "*qkv.weight": xavier_uniform_thirds,
        "*out.weight": xavier_uniform,
        "*dense[12].weight": xavier_uniform,
        "*dense[12].bias": normal(1e-6),
        "representation.weight": lecun_normal,
        "*": zeros,  # the head, the other biases
    },
    # timm 1.0.31, `init_weights_vit_timm`, and its patch embedding, which keeps PyTorch's default
    "timm": {
        "cls": normal(1e-6),
        "*conv.*": torch_uniform,
        "*bias": zeros,
        "*": normal(0.02),
    },
    # facebookresearch/deit, models.py, with the timm of its time
    "deit": {
        "*conv.*": torch_uniform,
        "*bias": zeros,
        "*": normal(0.02),
    },
}
DEFAULT = "flax"


def start(name, fan_in=0, fan_out=0, scheme=DEFAULT):
    """The Initializer of the parameter `name` of a layer with these fans."""
    return next(make for pattern, make in SCHEMES[scheme].items()
                if fnmatch.fnmatchcase(name, pattern))(fan_in, fan_out)


def initialise(network, scheme):
    """Starts a ViT anew; fixed position embeddings and norms stay.

    Args:
        network (ViT): the network.
        scheme (str): a name of SCHEMES. `mindspore.set_seed` decides all values.
    """
    for _, cell in network.cells_and_names():
        fans = ()
        if isinstance(cell, (nn.Dense, nn.Conv2d)):
            fans = math.prod(cell.weight.shape[1:]), cell.weight.shape[0]
        elif cell is not network:
            continue
        for parameter in cell.trainable_params(recurse=False):
            values = initializer(start(parameter.name, *fans, scheme=scheme), parameter.shape, parameter.dtype)
            parameter.set_data(values)
