"""What the ViT paper's figures 7 and 11 show, against scikit-learn and loops."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from mindspore import Tensor
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from tiny import TINY, scatter

from mindvit import ViT, attention_distances, patch_filters, position_similarity, save_figure7


def test_filters_are_principal_components():
    network = ViT(**{**TINY, "patch_size": (8, 4)})
    weights = scatter(network)["patch_embedding.conv.weight"]
    found = patch_filters(network, 5)
    expected = PCA(5).fit(weights.reshape(len(weights), -1).astype(float)).components_
    assert found.shape == (5, 3, 8, 4)
    cosines = (found.reshape(5, -1) * expected).sum(1)  # a component may point either way
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)


def test_similarities_are_cosines():
    network = ViT(**{**TINY, "image_size": (32, 48), "distilled": True})
    positions = scatter(network)["pos_embedding"][0, 2:]
    found = position_similarity(network)
    np.testing.assert_allclose(found.reshape(24, 24), cosine_similarity(positions), atol=1e-6)
    assert found.shape == (4, 6, 4, 6)
    assert position_similarity(ViT(**{**TINY, "pos_embedding": "none"})) is None


def test_distances_by_loops():
    rng = np.random.default_rng(0)
    weights = rng.random((2, 3, 2, 7, 7))  # a class token and 2 x 3 patches
    weights /= weights.sum(-1, keepdims=True)
    expected = np.zeros((3, 2))
    for layer in range(3):
        for head in range(2):
            for image in range(2):
                for query in range(6):
                    row = weights[image, layer, head, 1 + query, 1:]
                    away = [np.hypot(8 * (query // 3 - key // 3), 4 * (query % 3 - key % 3)) for key in range(6)]
                    expected[layer, head] += row @ away / row.sum() / 12
    np.testing.assert_allclose(attention_distances(weights, (2, 3), (8, 4)), expected, rtol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"pos_embedding": "none", "embed_dim": 8, "num_layers": 1},
                                     {"image_size": (8, 256), "pos_embedding": "sincos2d"}])
def test_the_picture_is_drawn_of_any_network(changes):
    network = ViT(**{**TINY, **changes})
    layers = len(network.transformer.layers)
    save_figure7(network, np.ones((layers, 4)), "figure7.png")
    drawn = np.asarray(Image.open("figure7.png").convert("L"))
    thirds = np.array_split(drawn[80:-80], 3, 1)
    assert all(third.std() > 1 for third in thirds)  # nothing is empty


def test_the_picture_of_one_layer_whose_weights_are_zero(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: figures.append(self) or path.touch())
    network = ViT(**{**TINY, "num_layers": 1})
    for parameter in (network.patch_embedding.conv.weight, network.pos_embedding):
        parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure7(network, np.ones((1, 4)), "figure7.png")
    assert [tick for tick in figures[0].axes[2].get_xticks() if -0.5 <= tick <= 0.5] == [0]
