"""Which network a name, a checkpoint or a ModelConfig stands for, and the Vision suite's public files."""

import dataclasses
import os
from typing import Any

from mindvit.checkpoints import from_checkpoint
from mindvit.config import PrepareConfig
from mindvit.download import download_file
from mindvit.files import StrPath
from mindvit.models import ViT, check_arguments
from mindvit.models.variants import VARIANTS, find_variant
from mindvit.preprocessing import Size

BASE_URL = "https://download.mindspore.cn/vision/classification/"


def model_arguments(name: str, **overrides: Any) -> dict[str, Any]:
    """The arguments of `ViT` for a name of `list_models()` or of timm, replaced by the overrides.

    Raises:
        ValueError: unknown name, or ViT has no such argument.

    Example:
        >>> model_arguments("vit_s_16", num_classes=10)["embed_dim"]
        384
    """
    check_arguments(overrides)
    row, image_size = find_variant(name)
    arguments = VARIANTS[row].arguments()
    if image_size:
        arguments["image_size"] = image_size
    return {**arguments, **overrides}


def create_model(name: str, pretrained: bool = False, ckpt_dir: StrPath | None = None, **overrides: Any) -> ViT:
    """Builds a variant of the table.

    Args:
        name (str): a name of `list_models()` or timm's name for it (`vit_base_patch16_224`).
        pretrained (bool): loads the Vision suite's public checkpoint for the variant and image size, which is
            downloaded when it is not there; that of "digits" comes with the package.
        ckpt_dir (str, optional): folder of public checkpoints; by default MINDVIT_CKPT_DIR or `ckpt`.
        **overrides: arguments of `ViT`, which replace the row's.

    Returns:
        ViT, in evaluation mode only after `set_train(False)`.

    Raises:
        ValueError: unknown name, no public checkpoint for the variant, or arguments that ViT refuses.
        DownloadError: the checkpoint can't be fetched; the message names URL and path.

    Example:
        >>> create_model("vit_t_16", image_size=96, num_classes=10).dense.weight.shape
        (10, 192)
    """
    arguments = model_arguments(name, **overrides)
    if not pretrained:
        return ViT(**arguments)
    if "." in name:
        raise ValueError(f"{name} names weights of timm, which are not published for MindSpore; pretrained=True loads "
                         f"the Vision suite's ({public_weights()}). Use one of these names, or download timm's file "
                         "and give it to from_checkpoint")
    path = fetch_public_weights(find_variant(name)[0], arguments.get("image_size"), ckpt_dir)
    return from_checkpoint(path, **arguments)


def suite_network(row, num_classes, image_size, has_logits, pretrained, drop_out, attention_dropout, drop_path_dropout):
    """A row of the table by the Vision suite's arguments; `create_model` takes all of ViT's.

    Args:
        row (str): a name of `list_models()`.
        num_classes (int): width of the head.
        image_size (int or (int, int)): image size in pixels.
        has_logits (bool): a dense layer with tanh before the head.
        pretrained (bool): loads the suite's public checkpoint; see `create_model`.
        drop_out, attention_dropout, drop_path_dropout (float): drop rates in [0, 1).

    Returns:
        ViT.
    """
    return create_model(row, pretrained, num_classes=num_classes, image_size=image_size, keep_prob=1 - drop_out,
                        attention_keep_prob=1 - attention_dropout, drop_path_keep_prob=1 - drop_path_dropout,
                        representation_size=VARIANTS[row].embed_dim if has_logits else None)


