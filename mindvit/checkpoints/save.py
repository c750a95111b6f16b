"""Writes a network's weights under the names of mindvit, the Vision suite, timm, Hugging Face or torchvision."""

import dataclasses
import json
import os
import pathlib
import re

import numpy as np

from mindvit.checkpoints.architecture import describe
from mindvit.checkpoints.build import from_checkpoint
from mindvit.checkpoints.export import files_beside, reasons_against, residual_scale
from mindvit.checkpoints.formats import WRITERS
from mindvit.checkpoints.load import MARKS, Checkpoint, write_marks
from mindvit.checkpoints.names import foreign_names
from mindvit.checkpoints.preparation import prepared_otherwise, suite_preparation
from mindvit.files import replacing

FORMATS = ("mindspore", "suite", "timm", "huggingface", "torchvision")
# The parameters whose values, or whose products, are added to the residual stream.
WRITES_TO_RESIDUAL = re.compile(r"^(cls|dist|pos_embedding)$|^patch_embedding\.|\.(out|dense2)\.(weight|bias)$")


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


def check_savable(network, format="mindspore"):
    """ValueError if the format has no place for something in the network; every such thing is named."""
    if reasons := reasons_against(format, network.arguments):
        advice = "give it by a name that ViT knows" if format == "mindspore" else "choose another format"
        raise ValueError(f"format {format!r} has no place for {', '.join(reasons)}; {advice}")


def named_arrays(network, format):
    """{name in the format: array} of all parameters; see `check_savable`."""
    check_savable(network, format)
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    if (scale := residual_scale(format, network.arguments)) != 1:
        arrays = {name: array * np.float32(scale) if WRITES_TO_RESIDUAL.search(name) else array
                  for name, array in arrays.items()}
    if format == "mindspore":
        return arrays
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


def needs_marks(network):
    """Whether a file of these weights without an entry `mindvit` would be read as another network."""
    if not network.arguments["out_projection"]:
        return True
    arrays = {parameter.name: parameter for parameter in network.get_parameters()}
    checkpoint = Checkpoint("mindspore", arrays, [], {name: [name] for name in arrays}, 0, {})
    read = describe(checkpoint, "").arguments
    usual = {"head_dim": read["embed_dim"] // read.get("num_heads", 1), "norm_after_pool": False,
             "distillation_head": True, "pos_embedding": "learned", "norm": "layer_norm", "dynamic_image_size": False}
    prepared = suite_preparation(network.arguments["image_size"])
    return {**usual, **read} != network.arguments or network.preprocessing != prepared


def save_weights(network, path, format="mindspore"):
    """Writes the weights so that reading them back, here or in the library of the format, gives the same network.

    A .ckpt notes the network's `arguments` and `preprocessing` in an entry `mindvit`, from which `from_checkpoint`
    rebuilds it, unless the file without one is read as the same network, as the public ViTs' are;
    `mindspore.load_param_into_net` lists that entry as not loaded. For timm and Hugging Face the files
    that say the same to these libraries (config.json, preprocessor_config.json, with the class names) are written
    beside the weights, so that the folder opens with `timm.create_model("local-dir:FOLDER", pretrained=True)` and
    `transformers.ViTForImageClassification.from_pretrained(FOLDER)`. torchvision has no such file: there the sizes go
    to its `VisionTransformer`. The numbers stay the same, bit for bit, except where the library's epsilon is fixed and
    another one than the network's: then all that is added to the residual stream is scaled so that the outputs agree.

    Every file carries a checksum in MindSpore's own form (its `crc_check`), which `load_weights` verifies.

    Args:
        network (ViT): the network.
        path (str): a .ckpt for "mindspore" and "suite", a .safetensors for the others, or for "timm" and "huggingface"
            a folder, in which the file is called model.safetensors. An existing file of weights is replaced when the
            new one is complete.
        format (str): "mindspore" (the names that `mindspore.load_param_into_net` takes), "suite" (the Vision suite's),
            "timm", "huggingface" (transformers 5) or "torchvision".

    Returns:
        list[str]: what the library prepares otherwise than the network's `preprocessing` says, though the files beside
        the weights come as near as they can; usually nothing.

    Raises:
        ValueError: unknown format, a path whose suffix is not the format's, or something in the network that the
            library cannot compute.
        FileExistsError: a config.json with other content lies where the new one belongs.

    Example:
        >>> save_weights(create_model("vit_t_16", activation="gelu", norm_eps=1e-6), "for_timm", format="timm")
        ["timm prepares images with resizer 'pillow', this network's is 'mindspore'", "timm prepares images with ..."]
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; choose one of {', '.join(map(repr, FORMATS))}")
    path = pathlib.Path(path)
    if format in ("timm", "huggingface") and (path.is_dir() or not path.suffix):
        path = path / "model.safetensors"
    suffix = ".ckpt" if format in ("mindspore", "suite") else ".safetensors"
    if path.suffix != suffix:
        raise ValueError(f"{path} does not end in {suffix}, which format {format!r} needs")
    arrays = named_arrays(network, format)
    beside = {path.with_name(name): json.dumps(content, indent=2, ensure_ascii=False) + "\n"
              for name, content in files_beside(format, network).items()}
    for file, content in beside.items():
        if file.exists() and file.read_text(encoding="utf-8") != content:
            raise FileExistsError(f"{file} is there and does not describe this network; choose an empty folder")
    with replacing(path) as temporary:
        if suffix == ".ckpt" and needs_marks(network):
            noted = {"arguments": network.arguments, "preprocessing": dataclasses.asdict(network.preprocessing)}
            arrays[MARKS] = write_marks(noted)
        WRITERS[suffix](temporary, arrays)
        os.chmod(temporary, 0o644)  # both libraries leave the file to its owner alone
    for file, content in beside.items():
        with replacing(file) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return prepared_otherwise(format, network.preprocessing, network.arguments["image_size"])


def convert_weights(source, target, format, **overrides):
    """Reads a checkpoint of any known library and writes it in another format.

    Args:
        source, target, format: see `from_checkpoint` and `save_weights`.
        **overrides: arguments of `ViT` that the source does not tell (num_heads, image_size, ...).

    Returns:
        (LoadReport, list[str]): what was read and assumed, and what `save_weights` returns.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: see `from_checkpoint` and `save_weights`.

    Example:
        >>> report, remarks = convert_weights("vit_tiny_patch16_224.safetensors", "vit.ckpt", "mindspore")
        >>> report.format, remarks
        ('timm', [])
    """
    network = from_checkpoint(source, **overrides)
    return network.load_report, save_weights(network, target, format)
