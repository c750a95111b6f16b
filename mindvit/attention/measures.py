"""What a network has learned to look at, as the ViT paper shows it in figures 7 and 11."""

import numpy as np
from numpy.typing import NDArray

from mindvit.models import ViT


def patch_filters(network: ViT, count: int = 28) -> NDArray[np.float32]:
    """The principal components of the filters that make tokens of patches (ViT paper, figure 7, left).

    Args:
        network (ViT): whose patch embedding is taken.
        count (int): how many, those of the greatest variance first.

    Returns:
        array: (count, C, height, width) of a patch, unit vectors; fewer where a patch or the width has fewer numbers.

    Example:
        >>> patch_filters(create_model("vit_t_16")).shape
        (28, 3, 16, 16)
    """
    weight = network.patch_embedding.conv.weight.asnumpy()  # (D, C, ph, pw)
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    _, _, components = np.linalg.svd(filters - filters.mean(0), full_matrices=False)
    return components[:count].reshape(-1, *weight.shape[1:]).astype(np.float32)


def position_similarity(network: ViT) -> NDArray[np.float32] | None:
    """The cosine of the position embeddings of every two patches (ViT paper, figure 7, centre).

    Args:
        network (ViT): whose position embedding is taken.

    Returns:
        array: (rows, columns, rows, columns) of patches, from -1 to 1; None of a network without positions.

    Example:
        >>> position_similarity(create_model("vit_t_16")).shape
        (14, 14, 14, 14)
    """
    if network.pos_embedding is None:
        return None
    positions = network.pos_embedding.asnumpy()[0, network.num_prefix_tokens:].astype(np.float64)  # (patches, D)
    lengths = np.linalg.norm(positions, axis=1, keepdims=True)
    unit = positions / np.where(lengths > 0, lengths, 1)
    return (unit @ unit.T).reshape(*network.patch_embedding.grid * 2).astype(np.float32)


def attention_distances(weights: NDArray[np.float32], grid: tuple[int, int],
                        patch_size: tuple[int, int]) -> NDArray[np.float64]:
    """How far each head looks: the distance of each patch from the others, weighted by what it takes from them, in the
    mean over patches and images (ViT paper, figures 7, right, and 11, and appendix D.7).

    Args:
        weights (array): attention weights (B, layers, heads, N, N); what goes to the class token is left out.
        grid (int, int): rows and columns of patches.
        patch_size (int, int): height and width of a patch in pixels.

    Returns:
        array: (layers, heads), in pixels.

    Example:
        >>> weights = np.full((1, 1, 1, 4, 4), 0.25)
        >>> attention_distances(weights, (2, 2), (16, 16)).round(2)
        array([[13.66]])
    """
    places = np.indices(grid).reshape(2, -1).T * patch_size  # (patches, 2)
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    among = weights[..., -len(places):, -len(places):].astype(np.float64)
    return ((among * distances).sum(-1) / among.sum(-1)).mean((0, -1))
