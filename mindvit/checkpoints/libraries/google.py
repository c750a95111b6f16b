"""Google's vision_transformer: Flax arrays in .npz."""

from mindvit.checkpoints.library import INCEPTION, Library
from mindvit.preprocessing import Preprocessing

NAMES = {
    "cls": "cls",
    "pos_embedding": "Transformer/posembed_input/pos_embedding",
    "patch_embedding.conv.{p}": "embedding/{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "Transformer/encoderblock_{i}/LayerNorm_0/{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/{qkv}/{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "Transformer/encoderblock_{i}/LayerNorm_2/{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/{p}",
    "norm.{p}": "Transformer/encoder_norm/{p}",
    "representation.{p}": "pre_logits/{p}",
    "dense.{p}": "head/{p}"}
# input_pipeline.py: `tf.image.resize`, then (x - 127.5) / 127.5.
EVALUATION = Preprocessing(**INCEPTION, crop_fraction=1.0, resize_mode="squash", resizer="tensorflow", opening="plain")


def from_flax(name, array):
    """An array of Google's .npz in the layout of mindvit's parameter `name`."""
    if name.startswith("patch_embedding") and name.endswith("weight"):
        return array.transpose(3, 2, 0, 1)  # (h, w, C, D) -> (D, C, h, w)
    if name.endswith("qkv.weight"):
        return array.reshape(array.shape[0], -1).T  # (D, H, Dh) -> (H * Dh, D)
    if name.endswith("qkv.bias"):
        return array.reshape(-1)  # (H, Dh) -> (H * Dh)
    if name.endswith("out.weight"):
        return array.reshape(-1, array.shape[-1]).T  # (H, Dh, D) -> (D, H * Dh)
    return array.T if name.endswith("weight") else array


def google_preparation(path, image_size, deit):
    return EVALUATION, "as vision_transformer's input pipeline evaluates"


GOOGLE = Library(
    name="google", rank=6, names=NAMES, norm_words=("scale", "bias"), other_words=("kernel", "bias"),
    qkv=("query", "key", "value"), spellings=((r"^opt/target/", ""),),
    dimensions={"qkv.weight": (3,), "qkv.bias": (2,), "out.weight": (3,)}, layout=lambda *file: from_flax, heads_axis=1,
    preparation=google_preparation)
