"""Which parameters are trained, which decay, and how fast each depth of the network learns."""

import re
from collections.abc import Sequence

from mindspore import Parameter

from mindvit.choices import Choice, Table, choose, entry
from mindvit.models.vit import TOKENS

HEADS = ("dense", "dense_dist")
TRAINABLE: Table = {}


def is_decayed(parameter: Parameter) -> bool:
    """Whether weight decay is for this parameter: biases, norms, tokens and the position embedding do not decay."""
    return parameter.ndim >= 2 and parameter.name.split(".")[-1] not in TOKENS


def depth(name: str, num_layers: int) -> int:
    """Where a parameter of a ViT lies: 0 for the embedding, then the blocks, the last norm with the last of them as in
    timm, num_layers + 1 for what is behind."""
    if name in TOKENS or name.startswith("patch_embedding."):
        return 0
    if name.startswith("norm."):
        return num_layers
    block = re.match(r"transformer\.layers\.(\d+)\.", name)
    return int(block[1]) + 1 if block else num_layers + 1


def parameter_groups(parameters: Sequence[Parameter], weight_decay: float, lr: float | list[float] = 0.0,
                     layer_decay: float = 1.0, num_layers: int = 0) -> list[dict]:
    """The parameters in groups, as MindSpore's optimizers take them, by weight decay and learning rate.

    Args:
        parameters: what is trained, of a ViT where layer_decay is given.
        weight_decay (float): of those that decay.
        lr (float or list of float): the rate of the head.
        layer_decay (float): each step towards the image has this share of the rate behind it (Clark et al., "ELECTRA",
            2020, as timm's `param_groups_layer_decay` for a ViT).
        num_layers (int): blocks of the network.

    Returns:
        list of dict with `params`, `weight_decay` and, where layer_decay is not 1, `lr`.
    """
    groups: dict[tuple, dict] = {}
    for parameter in parameters:
        decay = weight_decay * is_decayed(parameter)
        level = num_layers + 1 - depth(parameter.name, num_layers) if layer_decay != 1 else 0
        group = groups.setdefault((level, decay), {"params": [], "weight_decay": decay})
        group["params"].append(parameter)
        if layer_decay != 1:
            share = layer_decay**level
            group["lr"] = [share * rate for rate in lr] if isinstance(lr, list) else share * lr
    return list(groups.values())


@entry(TRAINABLE, "all")
def everything(name, num_layers):
    """Every parameter."""
    return True


@entry(TRAINABLE)
def head(name, num_layers):
    """The head alone: a linear probe, where nothing is dropped."""
    return name.split(".")[0] in HEADS


@entry(TRAINABLE)
def later_blocks(name, num_layers, *, first=6):
    """What is behind the first blocks, which stay as they are, as the embedding does."""
    if first < 0:
        raise ValueError(f"first of later_blocks is {first}; it is 0 at least")
    return depth(name, num_layers) > first


@entry(TRAINABLE)
def biases(name, num_layers):
    """Biases and the head (Ben Zaken et al., "BitFit", 2022); the biases of norms are among them."""
    return name.endswith((".bias", ".beta")) or head(name, num_layers)


def freeze(network, trainable: Choice) -> None:
    """Leaves only the parameters trainable that the choice names.

    Raises:
        ValueError: no parameter would be trained.
    """
    chosen = choose(trainable, TRAINABLE, "train.trainable")
    layers = network.arguments["num_layers"]
    for parameter in network.trainable_params():
        parameter.requires_grad = chosen(parameter.name, layers)
    if not network.trainable_params():
        raise ValueError(f"train.trainable is {trainable}, which leaves nothing to train in {layers} blocks")
