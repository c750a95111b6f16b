"""The table of ViT variants, and their names."""

import dataclasses
import difflib
import fnmatch
import re
from typing import Any


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the table: the sizes in which variants differ; all else is ViT's default."""

    patch_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    timm_name: str | None
    distilled: bool = False
    pool: str = "cls"
    pos_embedding: str = "learned"
    image_size: int = 224
    num_classes: int = 1000
    # image size -> file of the Vision suite, or one that comes with the package
    public_files: dict[int, str] = dataclasses.field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Arguments of ViT: the sizes, and what is not ViT's default."""
        found = dataclasses.asdict(self)
        del found["timm_name"], found["public_files"]
        for name in ("pool", "pos_embedding", "image_size", "num_classes"):
            if found[name] == getattr(Variant, name):
                del found[name]  # so that a checkpoint may have another
        return found

    def called(self) -> list[str]:
        """timm's names for it."""
        return [self.timm_name, f"{self.timm_name}_224"] if self.timm_name else []

    @property
    def parameters(self) -> int:
        """Numbers in the network."""
        d, prefix, heads = self.embed_dim, 1 + self.distilled, 1 + self.distilled
        block = 4 * d * d + 4 * d + 2 * d * self.mlp_dim + self.mlp_dim + d + 4 * d  # attention, MLP, two norms
        positions = prefix + (self.image_size // self.patch_size) ** 2
        return (self.num_layers * block + (positions + prefix) * d + (3 * self.patch_size**2 + 1) * d + 2 * d
                + heads * (d + 1) * self.num_classes)


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
    # For handwritten digits of MNIST's size; the package has weights for it.
    "digits": Variant(7, 96, 4, 3, 192, None, pool="mean", pos_embedding="sincos2d", image_size=28, num_classes=10,
                      public_files={28: "digits.ckpt"}),
}


def list_models(pattern: str = "*") -> list[str]:
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
             if any(fnmatch.fnmatchcase(known, pattern) for known in (name, *variant.called()))]
    return names or [find_variant(pattern)[0]]


def find_variant(name: str) -> tuple[str, int | None]:
    """(row name, image size or None) for a row's name or a timm name such as `vit_base_patch16_384.augreg_in1k`.

    Raises:
        ValueError: the name is neither.

    Example:
        >>> find_variant("vit_base_patch16_384.augreg_in1k")
        ('vit_b_16', 384)
    """
    if name in VARIANTS:
        return name, None
    parts = re.fullmatch(r"(.*?)(?:_(\d+))?(?:\..*)?", name, re.DOTALL)
    assert parts  # each of them may be empty
    timm_name, image_size = parts.groups()
    for row, variant in VARIANTS.items():
        if timm_name == variant.timm_name:
            return row, int(image_size) if image_size else None
    known = [*VARIANTS, *(variant.timm_name for variant in VARIANTS.values() if variant.timm_name)]
    near = difflib.get_close_matches(name, known)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"no model is called {name!r}; {hint}Known names: {', '.join(VARIANTS)}")
