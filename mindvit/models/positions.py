"""Position embeddings: the fixed one, and how any of them is brought to another grid of patches."""

import numpy as np


def sincos2d(grid, dim):
    """Fixed 2-D sine-cosine position embedding (N, D) of a (rows, columns) grid.

    A quarter of the width each for sin and cos of the column and of the row, frequencies 10000^(-4i/D) (Chen et al.,
    "An Empirical Study of Training Self-Supervised Vision Transformers", 2021; `posemb_sincos_2d` of big_vision).
    """
    if dim % 4:
        raise ValueError(f"embed_dim {dim} is not divisible by 4, which the sine-cosine position embedding needs")
    rows, columns = np.mgrid[: grid[0], : grid[1]].reshape(2, -1, 1)  # (N, 1) each
    omega = 10000.0 ** -(np.arange(dim // 4) / max(dim // 4 - 1, 1))  # (D/4,)
    return np.concatenate([np.sin(columns * omega), np.cos(columns * omega), np.sin(rows * omega),
                           np.cos(rows * omega)], axis=1)


def bicubic_matrix(old, new):
    """The matrix (new, old) of a one-dimensional bicubic resize with antialias, as PyTorch and Pillow do it.

    Keys' kernel with a = -0.5, stretched by old / new when the size shrinks; each row sums to 1.
    """
    scale = old / new
    stretch = max(scale, 1.0)
    centers = (np.arange(new)[:, None] + 0.5) * scale
    x = np.abs((np.arange(old) + 0.5 - centers) / stretch)  # (new, old)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(1, keepdims=True)
