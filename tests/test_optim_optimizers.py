"""AdamW against its formula and PyTorch's, and what decays."""

import pathlib
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from tiny import TINY

from mindvit import AdamW, TrainConfig, ViT, learning_rates
from mindvit.optim.groups import is_decayed
from mindvit.optim.optimizers import build_optimizer

STEPS, DECAY = 30, 0.3
RATES = learning_rates(0.05, 3, 10, 1)


class Two(nn.Cell):
    """A weight, which decays, and a bias, which does not; the loss is a curved function of both."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(weight, ms.float32)), Parameter(Tensor(bias, ms.float32))

    def construct(self, x):
        weight, bias = self.weight.astype(x.dtype), self.bias.astype(x.dtype)  # float16 under O2
        return ((x @ weight + bias) ** 2).mean() + (weight ** 4).sum() / 10


def start():
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (5, 3)), rng.normal(0, 1e-6, 3), rng.normal(0, 1, (STEPS, 4, 5))


def trained(mode, rates, amp_level="O0"):
    weight, bias, batches = start()
    ms.set_context(mode=mode)
    network = ms.amp.auto_mixed_precision(Two(weight, bias), amp_level)
    train = nn.TrainOneStepCell(network, AdamW(network.trainable_params(), rates, DECAY)).set_train()
    for x in batches:
        train(Tensor(x, ms.float32))
    return {parameter.name: parameter.asnumpy() for parameter in network.trainable_params()}


def by_the_formula(rates, beta1=0.9, beta2=0.999, eps=1e-8):
    """Algorithm 2 of Loshchilov and Hutter in float64, with the learning rate as its schedule multiplier."""
    weight, bias, batches = start()
    values, decay = [weight, bias], (DECAY, 0)
    m, v = ([np.zeros_like(value) for value in values] for _ in range(2))
    for t, (x, lr) in enumerate(zip(batches, rates), 1):
        out = 2 * (x @ values[0] + values[1]) / 12
        for i, g in enumerate((x.T @ out + 0.4 * values[0] ** 3, out.sum(0))):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            step = m[i] / (1 - beta1**t) / (np.sqrt(v[i] / (1 - beta2**t)) + eps)
            values[i] = values[i] - lr * (step + decay[i] * values[i])
    return values


@pytest.mark.parametrize("rates", [0.05, RATES], ids=["constant", "list"])
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
def test_adamw_is_the_formula(mode, rates):
    values = trained(mode, rates)
    expected = by_the_formula(rates if isinstance(rates, list) else [rates] * STEPS)
    for value, right in zip(values.values(), expected):
        np.testing.assert_allclose(value, right, rtol=2e-5, atol=2e-6)
    half = trained(mode, rates, "O2")
    assert 0 < np.abs(half["weight"] - expected[0]).max() < 0.02


def moved(name, values, gradients, state, t, lr, decay):
    """One step of another optimizer, by its paper, in float64."""
    if name == "sgd":  # with the decay in the gradient, as in Sutskever et al., 2013, without dampening
        for i, (value, g) in enumerate(zip(values, gradients)):
            state[i] = 0.9 * state.get(i, 0) + g + decay[i] * value
            values[i] = value - lr * state[i]
    elif name == "lion":  # Chen et al., 2023, algorithm 2
        for i, (value, g) in enumerate(zip(values, gradients)):
            m = state.get(i, 0)
            values[i] = value - lr * (np.sign(0.9 * m + 0.1 * g) + decay[i] * value)
            state[i] = 0.99 * m + 0.01 * g
    else:  # You et al., 2020, algorithm 2
        for i, (value, g) in enumerate(zip(values, gradients)):
            m, v = state.get(i, (0, 0))
            state[i] = m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            r = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + decay[i] * value
            values[i] = value - lr * np.linalg.norm(value) / np.linalg.norm(r) * r


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
@pytest.mark.parametrize("name", ["sgd", "lion", "lamb"])
def test_the_other_optimizers_are_their_formulas(name, mode):
    weight, bias, batches = start()
    bias = bias + 0.5
    ms.set_context(mode=mode)
    network = Two(weight, bias)
    rates = [rate / 5 for rate in RATES]
    optimizer = build_optimizer(TrainConfig(optimizer=name, weight_decay=DECAY), network.trainable_params(), rates)
    train = nn.TrainOneStepCell(network, optimizer).set_train()
    values, state = [weight, bias], {}
    for t, (x, lr) in enumerate(zip(batches, rates), 1):
        train(Tensor(x, ms.float32))
        out = 2 * (x @ values[0] + values[1]) / 12
        moved(name, values, (x.T @ out + 0.4 * values[0] ** 3, out.sum(0)), state, t, lr, (DECAY, 0))
    assert np.abs(values[0] - weight).max() > 0.05
    for parameter, right in zip((network.weight, network.bias), values):
        np.testing.assert_allclose(parameter.asnumpy(), right, rtol=1e-4, atol=1e-5)


def test_options_reach_the_optimizer():
    weight, bias, _ = start()
    parameters = Two(weight, bias).trainable_params()
    adamw = build_optimizer(TrainConfig(optimizer={"adamw": {"beta2": 0.95}}, weight_decay=0.1), parameters, 1e-3)
    assert type(adamw) is AdamW and adamw.beta2 == 0.95 and adamw.decay_flags == (True, False)
    sgd = build_optimizer(TrainConfig(optimizer={"sgd": {"momentum": 0.5, "nesterov": True}}), parameters, 1e-3)
    assert float(sgd.momentum.asnumpy()) == 0.5 and sgd.use_nesterov


@pytest.mark.libraries
def test_adamw_is_pytorchs():
    import torch

    weight, bias, batches = start()
    weight, bias = (torch.nn.Parameter(torch.tensor(value)) for value in (weight, bias))
    optimizer = torch.optim.AdamW([{"params": [weight]}, {"params": [bias], "weight_decay": 0}], weight_decay=DECAY)
    for x, lr in zip(batches, RATES):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        (((torch.tensor(x) @ weight + bias) ** 2).mean() + (weight ** 4).sum() / 10).backward()
        optimizer.step()
    values = trained(ms.GRAPH_MODE, RATES)
    np.testing.assert_allclose(values["weight"], weight.detach().numpy(), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(values["bias"], bias.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_the_calls_do_not_grow_with_the_number_of_parameters(graph_mode):
    """Of which MindSpore takes a thousand within each other, and ViT-L has 296 parameters."""
    weights = [Parameter(Tensor(np.ones((2, 2), np.float32)), f"{i}.{('weight', 'cls')[i % 2]}") for i in range(40)]
    optimizer = build_optimizer(TrainConfig(optimizer="adamw", weight_decay=0.05), weights, [1e-3, 1e-4])
    ms.set_recursion_limit(100)
    try:
        optimizer(tuple(Tensor(np.ones((2, 2), np.float32)) for _ in weights))
    finally:
        ms.set_recursion_limit(1000)
    assert all((weight.asnumpy() < 1).all() for weight in weights)


def test_tokens_biases_and_norms_do_not_decay():
    network = ViT(**{**TINY, "num_layers": 1}, distilled=True)
    names = {parameter.name for parameter in network.trainable_params() if is_decayed(parameter)}
    assert network.no_weight_decay() == {parameter.name for parameter in network.get_parameters()} - names
    assert {"cls", "dist", "pos_embedding"} <= {parameter.name for parameter in network.trainable_params()} - names
    assert all(name.endswith(".weight") for name in names) and len(names) == 1 + 4 + 2  # patches, block, two heads


def test_weight_decay_is_adamws():
    weight, bias, _ = start()
    parameters = Two(weight, bias).trainable_params()
    with pytest.raises(ValueError, match="train.weight_decay is 0.05, but adam has none; add --train.optimizer adamw"):
        build_optimizer(TrainConfig(weight_decay=0.05), parameters, 1e-3)
    with pytest.raises(ValueError, match=r"beta2 of lion is 1.5; it lies in \[0, 0.9999"):
        build_optimizer(TrainConfig(optimizer={"lion": {"beta2": 1.5}}), [], 1e-3)
    with pytest.raises(ValueError, match=r"momentum of sgd is -1.0; it lies in \[0, 0.9999"):
        build_optimizer(TrainConfig(optimizer={"sgd": -1}), [], 1e-3)
    with pytest.raises(ValueError, match=r"eps of adam is 0.0; it lies in \[1e-20, 1\]"):
        build_optimizer(TrainConfig(optimizer={"adam": {"eps": 0}}), [], 1e-3)
    with pytest.raises(ValueError, match="train.weight_decay is -0.05; it is a number of at least 0"):
        build_optimizer(TrainConfig(optimizer="adamw", weight_decay=-0.05), parameters, 1e-3)
    assert type(build_optimizer(TrainConfig(), parameters, 1e-3)) is nn.Adam


QUIET = """
import mindspore, numpy
from mindspore import Parameter, Tensor
from mindvit import TrainConfig
from mindvit.optim.optimizers import build_optimizer

build_optimizer(TrainConfig(), [Parameter(Tensor(numpy.ones(3, numpy.float32)), "a")], 1e-3)
mindspore.log.warning("FusedSparseAdam and other warnings")
"""


def test_adam_is_built_without_a_warning_and_other_warnings_stay():
    pathlib.Path("script.py").write_text(QUIET)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)
    assert done.stderr.count("FusedSparseAdam") == 1 and "other warnings" in done.stderr
