"""Writes a network's weights under the names of mindvit, the Vision suite, timm, Hugging Face or torchvision."""

import dataclasses
import json
import math
import os
import pathlib
import re
from typing import Any

import numpy as np

from mindvit.checkpoints.architecture import describe
from mindvit.checkpoints.build import from_checkpoint
from mindvit.checkpoints.checkpoint import Checkpoint
from mindvit.checkpoints.formats import WRITERS
from mindvit.checkpoints.libraries import LIBRARIES, written_formats
from mindvit.checkpoints.load import MARKS, NAMED, LoadReport, write_marks
from mindvit.files import StrPath, check_writable, replacing
from mindvit.imagenet import index2label
from mindvit.models import ViT

# The parameters whose values, or whose products, are added to the residual stream.
WRITES_TO_RESIDUAL = re.compile(r"^(cls|dist|pos_embedding)$|^patch_embedding\.|\.(out|dense2)\.(weight|bias)$")


def check_savable(network, format="mindspore"):
    """ValueError if the format has no place for something in the network; every such thing is named."""
    writing = LIBRARIES[format].writing
    if reasons := [what for what, has in writing.cannot_hold(network.arguments).items() if has]:
        raise ValueError(f"format {format!r} has no place for {', '.join(reasons)}; {writing.advice}")


def residual_scale(writing, arguments):
    """What the residual stream is multiplied by so that the library's epsilon gives the numbers of the network's.

    LayerNorm of c x with epsilon c^2 e is LayerNorm of x with epsilon e, and nothing but norms reads the stream.
    """
    return math.sqrt(writing.fixed_epsilon / arguments["norm_eps"]) if writing.fixed_epsilon else 1


def named_arrays(network, format):
    """{name in the format: array} of all parameters; see `check_savable`."""
    check_savable(network, format)
    library, result = LIBRARIES[format], {}
    scale = residual_scale(library.writing, network.arguments)
    for parameter in network.get_parameters():
        name, array = parameter.name, parameter.asnumpy()
        if scale != 1 and WRITES_TO_RESIDUAL.search(name):
            array = array * np.float32(scale)
        names = library.foreign_names(name)
        for foreign, part in zip(names, np.split(array, len(names))):
            result[library.writing.name(foreign, network.arguments)] = part
    return result


def needs_marks(network, library):
    """Whether a file of these weights without an entry `mindvit` would be read as another network."""
    if not network.arguments["out_projection"]:
        return True
    arrays = {parameter.name: parameter for parameter in network.get_parameters()}
    checkpoint = Checkpoint(library, arrays, [], {name: [name] for name in arrays}, 0, {})
    read = describe(checkpoint, "").arguments
    usual = {"head_dim": read["embed_dim"] // read.get("num_heads", 1), "norm_after_pool": False,
             "distillation_head": True, "pos_embedding": "learned", "norm": "layer_norm", "dynamic_image_size": False}
    prepared, _ = library.prepared("", network.arguments["image_size"])
    return {**usual, **read} != network.arguments or network.preprocessing != prepared


def prepared_otherwise(format, preprocessing, image_size):
    """What the library of a format does otherwise than the Preprocessing in spite of the files written, in words."""
    prepares = LIBRARIES[format].writing.prepares
    if not prepares:
        return []
    there = prepares(preprocessing, image_size)
    return [f"{format} prepares images with {field.name} {getattr(there, field.name)!r}, this network's is {own!r}"
            for field in dataclasses.fields(there)
            if (own := getattr(preprocessing, field.name)) != getattr(there, field.name)
            and field.name not in ("mean", "std", "crop_fraction")]


def save_weights(network: ViT, path: StrPath, format: str = "mindspore") -> list[str]:
    """Writes the weights so that reading them back, here or in the library of the format, gives the same network.

    A .ckpt notes the network's `arguments`, `preprocessing` and `class_names` in an entry `mindvit`, from which
    `from_checkpoint` rebuilds it, unless the file without one is read as the same network, as the public ViTs' are;
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
        OSError: the file cannot be written; what was there before stays.

    Example:
        >>> save_weights(create_model("vit_t_16", activation="gelu", norm_eps=1e-6), "for_timm", format="timm")
        ["timm prepares images with resizer 'pillow', this network's is 'mindspore'", "timm prepares images with ..."]
    """
    if format not in written_formats():
        raise ValueError(f"format is {format!r}; choose one of {', '.join(map(repr, written_formats()))}")
    path, library = pathlib.Path(path), LIBRARIES[format]
    writing, suffix = library.writing, library.writing.suffix
    if writing.files_beside and (path.is_dir() or not path.suffix):
        path = path / "model.safetensors"
    if path.suffix != suffix:
        raise ValueError(f"{path} does not end in {suffix}, which format {format!r} needs")
    arrays = named_arrays(network, format)
    beside = {path.with_name(name): json.dumps(content, indent=2, ensure_ascii=False) + "\n"
              for name, content in (writing.files_beside(network) if writing.files_beside else {}).items()}
    for file, content in beside.items():
        if file.exists() and file.read_text(encoding="utf-8") != content:
            raise FileExistsError(f"{file} is there and does not describe this network; choose an empty folder")
    with replacing(path, sum(array.nbytes for array in arrays.values())) as temporary:
        names = network.class_names or []
        named = names and names != list(index2label().values())  # 1,000 without names are ImageNet's
        if writing.marked and (named or needs_marks(network, library)):
            noted: dict[str, Any] = {"arguments": network.arguments,
                                     "preprocessing": dataclasses.asdict(network.preprocessing)}
            if named:
                noted[NAMED] = list(names)
            arrays[MARKS] = write_marks(noted)
        WRITERS[suffix](temporary, arrays)
        os.chmod(temporary, 0o644)  # both libraries leave the file to its owner alone
    for file, content in beside.items():
        with replacing(file) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return prepared_otherwise(format, network.preprocessing, network.arguments["image_size"])


def convert_weights(source: StrPath, target: StrPath, format: str,
                    **overrides: Any) -> tuple[LoadReport, list[str]]:
    """Reads a checkpoint of any known library and writes it in another format.

    Args:
        source, target, format: see `from_checkpoint` and `save_weights`.
        **overrides: arguments of `ViT` that the source does not tell (num_heads, image_size, ...).

    Returns:
        (LoadReport, list[str]): what was read and assumed, and what `save_weights` returns.

    Raises:
        FileNotFoundError, FileExistsError, OSError, ValueError: see `from_checkpoint` and `save_weights`.

    Example:
        >>> report, remarks = convert_weights("vit_tiny_patch16_224.safetensors", "vit.ckpt", "mindspore")
        >>> report.format, remarks
        ('timm', [])
    """
    check_writable(target, folder=os.path.isdir(target))
    for there in (pathlib.Path(target), pathlib.Path(target, "model.safetensors")):
        if there.is_file():
            raise FileExistsError(f"{there} is there already; name another target, or remove it")
    network = from_checkpoint(source, **overrides)
    return network.load_report, save_weights(network, target, format)
