"""Builds the network that a checkpoint needs, or fills one with it."""

import os
from typing import Any

from mindspore.nn.utils import no_init_parameters

from mindvit.checkpoints.architecture import describe
from mindvit.checkpoints.checkpoint import BLOCK
from mindvit.checkpoints.class_names import class_names
from mindvit.checkpoints.formats.stored import listed, readable
from mindvit.checkpoints.load import LoadReport, load_opened, open_checkpoint
from mindvit.files import StrPath
from mindvit.models import ViT, check_arguments
from mindvit.preprocessing import Preprocessing


def is_whole(checkpoint):
    """Whether the file has the parts that every ViT has, by which it can be described."""
    return {"patch_embedding.conv.weight", BLOCK + "0.cell.1.qkv.weight", BLOCK + "1.cell.1.dense1.weight"
            } <= checkpoint.arrays.keys()


def evaluation(checkpoint, path, network):
    """What `save_weights` noted of the Preprocessing, else what its library does, and what it assumed."""
    if "preprocessing" in checkpoint.marks:
        return Preprocessing(**checkpoint.marks["preprocessing"]), []
    library = checkpoint.library
    deit = "dist" in checkpoint.arrays or any(
        name.startswith(library.deit_names) for names in checkpoint.sources.values() for name in names)
    return library.prepared(path, network.patch_embedding.image_size, deit)


def load_weights(network: ViT, path: StrPath, strict: bool = True, head: str = "auto") -> LoadReport:
    """Loads a checkpoint of any known library into a network; the network is unchanged if that fails.

    Position embeddings are resized to the network's image size, patch kernels to its patch size and channels. The
    network's `preprocessing` becomes that of the weights.

    Args:
        network (ViT): the network.
        path (str): the checkpoint; see `read_checkpoint`.
        strict (bool): an error when the file lacks a parameter or holds one that the network has not.
        head (str): "auto" leaves the network's head as it is when the file's has another number of classes and says
            so in the report; "keep" makes that an error.

    Returns:
        LoadReport; its `assumed` names what the network computes otherwise than the file's library.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `read_checkpoint`; shapes that do not fit; values that are not finite; with strict, missing or
            unused parameters.

    Example:
        >>> network = create_model("vit_t_16")
        >>> print(load_weights(network, "vit_tiny_patch16_224.safetensors"))  # doctest: +ELLIPSIS
        format    timm
        loaded     152
        ...
    """
    path, arguments = os.fspath(path), network.arguments
    checkpoint = open_checkpoint(path, arguments["patch_size"], arguments["input_channels"])
    with readable(path):
        if not is_whole(checkpoint):
            return load_opened(network, checkpoint, strict, head, {})
        told = describe(checkpoint, path, pool=arguments["pool"])
        report = load_opened(network, checkpoint, strict, head, told.arguments)
        network.preprocessing, report.assumed = evaluation(checkpoint, path, network)
    for name in ("num_heads", "activation", "norm_eps", "pool", "norm_after_pool"):
        own, files = arguments[name], told.arguments.get(name, arguments[name])
        if own != files:
            reason = f" ({told.assumed[name]})" if name in told.assumed else ""
            report.assumed.append(f"{name} {own}, as the network was built; the file's is {files}{reason}")
    return report


def from_checkpoint(path: StrPath, preprocessing: Preprocessing | None = None, strict: bool = True, head: str = "auto",
                    **overrides: Any) -> ViT:
    """Builds the network that a checkpoint needs and loads it.

    What shapes the output comes from the file's shapes, from what mindvit noted in its own files, and from the
    `config.json` of timm or Hugging Face beside the file. What none of them tells is assumed to be as usual in the
    file's library, and `load_report.assumed` says so; where nothing is usual, it must be given by name.

    Args:
        path (str): the checkpoint; see `read_checkpoint`.
        preprocessing (Preprocessing, optional): replaces the library's.
        strict, head: see `load_weights`.
        **overrides: arguments of `ViT` (num_classes, image_size, num_heads, pool, keep_prob, ...); a head of another
            num_classes starts fresh, position embedding and patch kernel are resized.

    Returns:
        ViT, in evaluation mode, with `preprocessing` set to what the library does in evaluation, `load_report` to
        the LoadReport and `class_names` to the names of the head's classes, or None where nothing tells them.

    Raises:
        FileNotFoundError, ValueError: see `load_weights`; or a size that the file does not tell.

    Example:
        >>> network = from_checkpoint("vit_tiny_patch16_224.safetensors", num_classes=10)
        >>> network.arguments["num_heads"], network.load_report.replaced
        (3, ['dense.bias', 'dense.weight'])
    """
    path = os.fspath(path)
    check_arguments(overrides)
    checkpoint = open_checkpoint(path, overrides.get("patch_size"), overrides.get("input_channels"))
    with readable(path):
        told = describe(checkpoint, path, overrides.get("image_size"), overrides.get("pool"))
        if strict and checkpoint.unknown:
            raise ValueError(f"it does not fit any ViT here; unused: {listed(checkpoint.unknown)}. strict=False leaves "
                             "them out")
        arguments = {**told.arguments, **overrides}
        for name in ("num_heads", "image_size"):
            if name not in arguments:
                raise ValueError(f"it does not tell {name}; give it, as in from_checkpoint(path, {name}=...), on the "
                                 f"command line --model.overrides.{name} (of convert --overrides.{name})")
        width, num_heads = checkpoint.attention_width(), max(arguments["num_heads"], 1)
        if "head_dim" not in overrides and width % num_heads == 0:
            arguments["head_dim"] = width // num_heads
        with no_init_parameters():  # the values come from the file
            network = ViT(**arguments)
        report = network.load_report = load_opened(network, checkpoint, strict, head, told.arguments)
        network.init_parameters_data()  # those of a replaced head
        if preprocessing is None:
            network.preprocessing, report.assumed = evaluation(checkpoint, path, network)
        else:
            network.preprocessing = preprocessing
    network.class_names = class_names(path, network, told.class_names)
    report.assumed += [f"{name} {arguments[name]}, {reason}" if name in arguments else f"{name} {reason}"
                       for name, reason in told.assumed.items() if name not in overrides]
    return network.set_train(False)
