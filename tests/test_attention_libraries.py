"""Attention weights, gradients and Chefer's relevance against timm and PyTorch's autograd, from the same file."""

import numpy as np
import pytest

from mindvit import Explainer, attention_maps, from_checkpoint, saliency_map

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg", "fc_norm": False}, {"qkv_bias": False}])
def test_relevance_equals_autograd_in_timm(options):
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=7, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_file(model.state_dict(), "timm.safetensors")
    image = np.random.default_rng(0).normal(0, 1, (3, 64, 64)).astype(np.float32)

    kept = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda cell, given, weights: kept.append(weights))
    logits = model(torch.from_numpy(image)[None])[0]
    gradients = torch.autograd.grad(logits[5], kept)
    relevance = torch.eye(17)
    for weights, gradient in zip(kept, gradients):
        relevance = relevance + (gradient * weights)[0].clamp(min=0).mean(0) @ relevance
    rows = relevance[1:].mean(0) - 1 / 16 if options.get("global_pool") == "avg" else relevance[0]

    network = from_checkpoint("timm.safetensors", num_heads=3, pool="mean" if "global_pool" in options else "cls")
    np.testing.assert_allclose(attention_maps(network, image[None])[0],
                               torch.stack(kept)[:, 0].detach().numpy(), atol=1e-6)
    evidence = Explainer(network)(image, target=5)
    np.testing.assert_allclose(evidence.logits, logits.detach().numpy(), atol=1e-5)
    scale = max(float(gradient.abs().max()) for gradient in gradients)
    np.testing.assert_allclose(evidence.attention_gradients, torch.stack(gradients)[:, 0].numpy(), atol=1e-5 * scale)
    np.testing.assert_allclose(saliency_map(evidence, "relevance").ravel(), rows[1:].detach().numpy(), atol=1e-6)
