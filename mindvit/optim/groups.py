"""Which parameters decay, and how fast each depth of the network learns."""

from mindspore import Parameter

TOKENS = ("cls", "dist", "pos_embedding")


def is_decayed(parameter: Parameter) -> bool:
    """Whether weight decay is for this parameter: biases, norms, tokens and the position embedding do not decay."""
    return parameter.ndim >= 2 and parameter.name.split(".")[-1] not in TOKENS


def decay_groups(parameters, weight_decay):
    """The parameters in groups as MindSpore's optimizers take them, by whether they decay."""
    groups = [{"params": [parameter for parameter in parameters if is_decayed(parameter) == decayed],
               "weight_decay": weight_decay * decayed} for decayed in (True, False)]
    return [group for group in groups if group["params"]]
