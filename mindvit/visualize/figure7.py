"""The picture of what a network has learned to look at, after the ViT paper's figures 7 and 11."""

import numpy as np
from numpy.typing import NDArray

from mindvit.attention.measures import patch_filters, position_similarity
from mindvit.files import StrPath, replacing
from mindvit.models import ViT

COLUMNS = 7  # filters side by side
LARGEST_GRID = 14  # rows and columns of the similarities that are drawn; of more, as many in equal steps


def save_figure7(network: ViT, distances: NDArray[np.float64], path: StrPath) -> None:
    """Draws patch filters, similarities of position embeddings, and attention distance by depth.

    Args:
        network (ViT): of RGB images.
        distances (array): (layers, heads) in pixels; see `attention_distances`.
        path (str): the file to write.

    Example:
        >>> save_figure7(create_model("vit_t_16", num_layers=2), np.array([[20.0, 90.0, 40.0], [70.0, 60.0, 80.0]]),
        ...              "figure7.png")
    """
    from matplotlib.figure import Figure  # takes long to import, and without pyplot no display is needed

    figure = Figure(figsize=(15, 5), layout="constrained")
    left, centre, right = figure.subplots(1, 3)
    filters = patch_filters(network)
    low, high = (reduce(filters, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    scaled = (filters - low) / np.where(high > low, high - low, 1)
    left.imshow(mosaic(scaled.transpose(0, 2, 3, 1), COLUMNS), interpolation="nearest")
    left.set(title=f"patch filters: the first {len(filters)} principal components")
    similarity = position_similarity(network)
    if similarity is None:
        centre.text(0.5, 0.5, "no position embedding", ha="center")
    else:
        rows, columns = (np.unique(np.linspace(0, side - 1, min(side, LARGEST_GRID)).round().astype(int))
                         for side in similarity.shape[:2])
        tiles = similarity[rows][:, columns].reshape(-1, *similarity.shape[2:])
        drawn = centre.imshow(mosaic(tiles, len(columns)), vmin=-1, vmax=1, interpolation="nearest")
        figure.colorbar(drawn, ax=centre, label="cosine similarity", shrink=0.8)
        centre.set(title="position embeddings: each patch with all others")
    for axes in (left, centre):
        axes.set_axis_off()
    layers = np.arange(len(distances))
    right.plot(np.repeat(layers, distances.shape[1]), distances.ravel(), "o", alpha=0.5, label="a head")
    right.plot(layers, distances.mean(1), color="black", label="mean")
    right.set(title="attention distance by depth", xlabel="layer", ylabel="mean distance, pixels",
              xlim=(-0.5, len(layers) - 0.5), ylim=(0, None))
    right.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    right.grid(alpha=0.3)
    right.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def mosaic(tiles, columns):
    """The tiles (n, height, width, ...) side by side with gaps that are not drawn."""
    count, height, width = tiles.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:]), np.nan)
    if tiles.ndim == 4:
        whole[:] = 1
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        whole[top:top + height, left:left + width] = tile
    return whole
