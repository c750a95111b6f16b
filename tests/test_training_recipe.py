"""A whole recipe, step by step, beside PyTorch with timm's network and groups."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from mindvit import CrossEntropySmooth, TrainConfig, from_checkpoint, learning_rates, save_weights
from mindvit.optim.optimizers import build_optimizer
from mindvit.optim.step import TrainStep

STEPS, K = 20, 10
CONFIG = TrainConfig(lr=2e-3, optimizer={"adamw": {"beta2": 0.95}}, weight_decay=0.05, layer_decay=0.8, clip_norm=0.5,
                     accumulate=2, ema=0.9, smooth_factor=0.09)
RATES = learning_rates(CONFIG.lr, 2, STEPS // 4, 0.5)  # two epochs of ten batches, five moves each


def batches():
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (STEPS, 8, 3, 32, 32)).astype(np.float32), rng.integers(0, K, (STEPS, 8)).astype(np.int32)


@pytest.mark.libraries
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
def test_twenty_steps_of_the_adamw_recipe_are_pytorchs(mode, tmp_path):
    import timm
    import torch
    from safetensors.numpy import load_file
    from safetensors.torch import save_file
    from timm.optim import param_groups_layer_decay
    from timm.utils import ModelEmaV2

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=32, num_heads=4,
                              num_classes=K)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    save_file(model.state_dict(), tmp_path / "start.safetensors")
    groups = param_groups_layer_decay(model, CONFIG.weight_decay, model.no_weight_decay(),
                                      layer_decay=CONFIG.layer_decay)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    average = ModelEmaV2(model, CONFIG.ema)
    cross_entropy = torch.nn.CrossEntropyLoss(label_smoothing=CONFIG.smooth_factor * K / (K - 1))
    losses, shortened = [], 0
    for step, (images, labels) in enumerate(zip(*batches())):
        loss = cross_entropy(model(torch.tensor(images)), torch.tensor(labels, dtype=torch.long))
        losses.append(loss.item())
        (loss / CONFIG.accumulate).backward()
        if step % CONFIG.accumulate:
            shortened += torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip_norm) > CONFIG.clip_norm
            for group in optimizer.param_groups:
                group["lr"] = RATES[step // CONFIG.accumulate] * group["lr_scale"]
            optimizer.step()
            optimizer.zero_grad()
            average.update(model)
    assert 0 < shortened

    ms.set_context(mode=mode)
    network = from_checkpoint(tmp_path / "start.safetensors", num_heads=4)
    loss = nn.WithLossCell(network, CrossEntropySmooth(smooth_factor=CONFIG.smooth_factor, num_classes=K))
    step = TrainStep(loss, build_optimizer(CONFIG, network.trainable_params(), RATES, 2), CONFIG.accumulate,
                     STEPS // 2, CONFIG.clip_norm, CONFIG.ema).set_train()
    ours = [float(step(Tensor(images), Tensor(labels)).asnumpy()) for images, labels in zip(*batches())]
    np.testing.assert_allclose(ours, losses, rtol=2e-5)
    assert losses[-1] < losses[0]
    for name, theirs in (("weights", model), ("average", average.module)):
        save_weights(network, tmp_path / f"{name}.safetensors", "timm")
        found = load_file(tmp_path / f"{name}.safetensors")
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-3, atol=2e-5, err_msg=f"{name} {key}")
        step.swap_average()
