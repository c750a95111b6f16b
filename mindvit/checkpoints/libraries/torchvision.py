"""torchvision's VisionTransformer."""

import dataclasses
import pathlib

from mindvit.checkpoints.library import Library, Writing, only_here, worded
from mindvit.preprocessing import Preprocessing, exact_fraction, pair

NAMES = {
    "cls": "class_token",
    "pos_embedding": "encoder.pos_embedding",
    "patch_embedding.conv.{p}": "conv_proj.{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "encoder.layers.encoder_layer_{i}.ln_1.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "encoder.layers.encoder_layer_{i}.self_attention.in_proj_{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "encoder.layers.encoder_layer_{i}.self_attention.out_proj.{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "encoder.layers.encoder_layer_{i}.ln_2.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "encoder.layers.encoder_layer_{i}.mlp.0.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "encoder.layers.encoder_layer_{i}.mlp.3.{p}",
    "norm.{p}": "encoder.ln.{p}",
    "representation.{p}": "heads.pre_logits.{p}",
    "dense.{p}": "heads.head.{p}"}
EVALUATION = Preprocessing(resizer="pillow", opening="plain")


def torchvision_preparation(path, image_size, deit):
    """torchvision's `weights.transforms()`, which its public file names tell."""
    name = pathlib.Path(path).name
    if "swag" in name:
        return (dataclasses.replace(EVALUATION, crop_fraction=1.0, interpolation="bicubic"),
                f"torchvision's for SWAG weights, which the name {name} says")
    if name.startswith("vit_l_16") and pair(image_size) == (224, 224):
        return (dataclasses.replace(EVALUATION, crop_fraction=exact_fraction(224, 242)),
                f"torchvision's for ViT_L_16_Weights.IMAGENET1K_V1, which the name {name} says")
    return EVALUATION, "torchvision's for its ViT weights, except SWAG's and ViT_L_16's"


def torchvision_cannot_hold(arguments):
    """What torchvision's VisionTransformer has not."""
    a = arguments
    return {**only_here(a), worded(a, "activation"): a["activation"] != "gelu",
            worded(a, "image_size"): a["image_size"][0] != a["image_size"][1],
            worded(a, "patch_size"): a["patch_size"][0] != a["patch_size"][1],
            worded(a, "input_channels"): a["input_channels"] != 3, worded(a, "qkv_bias"): not a["qkv_bias"],
            worded(a, "pos_embedding"): a["pos_embedding"] == "none", worded(a, "pool"): a["pool"] != "cls",
            "a distillation token": a["distilled"], "no head": not a["num_classes"]}


TORCHVISION = Library(
    name="torchvision", rank=5, names=NAMES, preparation=torchvision_preparation,
    writing=Writing(".safetensors", torchvision_cannot_hold, fixed_epsilon=1e-6))
