"""Checkpoints of the real libraries at full size, in both directions; run with -m libraries where those are."""

import mindspore as ms
import numpy as np
import pytest

from mindvit.weights import from_checkpoint, load_weights, save_weights
from mindvit.weights.resize import adapt_channels, resize_kernel, resize_pos_embedding

pytestmark = pytest.mark.libraries
torch = pytest.importorskip("torch")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
         "image_size": 32, "patch_size": 8, "num_labels": 5}


def shaken(model):
    """The model in evaluation mode with random numbers added everywhere, also where it starts at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def images(size):
    return np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)


def check(network, model, size, output=lambda result: result):
    """Same outputs within 1e-5 of their spread."""
    with torch.no_grad():
        expected = output(model(torch.from_numpy(images(size)))).numpy()
    found = network(ms.Tensor(images(size))).asnumpy()
    assert np.abs(found - expected).max() / np.ptp(expected) < 1e-5


def same_state(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items()) and first.keys() == second.keys()


def logits(result):
    return result.logits


def test_transformers_vit_base(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = shaken(transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000)))
    model.save_pretrained(tmp_path)
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 224, logits)

    save_weights(network, str(tmp_path / "model.safetensors"), "huggingface")
    again, info = transformers.ViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and same_state(model.state_dict(), again.state_dict())


@pytest.mark.parametrize("name", ["DeiTForImageClassificationWithTeacher", "DeiTForImageClassification", "ViTModel",
                                  "DeiTModel"])
def test_transformers_relatives(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DeiTConfig if name.startswith("DeiT") else transformers.ViTConfig
    cls = getattr(transformers, name)
    model = shaken(cls(config(**SMALL)))
    model.save_pretrained(tmp_path)
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 32, (lambda result: result.pooler_output) if name.endswith("Model") else logits)

    save_weights(network, str(tmp_path / "model.safetensors"), "huggingface")
    again, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and same_state(model.state_dict(), again.state_dict())


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_base_patch16_224_miil",
                                  "deit_tiny_distilled_patch16_224"])
def test_timm(name, tmp_path):
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    model = shaken(timm.create_model(name))
    safetensors.save_model(model, str(tmp_path / "model.safetensors"))
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "model.pth")
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 224)
    assert not load_weights(network, str(tmp_path / "model.pth")).unused

    save_weights(network, str(tmp_path / "back.safetensors"), "timm")
    again = timm.create_model(name)
    again.load_state_dict(safetensors.load_file(str(tmp_path / "back.safetensors")), strict=True)
    assert same_state(model.state_dict(), again.state_dict())


def test_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import load_file
    model = shaken(torchvision.models.vit_b_16())
    torch.save(model.state_dict(), tmp_path / "vit_b_16.pth")
    network = from_checkpoint(str(tmp_path / "vit_b_16.pth"))
    check(network, model, 224)
    save_weights(network, str(tmp_path / "back.safetensors"), "torchvision")
    again = torchvision.models.vit_b_16()
    again.load_state_dict(load_file(str(tmp_path / "back.safetensors")), strict=True)
    assert same_state(model.state_dict(), again.state_dict())


def test_bfloat16_pth_is_exact(tmp_path):
    timm = pytest.importorskip("timm")
    model = shaken(timm.create_model("vit_tiny_patch16_224", depth=1)).bfloat16()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    network = from_checkpoint(str(tmp_path / "model.pt"))
    assert np.array_equal(network.dense.weight.asnumpy(), model.head.weight.detach().float().numpy())


@pytest.mark.parametrize("size", [(24, 24), (10, 10), (14, 14), (7, 30), (16, 20)])
def test_resizing_equals_timm(size):
    timm = pytest.importorskip("timm")
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(1, 198, 16)).astype(np.float32)
    expected = timm.layers.resample_abs_pos_embed(torch.from_numpy(embedding), size, num_prefix_tokens=2)
    np.testing.assert_allclose(resize_pos_embedding(embedding, 2, (14, 14), size), expected.numpy(), atol=1e-5)
    kernel = rng.normal(size=(4, 3, 12, 8)).astype(np.float32)
    expected = timm.layers.resample_patch_embed(torch.from_numpy(kernel), size).numpy()
    np.testing.assert_allclose(resize_kernel(kernel, size), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_channels_equal_timm(channels):
    timm = pytest.importorskip("timm")
    kernel = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    expected = timm.models.adapt_input_conv(channels, torch.from_numpy(kernel)).numpy()
    np.testing.assert_allclose(adapt_channels(kernel, channels), expected, rtol=1e-5, atol=1e-6)
