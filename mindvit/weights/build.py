"""Builds the network that a checkpoint needs."""

import dataclasses
import functools
import json
import os

from mindspore.nn.utils import no_init_parameters

from mindvit.models import GELU, ViT
from mindvit.models.preprocessing import Preprocessing
from mindvit.models.variants import VARIANTS, check_arguments
from mindvit.weights.class_names import class_names
from mindvit.weights.load import BLOCK, load_opened, open_checkpoint
from mindvit.weights.read import readable
from mindvit.weights.resize import square

INCEPTION = (0.5, 0.5, 0.5)
ERF = functools.partial(GELU, approximate=False)


@dataclasses.dataclass(frozen=True)
class Family:
    """What a library's checkpoints assume and its files do not say."""

    arguments: dict
    preprocessing: Preprocessing


# Epsilon and GELU as the library's ViT has them (none: ViT's defaults, 1e-7 and tanh), and how it evaluates.
FAMILIES = {
    "mindspore": Family({}, Preprocessing()),
    "suite": Family({}, Preprocessing()),
    "mindcv": Family({}, Preprocessing(interpolation="bicubic")),
    "timm": Family({"norm_eps": 1e-6, "activation": ERF}, Preprocessing(crop_fraction=0.9, interpolation="bicubic")),
    "huggingface": Family({"norm_eps": 1e-12, "activation": ERF},
                          Preprocessing(INCEPTION, INCEPTION, crop_fraction=1.0)),
    "torchvision": Family({"norm_eps": 1e-6, "activation": ERF}, Preprocessing()),
    "google": Family({"norm_eps": 1e-6, "activation": ERF},
                     Preprocessing(INCEPTION, INCEPTION, crop_fraction=0.9, interpolation="bicubic")),
}


def sizes_of(checkpoint):
    """ViT's arguments that the file's shapes tell; those they do not tell are left out."""
    arrays = checkpoint.arrays

    def shape(name):
        if name not in arrays:
            raise ValueError(f"it has no {name}; it is not a whole Vision Transformer")
        return arrays[name].shape

    embed_dim, input_channels, *patch_size = shape("patch_embedding.conv.weight")
    blocks = {int(name.split(".")[2]) for name in arrays if name.startswith("transformer.layers.")}
    if blocks != set(range(len(blocks))):
        raise ValueError(f"its blocks are numbered {sorted(blocks)}; some lack")
    sizes = {"patch_size": patch_size[0] if patch_size[0] == patch_size[1] else tuple(patch_size),
             "input_channels": input_channels, "embed_dim": embed_dim, "num_layers": len(blocks),
             "mlp_dim": shape(BLOCK + "1.cell.1.dense1.weight")[0],
             "qkv_bias": BLOCK + "0.cell.1.qkv.bias" in arrays,
             "num_classes": shape("dense.weight")[0] if arrays.keys() & {"dense.weight", "dense.bias"} else 0,
             "class_token": "cls" in arrays}
    width = shape(BLOCK + "0.cell.1.out.weight")[1]
    num_heads = checkpoint.num_heads or next(
        (variant.num_heads for variant in VARIANTS.values() if variant.embed_dim == embed_dim == width), 0)
    if num_heads:
        sizes["num_heads"] = num_heads
        if width != embed_dim:
            sizes["head_dim"] = width // num_heads
    if "pos_embedding" in arrays:
        grid = square(shape("pos_embedding")[1] - checkpoint.prefix())
        if grid and grid[0]:
            height, width = grid[0] * patch_size[0], grid[1] * patch_size[1]
            sizes["image_size"] = height if height == width else (height, width)
    if "representation.weight" in arrays:
        sizes["representation_size"] = shape("representation.weight")[0]
    if "dist" in arrays:
        sizes["distilled"] = True
        if "dense_dist.weight" not in arrays and (sizes["num_classes"] or "representation_size" in sizes):
            sizes["distillation_head"] = False
    if not sizes["class_token"] or checkpoint.norm_after_pool():
        sizes["pool"] = "mean"
    if checkpoint.norm_after_pool():
        sizes["norm_after_pool"] = True
    sizes.update((name, value) for name, value in checkpoint.marks.items()
                 if name not in ("exact_gelu", "preprocessing"))
    return sizes


def checkpoint_sizes(path):
    """The arguments of `ViT` that a checkpoint tells by its shapes; nothing but the shapes is read.

    Args:
        path (str): the checkpoint; see `read_checkpoint`.

    Returns:
        dict: patch_size, input_channels, embed_dim, num_layers, mlp_dim, qkv_bias, num_classes and class_token always;
        image_size where the position embedding is a square grid; num_heads where the file or the embed_dim of a known
        variant tells it; head_dim, representation_size, distilled, pool and others where they differ from ViT's.

    Raises:
        FileNotFoundError, ValueError: see `read_checkpoint`; or the shapes are not those of a Vision Transformer.
    """
    checkpoint = open_checkpoint(path)
    with readable(path):
        return sizes_of(checkpoint)


