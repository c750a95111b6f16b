"""mindvit's own names, those of MindSpore's tutorial, and the Vision suite's spelling of them."""

import dataclasses

from mindvit.checkpoints.library import Library, Writing, only_here, unnamed, worded
from mindvit.preprocessing import SUITE as SUITE_PREPARATION
from mindvit.preprocessing import exact_fraction, pair

NAMES = (
    "cls",
    "dist",
    "pos_embedding",
    "patch_embedding.conv.{p}",
    "patch_embedding.norm1.{p}",
    "patch_embedding.norm2.{p}",
    "transformer.layers.{i}.0.cell.0.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}",
    "transformer.layers.{i}.1.cell.0.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}",
    "norm.{p}",
    "representation.{p}",
    "dense.{p}",
    "dense_dist.{p}")
# The Vision suite and the older mindcv put the tutorial's cells under `backbone` and `head`.
SPELLINGS = (
    (r"^backbone\.", ""), (r"^cls_token$", "cls"),
    (r"^head\.classifier\.0\.(dense|classifier)\.", "representation."),
    (r"^head\.classifier\.1\.(dense|classifier)\.", "dense."),
    (r"^(head\.dense|head\.classifier|classifier)\.", "dense."))


def suite_preparation(path, image_size, deit):
    """The suite resizes to image size + 32; that is 7/8 at 224 and is kept as 7/8 where it published no weights."""
    found = SUITE_PREPARATION
    if pair(image_size) == (384, 384):
        found = dataclasses.replace(found, crop_fraction=exact_fraction(384, 416))
    return found, "as the Vision suite evaluates"


def suite_name(name, arguments):
    """The Vision suite's name of a parameter: the tutorial's cells under `backbone`, the rest under `head`."""
    if name.startswith("dense."):
        return f"head.{'classifier.1.' if arguments['representation_size'] else ''}{name}"
    if name.startswith("representation."):
        return name.replace("representation", "head.classifier.0.dense")
    return "backbone.cls_token" if name == "cls" else f"backbone.{name}"


def suite_cannot_hold(arguments):
    """What the Vision suite's ViT has not."""
    a = arguments
    return {**only_here(a), worded(a, "pool"): a["pool"] == "mean_all",
            worded(a, "activation"): a["activation"] != "gelu_tanh",
            worded(a, "image_size"): a["image_size"][0] != a["image_size"][1],
            worded(a, "patch_size"): a["patch_size"][0] != a["patch_size"][1],
            worded(a, "qkv_bias"): not a["qkv_bias"], worded(a, "pos_embedding"): a["pos_embedding"] == "none",
            "pool='mean' with a class token": a["pool"] == "mean" and a["class_token"],
            worded(a, "norm_after_pool"): a["norm_after_pool"], "a distillation token": a["distilled"]}


MINDSPORE = Library(
    name="mindspore", rank=0, names={name: name for name in NAMES}, norm_words=("gamma", "beta"), spellings=SPELLINGS,
    respelled="suite", training_state=True, activation="gelu_tanh", norm_eps=1e-7, preparation=suite_preparation,
    writing=Writing(".ckpt", unnamed, advice="give it by a name that ViT knows", marked=True))
SUITE = dataclasses.replace(
    MINDSPORE, name="suite", rank=1, names={}, respelled="",
    writing=Writing(".ckpt", suite_cannot_hold, name=suite_name, fixed_epsilon=1e-7, marked=True))
