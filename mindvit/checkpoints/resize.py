"""Fits position embeddings and patch kernels of a checkpoint to another image size, patch size or channel count."""

import math

import numpy as np

from mindvit.models.positions import bicubic_matrix


def square(patches):
    """(side, side) of a square grid of that many patches, or None."""
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else None


def resize_pos_embedding(embedding, prefix, old_grid, new_grid):
    """Resizes the patch part of a position embedding and keeps the entries of class and distillation token.

    Args:
        embedding (np.ndarray): (1, prefix + old rows * old columns, D).
        prefix (int): number of leading entries that belong to no patch.
        old_grid, new_grid ((int, int)): rows and columns of patches.

    Returns:
        np.ndarray, (1, prefix + new rows * new columns, D), float32; equals timm's `resample_abs_pos_embed`.
    """
    patches = embedding[0, prefix:].astype(np.float64).reshape(*old_grid, -1)
    rows, columns = (bicubic_matrix(old, new) for old, new in zip(old_grid, new_grid))
    patches = np.einsum("ri,cj,ijd->rcd", rows, columns, patches, optimize=True)
    patches = patches.reshape(1, -1, embedding.shape[2]).astype(np.float32)
    return np.concatenate([embedding[:, :prefix].astype(np.float32), patches], axis=1)


def resize_kernel(kernel, size):
    """Patch kernel (D, C, h, w) for another patch size by the pseudo-inverse of the bicubic resize of the patch.

    A patch resized from the old size to the new one then gives the same token where that is possible (Beyer et al.,
    "FlexiViT: One Model for All Patch Sizes", 2023, section 3.4).
    """
    rows, columns = (np.linalg.pinv(bicubic_matrix(old, new)) for old, new in zip(kernel.shape[2:], size))  # (old, new)
    return np.einsum("dcij,ir,js->dcrs", kernel.astype(np.float64), rows, columns, optimize=True).astype(np.float32)


def adapt_channels(kernel, channels):
    """Patch kernel (D, 3, h, w) for 1 or N channels as timm does: the sum of the three, or repeated and scaled.

    Raises:
        ValueError: the kernel has not 3 channels.
    """
    if kernel.shape[1] != 3:
        raise ValueError(f"a kernel for {kernel.shape[1]} channels can't be fitted to {channels}; "
                         "only one for 3 channels can")
    if channels == 1:
        return kernel.sum(1, keepdims=True, dtype=np.float32)
    return np.tile(kernel, (1, -(-channels // 3), 1, 1))[:, :channels].astype(np.float32) * np.float32(3 / channels)
