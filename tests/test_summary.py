"""`mindvit summary` against counters that know nothing of it: numpy's products, and PyTorch's counter on timm."""

import json
import subprocess
import sys

import numpy as np
import pytest
import reference
from tiny import TINY, images, scatter

from mindvit import ViT, create_model
from mindvit.cli import main
from mindvit.summary import inference_bytes, layers_of, size_of, summarize


class Counting(np.ndarray):
    """An array whose products of matrices are counted."""

    macs = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        inputs = [np.asarray(each) for each in inputs]
        if "out" in options:
            options["out"] = tuple(np.asarray(each) for each in options["out"])
        result = getattr(ufunc, method)(*inputs, **options)
        if ufunc is np.matmul:
            Counting.macs += result.size * inputs[0].shape[-1]
        return np.asarray(result).view(Counting)


@pytest.mark.parametrize("case", reference.CASES)
def test_macs_and_parameters_are_those_of_the_formulas(case, monkeypatch):
    arguments, options = reference.CASES[case]
    network = ViT(**{**TINY, **arguments})
    weights, embedding = scatter(network), network.patch_embedding
    rows = layers_of(network)
    assert sum(row.parameters for row in rows) == sum(value.size for value in weights.values())
    monkeypatch.setattr(Counting, "macs", 0)
    monkeypatch.setattr(reference, "softmax", lambda x, axis: x)  # scipy's takes no Counting
    monkeypatch.setattr(reference, "erf", lambda x: x)
    x = images(1, embedding.input_channels, *embedding.image_size).view(Counting)
    reference.vit({name: value.view(Counting) for name, value in weights.items()}, x,
                  **{"patch": embedding.patch_size, "heads": 4, **options})
    assert sum(row.macs for row in rows) == Counting.macs


@pytest.mark.libraries
@pytest.mark.parametrize("name, timm_name", [
    ("vit_b_16", "vit_base_patch16_224"), ("vit_s_32", "vit_small_patch32_224"),
    ("deit_t_16_distilled", "deit_tiny_distilled_patch16_224")])
def test_macs_are_those_that_pytorch_counts_in_timm(name, timm_name):
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    flop_counter = pytest.importorskip("torch.utils.flop_counter")

    model = timm.create_model(timm_name).eval()
    for block in model.blocks:
        block.attn.fused_attn = False  # whose two products the counter does not see on a CPU
    with flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() == 2 * sum(row.macs for row in layers_of(create_model(name)))


@pytest.mark.parametrize("changes", [{}, {"mlp_dim": 16, "num_heads": 8}])
def test_the_memory_of_inference_is_that_counted_in_the_graph(changes):
    """Where the hidden layers, or the attention weights, are the most."""
    sizes = {"image_size": 64, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 128,
             **changes}
    task = {"sizes": sizes, "batches": [32, 64], "recompute": False, "level": "O0", "train": False}
    done = subprocess.run([sys.executable, "-m", "benchmarks.liveness", json.dumps(task)], text=True, check=True,
                          stdout=subprocess.PIPE, cwd=__file__.rsplit("/", 2)[0])
    peaks = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    network = ViT(**sizes)
    assert (peaks[1] - peaks[0]) / 32 == inference_bytes(network, 1) - 4 * size_of(network)


def test_the_command_prints_layers_and_memory(capsys):
    assert main(["summary", "deit_tiny_distilled_patch16_224", "--num_classes", "10"]) == 0
    printed = capsys.readouterr().out
    assert "197" not in printed and "198 tokens, width 192, 12 blocks of 3 heads" in printed
    assert f"{size_of(create_model('deit_t_16_distilled', num_classes=10)):,}" in printed
    assert printed.count("attention") == 1 and "dense_dist" in printed


def test_a_checkpoint_is_summarized_as_what_it_holds(digit_run):
    found = summarize(checkpoint=str(digit_run / "best.ckpt"))
    assert found["layers"][-1]["output"] == (10,) and found["layers"][1]["output"][1] == 192


@pytest.mark.parametrize("words, message", [
    ([], "give either the name of a model or --checkpoint FILE"),
    (["vit_b_16", "--checkpoint", "a.ckpt"], "give either the name of a model or --checkpoint FILE"),
    (["vit_b_61"], "no model is called 'vit_b_61'; did you mean vit_b_16"),
    (["vit_b_16", "--image_size", "100"], "image height 100 is not divisible by patch height 16; use 96 or 112"),
    (["vit_b_16", "--overrides", '{"numheads": 3}'], "ViT has no argument 'numheads'; did you mean num_heads?"),
])
def test_what_is_wrong_is_one_sentence(words, message, capsys):
    assert main(["summary", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
