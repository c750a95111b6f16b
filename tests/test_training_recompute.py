"""Recompute: in the forms that Ascend and GPU get the same gradients; elsewhere refused."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from tiny import TINY, images

from mindvit import CrossEntropySmooth, ViT, kernels
from mindvit.cli import main
from mindvit.training import loop


@pytest.mark.parametrize("level, tolerance", [("O0", 1e-6), ("O2", 2e-3)])
@pytest.mark.parametrize("changes", [
    {}, {"keep_prob": 0.8, "attention_keep_prob": 0.7, "drop_path_keep_prob": 0.5},
    {"num_layers": 4, "drop_path_keep_prob": 0.5, "distilled": True, "activation": "gelu"}], ids=["", "drops", "deit"])
def test_recomputed_blocks_have_the_same_gradients(changes, level, tolerance, graph_mode, monkeypatch):
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    gradients = []
    for recompute in (False, True):
        ms.set_seed(1)
        network = ViT(**{**TINY, **changes})
        forward = network if level == "O0" else ms.amp.auto_mixed_precision(network, level)
        for block in network.transformer.layers if recompute else ():
            block.recompute()
        cell = nn.WithLossCell(forward, CrossEntropySmooth(num_classes=10)).set_train()
        gradient = ms.ops.GradOperation(get_by_list=True)(cell, list(network.trainable_params()))
        found = gradient(ms.Tensor(images(4, 3, 32, 32)), ms.Tensor(np.arange(4, dtype=np.int32)))
        gradients.append([value.asnumpy() for value in found])
    for plain, again in zip(*gradients):
        np.testing.assert_allclose(again, plain, atol=tolerance * np.abs(plain).max() + 1e-7)


@pytest.mark.parametrize("flags, where", [([], "on a CPU"), (["--mode", "pynative"], "on a CPU")])
def test_where_it_would_be_wrong_it_is_refused(flags, where, digit_folder, capsys):
    words = ["train", "--data.root", str(digit_folder), "--model.name", "vit_t_16", "--model.image_size", "32"]
    assert main([*words, "--train.recompute", "true", "--train.batch_size", "8", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mindvit train: train.recompute is true, but {where} ") and "train.accumulate" in error


def test_it_comes_after_the_casts_of_o2(digit_folder, capsys, monkeypatch):
    """Else the casts of the norms' outputs are kept."""
    def stop(network, device):
        raise ValueError(f"the norm is {network.transformer.layers[0].norm1}")

    monkeypatch.setattr(loop, "recompute", stop)
    words = ["train", "--data.root", str(digit_folder), "--model.name", "vit_t_16", "--model.image_size", "32"]
    assert main([*words, "--train.recompute", "true", "--train.batch_size", "8", "--amp_level", "O2"]) == 2
    assert "the norm is _OutputTo16" in capsys.readouterr().err