def vit_t_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-Ti/16, the shape of DeiT-Ti; for the arguments see `suite_network`.

    Example:
        >>> vit_t_16(num_classes=10).dense.weight.shape
        (10, 192)
    """
    return suite_network("vit_t_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_s_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-S/16, the shape of DeiT-S; for the arguments see `suite_network`.

    Example:
        >>> vit_s_16(num_classes=10).dense.weight.shape
        (10, 384)
    """
    return suite_network("vit_s_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_s_32(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-S/32; for the arguments see `suite_network`.

    Example:
        >>> vit_s_32(num_classes=10).dense.weight.shape
        (10, 384)
    """
    return suite_network("vit_s_32", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_b_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-B/16; for the arguments see `suite_network`.

    Example:
        >>> vit_b_16(num_classes=10).dense.weight.shape
        (10, 768)
    """
    return suite_network("vit_b_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_b_32(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-B/32; for the arguments see `suite_network`.

    Example:
        >>> vit_b_32(num_classes=10).dense.weight.shape
        (10, 768)
    """
    return suite_network("vit_b_32", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_l_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-L/16; for the arguments see `suite_network`.

    Example:
        >>> vit_l_16(num_classes=10).dense.weight.shape
        (10, 1024)
    """
    return suite_network("vit_l_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_l_32(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-L/32; for the arguments see `suite_network`.

    Example:
        >>> vit_l_32(num_classes=10).dense.weight.shape
        (10, 1024)
    """
    return suite_network("vit_l_32", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def vit_h_14(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
             drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """ViT-H/14; for the arguments see `suite_network`.

    Example:
        >>> vit_h_14(num_classes=10).dense.weight.shape
        (10, 1280)
    """
    return suite_network("vit_h_14", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_t_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
              drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-Ti/16; for the arguments see `suite_network`.

    Example:
        >>> deit_t_16(num_classes=10).dense.weight.shape
        (10, 192)
    """
    return suite_network("deit_t_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_s_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
              drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-S/16; for the arguments see `suite_network`.

    Example:
        >>> deit_s_16(num_classes=10).dense.weight.shape
        (10, 384)
    """
    return suite_network("deit_s_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_b_16(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False, pretrained: bool = False,
              drop_out: float = 0.0, attention_dropout: float = 0.0, drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-B/16; for the arguments see `suite_network`.

    Example:
        >>> deit_b_16(num_classes=10).dense.weight.shape
        (10, 768)
    """
    return suite_network("deit_b_16", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_t_16_distilled(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False,
                        pretrained: bool = False, drop_out: float = 0.0, attention_dropout: float = 0.0,
                        drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-Ti/16 with a distillation token; for the arguments see `suite_network`.

    Example:
        >>> deit_t_16_distilled(num_classes=10).dense.weight.shape
        (10, 192)
    """
    return suite_network("deit_t_16_distilled", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_s_16_distilled(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False,
                        pretrained: bool = False, drop_out: float = 0.0, attention_dropout: float = 0.0,
                        drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-S/16 with a distillation token; for the arguments see `suite_network`.

    Example:
        >>> deit_s_16_distilled(num_classes=10).dense.weight.shape
        (10, 384)
    """
    return suite_network("deit_s_16_distilled", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def deit_b_16_distilled(num_classes: int = 1000, image_size: Size = 224, has_logits: bool = False,
                        pretrained: bool = False, drop_out: float = 0.0, attention_dropout: float = 0.0,
                        drop_path_dropout: float = 0.0) -> ViT:
    """DeiT-B/16 with a distillation token; for the arguments see `suite_network`.

    Example:
        >>> deit_b_16_distilled(num_classes=10).dense.weight.shape
        (10, 768)
    """
    return suite_network("deit_b_16_distilled", num_classes, image_size, has_logits, pretrained, drop_out,
                         attention_dropout, drop_path_dropout)


def public_weights():
    """The variants and image sizes of public checkpoints, in words."""
    return ", ".join(f"{name} at {size}" for name, variant in VARIANTS.items() for size in variant.public_files)


def fetch_public_weights(row: str, image_size: Size | None = None, ckpt_dir: StrPath | None = None) -> str:
    """The path of the public checkpoint for a variant: the packaged one, or the suite's, downloaded when it is not
    there yet.

    The suite's is kept in ckpt_dir, or the folder named by the environment variable MINDVIT_CKPT_DIR, or `ckpt` in the
    current folder.
    Two processes that ask at once download it once.

    Args:
        row (str): a name of `list_models()`.
        image_size (int or (int, int), optional): image size in pixels; by default the variant's.
        ckpt_dir (str, optional): folder to keep it in.

    Raises:
        ValueError: the suite published none for this variant and size; the message lists those it did.
        DownloadError: it can't be fetched; the message names URL and path.

    Example:
        >>> fetch_public_weights("vit_b_16", 224)
        'ckpt/vit_b_16_224.ckpt'
    """
    image_size = image_size or VARIANTS[row].image_size
    if isinstance(image_size, (tuple, list)) and len(set(image_size)) == 1:
        image_size = image_size[0]
    files = VARIANTS[row].public_files
    if image_size not in files:
        raise ValueError(f"there is no public checkpoint of {row} at image size {image_size}; there are "
                         f"{public_weights()}. Use pretrained=False, or load another library's file with "
                         "from_checkpoint")
    packaged = os.path.join(os.path.dirname(__file__), files[image_size])
    if os.path.exists(packaged):
        return packaged
    folder = ckpt_dir or os.environ.get("MINDVIT_CKPT_DIR", "ckpt")
    path = os.path.join(folder, files[image_size])
    if not os.path.exists(path):
        download_file(BASE_URL + files[image_size], path)
    return path


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


def check_weights(job, purpose):
    """ValueError unless a job says which weights to take."""
    if not (job.checkpoint or job.model.pretrained):
        raise ValueError(f"there are no weights to {purpose}; give --checkpoint FILE or --model.pretrained true")


def weights_file(job):
    """The path of the weights that a job takes."""
    row, size = find_variant(job.model.name or "vit_b_16")
    return job.checkpoint or fetch_public_weights(row, job.model.image_size or size, job.ckpt_dir)


def ready_network(job):
    """The network of a job with all its weights, whose images are prepared as the job says."""
    network = build_network(job.model, job.checkpoint, ckpt_dir=job.ckpt_dir)
    check_head(network, job.checkpoint)
    use_preprocessing(network, job.data)
    return network


BROKEN = "its weights are broken, not finite or far too large; take an earlier checkpoint"


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
