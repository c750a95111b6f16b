"""From a ModelConfig and a checkpoint to a network with its weights."""

import dataclasses

from mindvit.engine.config import PrepareConfig
from mindvit.models import create_model, model_arguments
from mindvit.weights import from_checkpoint


def build_network(config, checkpoint=None, num_classes=None, ckpt_dir=None):
    """The network of a run.

    Args:
        config (ModelConfig): which network; what it leaves open is read from the checkpoint's shapes.
        checkpoint (str, optional): weights to load.
        num_classes (int, optional): width of the head when the config leaves it open, for example the data's.
        ckpt_dir (str, optional): folder of public checkpoints.

    Returns:
        ViT.

    Raises:
        ValueError: the checkpoint does not fit the network, or both `pretrained` and a checkpoint are given.
    """
    if checkpoint and config.pretrained:
        raise ValueError(f"both checkpoint {checkpoint} and model.pretrained are given; give one of them")
    given = {"num_classes": num_classes if config.num_classes is None else config.num_classes,
             "image_size": config.image_size, **config.overrides}
    given = {name: value for name, value in given.items() if value is not None}
    if not checkpoint:
        network = create_model(config.name or "vit_b_16", config.pretrained, ckpt_dir, **given)
        return check_channels(network, "the model")
    try:
        network = from_checkpoint(checkpoint, **(model_arguments(config.name, **given) if config.name else given))
    except ValueError as error:
        raise ValueError(f"{error} (read as --model.name {config.name})" if config.name else error) from error
    print(f"{checkpoint}\n{network.load_report}", flush=True)
    return check_channels(network, checkpoint)


def check_channels(network, source):
    """The network, unless it takes other images than the RGB that all data sets give."""
    if (channels := network.arguments["input_channels"]) != 3:
        raise ValueError(f"{source} is for images of {channels} channels, and images are prepared as RGB; in Python, "
                         "from_checkpoint and the network take arrays of your own")
    return network


def check_head(network, checkpoint):
    """ValueError unless the network's head, and everything else, came from the file."""
    report, source = network.load_report, checkpoint or "the public checkpoint"
    if network.dense is None:
        raise ValueError(f"{source} has no head: it names no classes; train it first (mindvit train --checkpoint)")
    if lacking := report.replaced + report.missing:
        raise ValueError(f"{source} does not fill {', '.join(lacking[:4])}{', ...' if len(lacking) > 4 else ''} of the "
                         f"network asked for, which has {network.num_classes} classes; random numbers would be "
                         "measured. Leave out --model.num_classes and what else changes the head, or train first")


def image_size(network):
    """The network's image size as the transforms take it: a number when square, else (height, width)."""
    height, width = network.patch_embedding.image_size
    return height if height == width else (height, width)


def use_preprocessing(network, config):
    """Sets what a PrepareConfig says about preprocessing in the network's own."""
    said = {field.name: getattr(config, field.name) for field in dataclasses.fields(PrepareConfig)}
    said = {name: value for name, value in said.items() if value is not None}
    if said.keys() & {"crop_fraction", "resize_mode"}:
        said["predict_squash"] = False  # prediction has the crop that was asked for
    network.preprocessing = dataclasses.replace(network.preprocessing, **said)
