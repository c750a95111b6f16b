"""An open file: its arrays under mindvit's names, and what their names and shapes say at once."""

import dataclasses
import math

from mindvit.checkpoints.library import Library
from mindvit.checkpoints.resize import square
from mindvit.models.layers import pair

BLOCK = "transformer.layers.0."  # the first, which stands for all of them where shapes are read


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file's arrays under mindvit's names."""

    library: Library
    arrays: dict  # mindvit's name -> StoredArray
    unknown: list  # names that no parameter of the library has
    sources: dict  # mindvit's name -> names in the file
    num_heads: int  # 0 when the file does not show it
    marks: dict  # what `save_weights` noted because names and shapes do not tell it

    def norm_after_pool(self):
        return any(name.startswith(self.library.norms_after_pool) for name in self.sources.get("norm.gamma", ()))

    def attention_width(self):
        """Width of all heads together."""
        return self.arrays[BLOCK + "0.cell.1.qkv.weight"].shape[0] // 3

    def prefix(self):
        """How many leading entries of the position embedding belong to tokens that are no patches."""
        return int("cls" in self.arrays) + int("dist" in self.arrays)

    def patch_grid(self, image_size):
        """Rows and columns of patches of an image size, None for None."""
        if image_size is None:
            return None
        return tuple(side // patch for side, patch in zip(
            pair(image_size, "image_size"), self.arrays["patch_embedding.conv.weight"].shape[2:]))

    def zero_positions(self, grid=None):
        """Whether the position embedding is for the patches alone, though other tokens are: timm's no_embed_class.

        Where no grid (rows, columns) of patches is known to decide, the one reading that gives a square does.
        """
        if not self.library.positions_of_patches or not self.prefix() or "pos_embedding" not in self.arrays:
            return False
        entries = self.arrays["pos_embedding"].shape[1]
        if grid and math.prod(grid) in (entries, entries - self.prefix()):
            return math.prod(grid) == entries
        return square(entries - self.prefix()) is None and square(entries) is not None

    def check_grid(self, image_size, source):
        """ValueError unless the image size gives as many patches as the position embedding has entries for."""
        height, width = pair(image_size, f"image_size of {source}")
        rows, columns = self.patch_grid((height, width))
        if "pos_embedding" not in self.arrays:
            if max(height, width) > 65535:
                raise ValueError(f"{source} says image_size {image_size}; images have at most 65,535 pixels a side")
            return
        patches = self.arrays["pos_embedding"].shape[1] - self.prefix()
        if rows * columns != patches:
            raise ValueError(f"{source} says image_size {image_size}, that is {rows} x {columns} patches, and the "
                             f"position embedding has {patches}")
