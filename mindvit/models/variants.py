"""The table of ViT variants, and their names."""

import dataclasses
import difflib
import fnmatch
import re


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
    public_files: dict[int, str] = dataclasses.field(default_factory=dict)  # image size -> file of the Vision suite

    @property
    def parameters(self) -> int:
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
             if any(fnmatch.fnmatchcase(known, pattern)
                    for known in (name, variant.timm_name, f"{variant.timm_name}_224"))]
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
    near = difflib.get_close_matches(name, list(VARIANTS) + [variant.timm_name for variant in VARIANTS.values()])
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"no model is called {name!r}; {hint}Known names: {', '.join(VARIANTS)}")
