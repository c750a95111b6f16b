"""lucidrains' vit-pytorch, of all its versions."""

import functools

from mindvit.checkpoints.library import Library
from mindvit.checkpoints.resize import square
from mindvit.models.layers import pair
from mindvit.preprocessing import Preprocessing

USUAL_HEAD = 64  # its dim_head, unless one gives another
NAMES = {
    "cls": "cls_token",
    "pos_embedding": "pos_embedding",
    "patch_embedding.conv.{p}": "to_patch_embedding.2.{p}",
    "patch_embedding.norm1.{p}": "to_patch_embedding.1.{p}",
    "patch_embedding.norm2.{p}": "to_patch_embedding.3.{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "transformer.layers.{i}.0.norm.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "transformer.layers.{i}.0.to_qkv.{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "transformer.layers.{i}.0.to_out.0.{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "transformer.layers.{i}.1.net.0.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "transformer.layers.{i}.1.net.1.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "transformer.layers.{i}.1.net.4.{p}",
    "norm.{p}": "transformer.norm.{p}",
    "dense.{p}": "mlp_head.{p}"}
# It had PreNorm cells with their `fn`, within Residual ones at first, the last norm in the head and no norms around
# the patch product.
SPELLINGS = (
    (r"^patch_to_embedding\.", "to_patch_embedding.2."),
    (r"^to_patch_embedding\.1\.", "to_patch_embedding.2.", "to_patch_embedding.2.weight"),
    (r"^(transformer\.layers\.\d+\.[01])\.fn\.(norm|fn)\.", r"\1.\2."),
    (r"^(transformer\.layers\.\d+\.0)\.fn\.", r"\1."),
    (r"^(transformer\.layers\.\d+\.1)\.norm\.", r"\1.net.0."),
    (r"^(transformer\.layers\.\d+\.1)\.fn\.net\.0\.", r"\1.net.1."),
    (r"^(transformer\.layers\.\d+\.1)\.fn\.net\.3\.", r"\1.net.4."),
    (r"^mlp_head\.0\.", "transformer.norm."), (r"^mlp_head\.1\.", "mlp_head."))


def from_vit_pytorch(name, array, patch):
    """An array of lucidrains' vit-pytorch, whose patches (C, ph, pw) run channels last, in the layout of `name`."""
    channels, height, width = patch
    if name == "patch_embedding.conv.weight":
        return array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)  # (D, ph pw C) -> (D, C, ph, pw)
    if name.startswith("patch_embedding.norm1"):
        return array.reshape(height, width, channels).transpose(2, 0, 1).reshape(-1)  # (ph pw C) -> (C ph pw)
    return array[None] if name in ("cls", "pos_embedding") and array.ndim == 2 else array  # lately without the batch


def patch_shape(values, patch_size, input_channels):
    """(C, ph, pw) of patches of so many values: as given, else square ones of 3 channels, else of 1.

    Raises:
        ValueError: they are neither.
    """
    if patch_size is not None:
        height, width = pair(patch_size, "patch_size")
        if values % (height * width) == 0 and input_channels in (None, values // (height * width)):
            return values // (height * width), height, width
    for channels in (3, 1) if input_channels is None else (input_channels, 3, 1):  # given may be those of the network
        if values % channels == 0 and (side := square(values // channels)):
            return channels, *side
    raise ValueError(f"its patches have {values} values, not square ones of {input_channels or '3 or 1'} channels; "
                     "give patch_size and input_channels")


def vit_pytorch_layout(shapes, patch_size, input_channels):
    """The function (name, array) -> array for the patches of a file."""
    if "patch_embedding.conv.weight" not in shapes:
        raise ValueError("it has no to_patch_embedding.2.weight; it is not vit-pytorch's ViT")
    patch = patch_shape(shapes["patch_embedding.conv.weight"][1], patch_size, input_channels)
    return functools.partial(from_vit_pytorch, patch=patch)


def heads_of_64(embed_dim, width):
    return None if width % USUAL_HEAD else width // USUAL_HEAD, f"vit-pytorch's usual heads of {USUAL_HEAD}"


def vit_pytorch_remarks(checkpoint):
    """The reasons for what neither names nor shapes tell."""
    remarks = {}
    if any(".fn." in name for name in checkpoint.sources["transformer.layers.0.0.cell.1.qkv.weight"]):  # not today's
        remarks["attention scale"] = "head_dim ** -0.5, as in vit-pytorch since 0.6.7; before, dim ** -0.5"
    channels, *sides = checkpoint.arrays["patch_embedding.conv.weight"].shape[1:]
    remarks["patches"] = f"{' x '.join(map(str, sides))} with {channels} channels, which make their values"
    return remarks


def vit_pytorch_pool(checkpoint, description, pool):
    """Its earlier heads have the norm in them with either pooling, and it keeps the class token when it pools."""
    if description.arguments["class_token"]:
        description.assume("pool", "cls", "the file has a class token; vit-pytorch's pool='mean' is pool='mean_all' "
                                          "here")
        description.arguments["norm_after_pool"] = pool not in (None, "cls") and checkpoint.norm_after_pool()


def vit_pytorch_preparation(path, image_size, deit):
    return Preprocessing(), ("mindvit's own, as vit-pytorch prepares no images; from_checkpoint(path, "
                             "preprocessing=...) takes what the weights were trained with")


VIT_PYTORCH = Library(
    name="vit_pytorch", rank=7, names=NAMES, spellings=SPELLINGS,
    dimensions={"patch_embedding.conv.weight": (2,), "cls": (3, 2), "pos_embedding": (3, 2)}, layout=vit_pytorch_layout,
    absent_if_empty=("cls",), norms_after_pool=("mlp_head.0.",), one_head_unprojected=True, positions_of_patches=True,
    norm_eps=1e-5, usual_heads=heads_of_64, remarks=vit_pytorch_remarks, assume_pool=vit_pytorch_pool,
    preparation=vit_pytorch_preparation)
