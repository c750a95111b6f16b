"""The tables of docs/coming-from.md: the names are those of the libraries, and the networks are the same."""

import inspect
import pathlib
import re

import mindspore as ms
import numpy as np
import pytest

from mindvit import ViT, from_checkpoint

PAGE = (pathlib.Path(__file__).parents[1] / "docs/coming-from.md").read_text(encoding="utf-8")


def rows(title):
    """(names there, names here) of a table's rows."""
    table = PAGE.split(f"## {title}")[1].split("##")[0]
    return [tuple(re.findall(r"`([a-z_]+)`", cell) for cell in row)
            for row in re.findall(r"^\| (`.*) \| (`.*) \|$", table, re.MULTILINE)]


@pytest.mark.parametrize("title, least", [("lucidrains' vit-pytorch", 12), ("timm", 20)])
def test_the_names_here_are_arguments_of_vit(title, least):
    known = inspect.signature(ViT).parameters
    assert len(rows(title)) >= least
    for there, here in rows(title):
        assert there and here and here[0] in known, (there, here)


@pytest.mark.libraries
def test_the_names_there_are_arguments_of_the_libraries():
    vit_pytorch, timm = pytest.importorskip("vit_pytorch"), pytest.importorskip("timm")
    known = inspect.signature(vit_pytorch.ViT).parameters
    assert {there[0] for there, _ in rows("lucidrains' vit-pytorch")} == set(known)
    known = inspect.signature(timm.models.vision_transformer.VisionTransformer).parameters
    assert {there[0] for there, _ in rows("timm")} - set(known) == {"representation_size", "distilled"}


@pytest.mark.libraries
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_a_network_built_by_the_table_is_vit_pytorchs(pool):
    torch, vit_pytorch = pytest.importorskip("torch"), pytest.importorskip("vit_pytorch")
    model = vit_pytorch.ViT(image_size=32, patch_size=8, num_classes=5, dim=48, depth=2, heads=3, dim_head=16,
                            mlp_dim=64, channels=2, pool=pool).eval()
    torch.save(model.state_dict(), "model.pth")
    network = ViT(image_size=32, patch_size=8, num_classes=5, embed_dim=48, num_layers=2, num_heads=3, head_dim=16,
                  mlp_dim=64, input_channels=2, activation="gelu", norm_eps=1e-5, qkv_bias=False, patch_norm=True,
                  pool=pool, class_token=pool == "cls")
    assert network.arguments == from_checkpoint("model.pth", num_heads=3, input_channels=2).arguments
    x = torch.randn(2, 2, 32, 32)
    loaded = from_checkpoint("model.pth", num_heads=3, input_channels=2)
    np.testing.assert_allclose(loaded(ms.Tensor(x.numpy())).asnumpy(), model(x).detach().numpy(), atol=1e-5)