def beside(path, name):
    """The JSON object in the file `name` beside the checkpoint, {} without one."""
    path = os.path.join(os.path.dirname(os.fspath(path)), name)
    if not os.path.exists(path):
        return {}
    with readable(path), open(path, encoding="utf-8") as file:
        content = json.load(file)
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content


def hugging_face_arguments(config):
    """ViT's arguments in Hugging Face's `config.json`."""
    activations = {"gelu": ERF, "gelu_new": GELU, "gelu_pytorch_tanh": GELU}
    arguments = {}
    if "hidden_act" in config:
        if config["hidden_act"] not in activations:
            raise ValueError(f"config.json beside it has hidden_act {config['hidden_act']!r}; "
                             f"known are {', '.join(activations)}")
        arguments["activation"] = activations[config["hidden_act"]]
    names = {"layer_norm_eps": "norm_eps", "num_attention_heads": "num_heads", "image_size": "image_size"}
    arguments.update((names[name], value) for name, value in config.items() if name in names)
    return arguments


def evaluation(checkpoint, path):
    """The Preprocessing of the checkpoint's library, or what the library's own files beside the checkpoint say."""
    result = FAMILIES[checkpoint.library].preprocessing
    if said := checkpoint.marks.get("preprocessing"):
        return Preprocessing(**{**said, "mean": tuple(said["mean"]), "std": tuple(said["std"])})
    if checkpoint.library == "timm":
        said = beside(path, "config.json").get("pretrained_cfg") or {}
        if "mean" not in said and "augreg" in os.path.basename(path):
            said = {**said, "mean": INCEPTION, "std": INCEPTION}
        names = {"mean": "mean", "std": "std", "crop_pct": "crop_fraction", "interpolation": "interpolation"}
    elif checkpoint.library == "huggingface":
        if any(name.startswith("deit.") for names in checkpoint.sources.values() for name in names):
            result = Preprocessing(interpolation="bicubic")
        said = beside(path, "preprocessor_config.json")
        said = {**said, "resample": {2: "bilinear", 3: "bicubic"}.get(said.get("resample"), result.interpolation)}
        names = {"image_mean": "mean", "image_std": "std", "resample": "interpolation"}
    else:
        return result
    return dataclasses.replace(result, **{names[name]: tuple(value) if isinstance(value, list) else value
                                          for name, value in said.items() if name in names})


def from_checkpoint(path, preprocessing=None, **overrides):
    """Builds the network that a checkpoint needs and loads it.

    Sizes come from the file's shapes; epsilon, GELU form and preprocessing from its library; the number of heads and
    the size of rectangular images from Hugging Face's `config.json` beside the file, the .npz shapes, or the
    embed_dim of a known variant. What the file does not tell must be given by name.

    Args:
        path (str): the checkpoint; see `read_checkpoint`.
        preprocessing (Preprocessing, optional): replaces the library's.
        **overrides: arguments of `ViT` (num_classes, image_size, num_heads, pool, keep_prob, ...); a head of another
            num_classes starts fresh, position embedding and patch kernel are resized.

    Returns:
        ViT, in evaluation mode, with `preprocessing` set to what the library does in evaluation, `load_report` to
        the LoadReport and `class_names` to the names of the head's classes, or None where nothing tells them.

    Raises:
        FileNotFoundError, ValueError: see `load_weights`; or a size that the file does not tell.
    """
    path = os.fspath(path)
    check_arguments(overrides)
    checkpoint = open_checkpoint(path)
    with readable(path):
        sizes, config = sizes_of(checkpoint), {}
        if checkpoint.library == "huggingface":
            config = hugging_face_arguments(beside(path, "config.json"))
            if "image_size" in sizes:
                config.pop("image_size", None)
        arguments = {**FAMILIES[checkpoint.library].arguments, **sizes, **config}
        if checkpoint.marks.get("exact_gelu"):
            arguments["activation"] = ERF
        arguments.update(overrides)
        for name in ("num_heads", "image_size"):
            if name not in arguments:
                raise ValueError(f"it does not tell {name}; give it, as in from_checkpoint(path, {name}=...)")
        with no_init_parameters():  # the values come from the file
            network = ViT(**arguments)
        network.load_report = load_opened(network, checkpoint, strict=True, head="auto")
        network.init_parameters_data()  # those of a replaced head
        network.preprocessing = preprocessing or evaluation(checkpoint, path)
    network.class_names = class_names(path, network)
    return network.set_train(False)
