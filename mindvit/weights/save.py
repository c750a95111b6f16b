"""Writes a network's weights under the names of mindvit, the Vision suite, timm, Hugging Face or torchvision."""

import dataclasses
import os

import mindspore as ms
import numpy as np

from mindvit.files import replacing
from mindvit.models.variants import VARIANTS
from mindvit.weights.build import checkpoint_sizes, from_checkpoint
from mindvit.weights.load import MARKS, read_checkpoint, write_marks
from mindvit.weights.names import foreign_names
from mindvit.weights.preparation import suite_preparation
from mindvit.weights.read import checksum

FORMATS = ("mindspore", "suite", "timm", "huggingface", "torchvision")


def suite_name(name, has_representation):
    """The Vision suite's name of a parameter: the tutorial's cells under `backbone`, the rest under `head`."""
    if name.startswith("dense."):
        return f"head.{'classifier.1.' if has_representation else ''}{name}"
    if name.startswith("representation."):
        return name.replace("representation", "head.classifier.0.dense")
    return "backbone.cls_token" if name == "cls" else f"backbone.{name}"


def hugging_face_name(name, names):
    """With the prefix and heads of ViTForImageClassification, ViTModel (no head) or their DeiT counterparts."""
    distilled, has_head = "dist" in names, "dense.weight" in names
    if name.startswith("distillation_classifier."):
        return name
    if name.startswith("classifier."):
        return f"cls_{name}" if "dense_dist.weight" in names else name
    return f"{'deit' if distilled else 'vit'}.{name}" if has_head else name


def named_arrays(network, format):
    """{name in the format: array} of all parameters."""
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    if format == "mindspore":
        return arrays
    if format == "huggingface" and {"representation.weight", "dense.weight"} <= arrays.keys():
        homeless = ["representation.weight", "representation.bias"]  # the pooler never stands before a classifier
    elif format == "suite":
        homeless = [name for name in arrays if name.startswith("dist") or name.startswith("dense_dist")]
    else:
        homeless = [name for name in arrays if not foreign_names(name, format)]
    if network.norm_after_pool and format not in ("timm", "suite"):
        homeless += ["norm.gamma", "norm.beta"]  # as a norm after the pooling
    if format == "torchvision" and "transformer.layers.0.0.cell.1.qkv.bias" not in arrays:
        raise ValueError("torchvision's ViT has no form without qkv_bias; choose another format")
    if homeless:
        raise ValueError(f"format {format!r} has no place for {', '.join(homeless)}; choose another format")
    if format == "suite":
        return {suite_name(name, "representation.weight" in arrays): array for name, array in arrays.items()}
    result = {}
    for name, array in arrays.items():
        names = foreign_names(name, format)
        for foreign, part in zip(names, np.split(array, len(names))):
            if format == "timm" and network.norm_after_pool and name.startswith("norm."):
                foreign = f"fc_{foreign}"
            if format == "huggingface":
                foreign = hugging_face_name(foreign, arrays)
            result[foreign] = part
    return result


def marks(network):
    """What a network has otherwise than the names and shapes of its parameters, read as the Vision suite's, tell."""
    told = {"num_heads": next((variant.num_heads for variant in VARIANTS.values()
                               if variant.embed_dim == network.embed_dim), None),
            "norm_eps": None, "exact_gelu": False, "pool": "cls", "norm_after_pool": False,
            "preprocessing": suite_preparation(network.patch_embedding.image_size)}
    differing = {name: getattr(network, name) for name, value in told.items() if getattr(network, name) != value}
    height, width = network.patch_embedding.image_size
    if height != width:
        differing["image_size"] = height, width
    if "preprocessing" in differing:
        differing["preprocessing"] = dataclasses.asdict(network.preprocessing)
    return differing


def save_weights(network, path, format="mindspore"):
    """Writes the weights; reading them back gives the same numbers, bit for bit.

    What names and shapes do not tell (heads, epsilon, GELU form, pooling, preprocessing) is noted in an entry `mindvit`
    of a .ckpt when it differs from the Vision suite's, so that `from_checkpoint` rebuilds the same network; the other
    formats have no place for it. The file carries a checksum in MindSpore's own form
    (its `crc_check`), which `load_weights` verifies.

    Args:
        network (ViT): the network.
        path (str): "mindspore" and "suite" are MindSpore .ckpt files, the others .safetensors. An existing file is
            replaced when the new one is complete.
        format (str): "mindspore" (the names that `mindspore.load_param_into_net` takes), "suite" (the Vision suite's),
            "timm", "huggingface" (transformers 5) or "torchvision".

    Raises:
        ValueError: unknown format, a path whose suffix is not the format's, or a parameter that the format has no
            place for.
    """
    write_weights(network, path, format, marks(network))


def write_weights(network, path, format, noted):
    """`save_weights` with the marks to note in a .ckpt."""
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; choose one of {', '.join(map(repr, FORMATS))}")
    path = os.fspath(path)
    suffix = ".ckpt" if format in ("mindspore", "suite") else ".safetensors"
    if not path.endswith(suffix):
        raise ValueError(f"{path} does not end in {suffix}, which format {format!r} needs")
    arrays = named_arrays(network, format)
    with replacing(path) as temporary:
        if suffix == ".ckpt":
            if noted:
                arrays[MARKS] = write_marks(noted)
            ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()],
                               str(temporary), crc_check=True)
        else:
            from safetensors.numpy import save_file
            arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            save_file(arrays, temporary, metadata={"format": "pt", "crc_num": str(checksum(arrays, arrays.get))})
        os.chmod(temporary, 0o644)  # both libraries leave the file to its owner alone


def convert_weights(source, target, format):
    """Reads a checkpoint of any known library and writes it in another format; see `save_weights`.

    Raises:
        FileNotFoundError, ValueError: see `from_checkpoint` and `save_weights`.
    """
    arrays, _ = read_checkpoint(source)
    sizes = checkpoint_sizes(source)
    # The number of heads and the grid of patches, which a file may not tell, change no array: one head, one row do.
    guessed = {name for name in ("num_heads", "image_size") if name not in sizes}
    if "num_heads" in guessed:
        sizes.update(num_heads=1, head_dim=arrays["transformer.layers.0.0.cell.1.out.weight"].shape[1])
    if "image_size" in guessed and "pos_embedding" in arrays:
        height, width = arrays["patch_embedding.conv.weight"].shape[2:]
        patches = arrays["pos_embedding"].shape[1] - int("cls" in arrays) - int("dist" in arrays)
        sizes["image_size"] = height, width * patches
    network = from_checkpoint(source, **sizes)
    noted = {name: value for name, value in marks(network).items() if name not in guessed}
    write_weights(network, target, format, noted)
