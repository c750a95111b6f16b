"""The table of ViT variants and the factories made from it."""

import dataclasses
import difflib
import fnmatch
import inspect
import re

from mindvit.models.vit import ViT


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the table: the sizes in which variants differ; all else is ViT's default."""

    patch_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    timm_name: str
    distilled: bool = False
    public_files: dict = dataclasses.field(default_factory=dict)  # image size -> file of the Vision suite

    @property
    def parameters(self):
        """Numbers in the network at 224 pixels with 1,000 classes."""
        d, prefix, heads = self.embed_dim, 1 + self.distilled, 1 + self.distilled
        block = 4 * d * d + 4 * d + 2 * d * self.mlp_dim + self.mlp_dim + d + 4 * d  # attention, MLP, two norms
        tokens = (prefix + (224 // self.patch_size) ** 2) * d + prefix * d  # position embedding, prefix tokens
        return self.num_layers * block + tokens + (3 * self.patch_size**2 + 1) * d + 2 * d + heads * (d + 1) * 1000


# B, L and H: ViT paper, table 1. Ti and S: Touvron et al., DeiT, 2021, table 1; ViT-Ti and ViT-S have their shapes
# (Steiner et al., "How to train your ViT?", 2021, table 1).
VARIANTS = {
    "vit_t_16": Variant(16, 192, 12, 3, 768, "vit_tiny_patch16"),
    "vit_s_16": Variant(16, 384, 12, 6, 1536, "vit_small_patch16"),
    "vit_s_32": Variant(32, 384, 12, 6, 1536, "vit_small_patch32"),
    "vit_b_16": Variant(16, 768, 12, 12, 3072, "vit_base_patch16",
                        public_files={224: "vit_b_16_224.ckpt", 384: "vit_b_16_384.ckpt"}),
    "vit_b_32": Variant(32, 768, 12, 12, 3072, "vit_base_patch32",
                        public_files={224: "vit_b_32_224_tv.ckpt", 384: "vit_b_32_384.ckpt"}),
    "vit_l_16": Variant(16, 1024, 24, 16, 4096, "vit_large_patch16",
                        public_files={224: "vit_l_16_224.ckpt", 384: "vit_l_16_384.ckpt"}),
    "vit_l_32": Variant(32, 1024, 24, 16, 4096, "vit_large_patch32", public_files={224: "vit_l_32_224_tv.ckpt"}),
    "vit_h_14": Variant(14, 1280, 32, 16, 5120, "vit_huge_patch14"),
    "deit_t_16": Variant(16, 192, 12, 3, 768, "deit_tiny_patch16"),
    "deit_s_16": Variant(16, 384, 12, 6, 1536, "deit_small_patch16"),
    "deit_b_16": Variant(16, 768, 12, 12, 3072, "deit_base_patch16"),
    "deit_t_16_distilled": Variant(16, 192, 12, 3, 768, "deit_tiny_distilled_patch16", distilled=True),
    "deit_s_16_distilled": Variant(16, 384, 12, 6, 1536, "deit_small_distilled_patch16", distilled=True),
    "deit_b_16_distilled": Variant(16, 768, 12, 12, 3072, "deit_base_distilled_patch16", distilled=True),
}


def list_models(pattern="*"):
    """The names that `create_model` takes, in the order of the table; timm's names are aliases of them.

    Args:
        pattern (str): what a name, or timm's name for it, looks like, such as "vit_b*" or "deit_*_distilled_*".

    Raises:
        ValueError: it fits no name; the message has the nearest.

    Example:
        >>> list_models("vit_b*")
        ['vit_b_16', 'vit_b_32']
    """
    names = [name for name, variant in VARIANTS.items()
             if any(fnmatch.fnmatchcase(known, pattern)
                    for known in (name, variant.timm_name, f"{variant.timm_name}_224"))]
    return names or [find_variant(pattern)[0]]


def find_variant(name):
    """(row name, image size or None) for a row's name or a timm name such as `vit_base_patch16_384.augreg_in1k`.

    Raises:
        ValueError: the name is neither.

    Example:
        >>> find_variant("vit_base_patch16_384.augreg_in1k")
        ('vit_b_16', 384)
    """
    if name in VARIANTS:
        return name, None
    timm_name, image_size = re.fullmatch(r"(.*?)(?:_(\d+))?(?:\..*)?", name, re.DOTALL).groups()
    for row, variant in VARIANTS.items():
        if timm_name == variant.timm_name:
            return row, image_size and int(image_size)
    near = difflib.get_close_matches(name, list(VARIANTS) + [variant.timm_name for variant in VARIANTS.values()])
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"no model is called {name!r}; {hint}Known names: {', '.join(VARIANTS)}")


def public_weights():
    """The variants and image sizes of the Vision suite's public checkpoints, in words."""
    return ", ".join(f"{name} at {size}" for name, variant in VARIANTS.items() for size in variant.public_files)


def check_arguments(names):
    """ValueError unless `ViT` has an argument of each of these names; the message has the nearest."""
    known = list(inspect.signature(ViT).parameters)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise ValueError(f"ViT has no argument {name!r}; "
                             + (f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"))


def model_arguments(name, **overrides):
    """The arguments of `ViT` for a name of `list_models()` or of timm, replaced by the overrides.

    Raises:
        ValueError: unknown name, or ViT has no such argument.

    Example:
        >>> model_arguments("vit_s_16", num_classes=10)["embed_dim"]
        384
    """
    check_arguments(overrides)
    row, image_size = find_variant(name)
    arguments = dataclasses.asdict(VARIANTS[row])
    del arguments["timm_name"], arguments["public_files"]
    if image_size:
        arguments["image_size"] = image_size
    return {**arguments, **overrides}


def create_model(name, pretrained=False, ckpt_dir=None, **overrides):
    """Builds a variant of the table.

    Args:
        name (str): a name of `list_models()` or timm's name for it (`vit_base_patch16_224`).
        pretrained (bool): loads the Vision suite's public checkpoint for the variant and image size; it is downloaded
            when it is not there.
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
    from mindvit.weights import fetch_public_weights, from_checkpoint  # only pretrained=True looks to the right

    arguments.setdefault("image_size", 224)
    path = fetch_public_weights(find_variant(name)[0], arguments["image_size"], ckpt_dir)
    return from_checkpoint(path, **arguments)


def make_factory(row):
    """The suite's function for one row, with the suite's arguments."""

    def factory(num_classes=1000, image_size=224, has_logits=False, pretrained=False, drop_out=0.0,
                attention_dropout=0.0, drop_path_dropout=0.0):
        return create_model(
            row, pretrained, num_classes=num_classes, image_size=image_size, keep_prob=1 - drop_out,
            attention_keep_prob=1 - attention_dropout, drop_path_keep_prob=1 - drop_path_dropout,
            representation_size=VARIANTS[row].embed_dim if has_logits else None)

    factory.__name__ = factory.__qualname__ = row
    factory.__doc__ = f"""Builds `{row}` with the Vision suite's arguments; `create_model` takes all of ViT's.

    Args:
        num_classes (int): width of the head.
        image_size (int or (int, int)): image size in pixels.
        has_logits (bool): a dense layer with tanh before the head.
        pretrained (bool): loads the suite's public checkpoint; see `create_model`.
        drop_out, attention_dropout, drop_path_dropout (float): drop rates in [0, 1).

    Returns:
        ViT.

    Example:
        >>> {row}(num_classes=10, image_size=224).dense.weight.shape
        (10, {VARIANTS[row].embed_dim})
    """
    return factory


FACTORIES = {row: make_factory(row) for row in VARIANTS}
globals().update(FACTORIES)
