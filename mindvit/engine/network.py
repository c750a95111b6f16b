"""From a ModelConfig and a checkpoint to a network with its weights."""

from mindvit.models import create_model
from mindvit.weights import checkpoint_sizes, load_weights


def build_network(config, checkpoint=None, num_classes=None):
    """The network of a run.

    Args:
        config (ModelConfig): which network; what it leaves open is read from the checkpoint's shapes.
        checkpoint (str, optional): weights to load.
        num_classes (int, optional): width of the head when the config leaves it open, for example the data's.

    Returns:
        ViT.

    Raises:
        ValueError: the checkpoint does not fit the network, or both `pretrained` and a checkpoint are given.
    """
    if checkpoint and config.pretrained:
        raise ValueError(f"both checkpoint {checkpoint} and model.pretrained are given; give one of them")
    found = checkpoint_sizes(checkpoint) if checkpoint else {}
    sizes = {"num_classes": config.num_classes if config.num_classes is not None else num_classes,
             "image_size": config.image_size}
    sizes = {name: value if value is not None else found.get(name) for name, value in sizes.items()}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    network = create_model(config.name, config.pretrained, **sizes, **config.overrides)
    if checkpoint:
        print(load_weights(network, checkpoint), flush=True)
    return network


def image_size(network):
    """The network's image size as the transforms take it: a number when square, else (height, width)."""
    height, width = network.patch_embedding.image_size
    return height if height == width else (height, width)
