"""The tiny network of the tests, and numbers for it."""

import json

import numpy as np
from mindspore import Tensor

TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 128,
        "num_classes": 10, "init": "timm"}  # timm's start has no zero head, behind which all networks are equal
# What the command line says of it as --model.overrides; the data and --model.image_size say the others.
OVERRIDES = {name: TINY[name] for name in ("patch_size", "embed_dim", "num_layers", "num_heads", "mlp_dim")}
FLAGS = ["--model.image_size", "32", "--model.overrides", json.dumps(OVERRIDES)]
NAMED = ["--model.name", "vit_t_16", "--model.overrides.num_layers", "1"]  # a table's name with one block


def scatter(network, seed=0):
    """Gives every parameter of a network random values, so that no zero or one hides a mistake; returns them."""
    rng = np.random.default_rng(seed)
    values = {}
    for parameter in network.get_parameters():
        values[parameter.name] = rng.normal(0, 0.3, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(values[parameter.name]))
    return values


def images(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
