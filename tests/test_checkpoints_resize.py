"""Weights for another image size, patch size or number of channels."""


import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from stored import DATA, case_file
from tiny import TINY

from mindvit import (
    ViT,
    from_checkpoint,
    load_weights,
    save_weights,
)
from mindvit.checkpoints.resize import resize_kernel, resize_pos_embedding


@pytest.mark.parametrize("grid", [(24, 24), (10, 10), (16, 20)])
def test_position_embedding_equals_timm(grid, tmp_path):
    oracle = np.load(DATA / "timm_pos_embed_resize.npz")
    expected = oracle[f"bicubic_{grid[0]}" if grid[0] == grid[1] else f"bicubic_{grid[0]}x{grid[1]}"]
    np.testing.assert_allclose(resize_pos_embedding(oracle["before"], 1, (14, 14), grid), expected, atol=1e-5)

    source = ViT(**TINY | {"image_size": 14 * 8, "num_layers": 1})
    source.pos_embedding.set_data(ms.Tensor(oracle["before"]))
    path = str(tmp_path / "source.ckpt")
    save_weights(source, path)
    network = ViT(**TINY | {"image_size": (grid[0] * 8, grid[1] * 8), "num_layers": 1})
    report = load_weights(network, path)
    assert report.resized == ["pos_embedding"] and not report.replaced
    np.testing.assert_allclose(network.pos_embedding.asnumpy(), expected, atol=1e-5)


def test_patch_kernel_of_a_larger_patch_gives_the_same_tokens():
    rng = np.random.default_rng(0)
    kernel, patch = rng.normal(size=(5, 3, 8, 8)).astype(np.float32), rng.normal(size=(3, 8, 8)).astype(np.float32)
    larger = np.stack([Image.fromarray(channel).resize((24, 16), Image.Resampling.BICUBIC) for channel in patch])
    tokens = np.einsum("dcij,cij->d", kernel, patch)
    np.testing.assert_allclose(np.einsum("dcij,cij->d", resize_kernel(kernel, (16, 24)), larger), tokens, atol=1e-3)


def test_channels_and_patch_size_are_fitted():
    path = case_file("timm_vit")
    original = load_file(path)["patch_embed.proj.weight"]
    gray = from_checkpoint(path, num_heads=4, input_channels=1)
    np.testing.assert_allclose(gray.patch_embedding.conv.weight.asnumpy(), original.sum(1, keepdims=True), rtol=1e-6)
    five = from_checkpoint(path, num_heads=4, input_channels=5)
    repeated = original[:, [0, 1, 2, 0, 1]] * 0.6
    np.testing.assert_allclose(five.patch_embedding.conv.weight.asnumpy(), repeated, rtol=1e-6)
    network = ViT(**TINY | {"patch_size": 16, "image_size": 64})
    assert load_weights(network, path).resized == ["patch_embedding.conv.weight"]
    with pytest.raises(ValueError, match=r"timm_vit.*pos_embedding.*33.*square"):
        load_weights(ViT(**TINY), case_file("timm_vit_rectangular"))
