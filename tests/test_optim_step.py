"""The training step against one big batch, formulas in float64 and averages by hand."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore.common.initializer import initializer

from mindvit.optim.optimizers import AdamW
from mindvit.optim.step import TrainStep

LONGEST = 2.5
MODES = pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])


class Line(nn.Cell):
    """The mean squared distance of x @ weight + bias from y, times a factor."""

    def __init__(self, factor=1.0):
        super().__init__()
        rng = np.random.default_rng(1)
        self.weight = Parameter(initializer("normal", (6, 3)))
        self.bias = Parameter(initializer("normal", 3))
        for parameter in (self.weight, self.bias):  # as a checkpoint is loaded
            parameter.set_data(Tensor(rng.normal(0, 1, parameter.shape), ms.float32))
        self.factor = factor

    def construct(self, x, y):
        weight, bias = self.weight.astype(x.dtype), self.bias.astype(x.dtype)  # float16 under O3
        return ((x @ weight + bias - y) ** 2).mean() * self.factor


def batches(count, size=4):
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (count, size, 6)), rng.normal(0, 1, (count, size, 3))


def run(mode, data, optimizer=lambda weights: nn.SGD(weights, 0.1), factor=1.0, **options):
    """The step after these batches."""
    ms.set_context(mode=mode)
    network = Line(factor)
    step = TrainStep(network, optimizer(network.trainable_params()), **options).set_train()
    for x, y in zip(*data):
        step(Tensor(x, ms.float32), Tensor(y, ms.float32))
        with step.averaged():  # as in a validation
            pass
    return step


def values(step):
    return [weight.asnumpy().copy() for weight in step.weights]


def gradients(values, x, y, factor=1.0):
    """In float64."""
    out = 2 * (x @ values[0] + values[1] - y) / y.size * factor
    return [x.T @ out, out.sum(0)]


@MODES
def test_accumulated_batches_equal_one_of_them_all(mode):
    """Ten batches an epoch in groups of 4: 4, 4 and 2, which counts as two."""
    x, y = batches(20)
    step = run(mode, (x, y), lambda weights: AdamW(weights, 0.05), accumulate=4, steps_per_epoch=10)
    groups = [(start, min(start + 4, end)) for begin, end in ((0, 10), (10, 20)) for start in range(begin, end, 4)]
    network = Line()
    whole = TrainStep(network, AdamW(network.trainable_params(), 0.05)).set_train()
    for first, last in groups:
        whole(*(Tensor(part[first:last].reshape(-1, part.shape[2]), ms.float32) for part in (x, y)))
    assert len(groups) == 6 == int(step.optimizer.global_step.asnumpy()[0])
    for ours, right in zip(values(step), values(whole)):
        np.testing.assert_allclose(ours, right, atol=1e-5)
    assert not int(step.batch.asnumpy()) and not int(step.added.asnumpy())


@MODES
def test_long_gradients_are_shortened_to_the_norm(mode):
    x, y = batches(5)
    expected = [value.astype(np.float64) for value in values(run(mode, (x[:0], y[:0])))]
    shortened = 0
    for i in range(5):
        found = gradients(expected, x[i], y[i])
        norm = np.sqrt(sum((gradient**2).sum() for gradient in found))
        shortened += norm > LONGEST
        share = min(1, LONGEST / (norm + 1e-6))
        expected = [value - 0.1 * share * gradient for value, gradient in zip(expected, found)]
    assert 0 < shortened < 5
    for ours, right in zip(values(run(mode, (x, y), clip_norm=LONGEST)), expected):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)


@MODES
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_the_one_by_hand(mode, accumulate):
    x, y = batches(6)
    options = {"accumulate": accumulate, "steps_per_epoch": 6}
    step = run(mode, (x, y), ema=0.7, **options)
    average = values(run(mode, (x[:0], y[:0])))
    for end in range(accumulate, 7, accumulate):
        average = [0.7 * old + 0.3 * new for old, new in zip(average, values(run(mode, (x[:end], y[:end]), **options)))]
    weights = values(step)
    for ours, right in zip(step.average, average):
        np.testing.assert_allclose(ours.asnumpy(), right, rtol=1e-5, atol=1e-6)
    step.swap_average()
    for ours, right, other, weight in zip(values(step), average, step.average, weights):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
        assert (other.asnumpy() == weight).all()


def check_without_batch_3(step, mode, accumulate, x, y):
    """The step's weights are those after the other five of six batches, in float64."""
    expected = [value.astype(np.float64) for value in values(run(mode, (x[:0], y[:0])))]
    for group in ([[0], [1], [2], [4], [5]] if accumulate == 1 else [[0, 1], [2], [4, 5]]):
        found = [gradients(expected, x[i], y[i]) for i in group]
        expected = [value - 0.1 * np.mean(parts, 0) for value, parts in zip(expected, zip(*found))]
    for ours, right in zip(values(step), expected):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)


@MODES
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_overflows_is_left_out_and_the_scale_halved(mode, accumulate):
    x, y = batches(6)
    x[3] = 1e30  # its square overflows float32
    options = {"accumulate": accumulate, "steps_per_epoch": 6}
    scaler = ms.amp.DynamicLossScaler(2.0**10, 2, 2)
    step = run(mode, (x, y), scaler=scaler, **options)
    check_without_batch_3(step, mode, accumulate, x, y)
    assert int(step.skipped.asnumpy()) == 1
    assert float(scaler.scale_value.asnumpy()) == 2.0**11  # doubled after two good ones, halved, doubled after two


def test_a_scaled_loss_keeps_small_gradients_in_float16():
    x, y = batches(3)
    results = {}
    for scaler in (None, ms.amp.StaticLossScaler(2.0**14)):
        ms.set_context(mode=ms.GRAPH_MODE)
        network = ms.amp.auto_mixed_precision(Line(2e-7), "O3")
        step = TrainStep(network, nn.SGD(network.trainable_params(), 1e5), scaler=scaler).set_train()
        for a, b in zip(x, y):
            step(Tensor(a, ms.float32), Tensor(b, ms.float32))
        results[scaler is None] = values(step)
    expected = [value.astype(np.float64) for value in values(run(ms.GRAPH_MODE, (x[:0], y[:0])))]
    for a, b in zip(x, y):
        expected = [value - 1e5 * gradient for value, gradient in zip(expected, gradients(expected, a, b, 2e-7))]
    errors = {plain: max(np.abs(ours - right).max() for ours, right in zip(ours_all, expected))
              for plain, ours_all in results.items()}
    assert errors[False] < 0.02 and errors[True] > 2 * errors[False], errors


def test_a_network_of_200_parameters_compiles(graph_mode):
    """More than ViT-B has; MindSpore gives up at a thousand calls within calls. All have the gradient x, so the step
    is half of LONGEST along the mean x, shared by all."""
    class Many(nn.Cell):
        def __init__(self):
            super().__init__()
            self.all = ParameterTuple([Parameter(Tensor(np.zeros(3), ms.float32), f"p{i}") for i in range(200)])

        def construct(self, x, y):
            return (ops.addn(self.all) * x).sum() + 0 * y

    network = Many()
    step = TrainStep(network, nn.Momentum(network.trainable_params(), 0.5, 0.0), accumulate=2, steps_per_epoch=2,
                     clip_norm=LONGEST, ema=0.5).set_train()
    for x in ([3.0, 0.0, 1.0], [1.0, 2.0, -1.0]):
        step(Tensor(x), Tensor(0.0))
    mean = np.array([2.0, 1.0, 0.0])
    expected = -0.5 * LONGEST * mean / np.linalg.norm(mean) / np.sqrt(200)
    assert len(step.weights) == 200
    for weight, average in zip(step.weights, step.average):
        np.testing.assert_allclose(weight.asnumpy(), expected, rtol=1e-5)
        np.testing.assert_allclose(average.asnumpy(), expected / 2, rtol=1e-5)


@pytest.mark.parametrize("mode, accumulate, what", [
    (ms.GRAPH_MODE, 1, np.nan), (ms.GRAPH_MODE, 2, 1e30), (ms.PYNATIVE_MODE, 2, np.inf)])
def test_a_batch_without_finite_loss_and_gradients_is_left_out(mode, accumulate, what):
    x, y = batches(6)
    x[3] = what
    options = {"accumulate": accumulate, "steps_per_epoch": 6}
    step = run(mode, (x, y), skip=True, **options)
    check_without_batch_3(step, mode, accumulate, x, y)
    assert step.measures()["skipped_batches"] == 1 and int(step.skipped_in_a_row.asnumpy()) == 0
    step = run(mode, (x[[0, 3, 3]], y[:3]), skip=True, **options)
    assert int(step.skipped_in_a_row.asnumpy()) == 2


@pytest.mark.parametrize("mode, accumulate", [(ms.GRAPH_MODE, 2), (ms.PYNATIVE_MODE, 1)])
def test_the_schedule_goes_on_where_batches_are_left_out(mode, accumulate):
    """Else the rates of metrics.csv are not those that were used."""
    x, y = batches(6)
    x[2:4] = np.nan
    rates = np.linspace(0.3, 0.05, 6 // accumulate)
    step = run(mode, (x, y), lambda weights: nn.Momentum(weights, rates.tolist(), 0.0), skip=True,
               accumulate=accumulate, steps_per_epoch=6)
    expected = [value.astype(np.float64) for value in values(run(mode, (x[:0], y[:0])))]
    for move, rate in enumerate(rates):
        group = range(move * accumulate, (move + 1) * accumulate)
        if not {2, 3} & {*group}:
            found = [gradients(expected, x[i], y[i]) for i in group]
            expected = [value - rate * np.mean(parts, 0) for value, parts in zip(expected, zip(*found))]
    for ours, right in zip(values(step), expected):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode, options", [
    (ms.GRAPH_MODE, {}), (ms.GRAPH_MODE, {"accumulate": 2, "steps_per_epoch": 140}),
    (ms.PYNATIVE_MODE, {"clip_norm": LONGEST})], ids=["plain", "accumulated", "clipped"])
def test_the_length_of_gradients_is_followed(mode, options):
    """Their norm before clipping, what is usual, and how many in a row are a hundred times that."""
    x, y = batches(139 * options.get("accumulate", 1))
    x[-12:], y[-12:] = x[-12:] * 1e3, y[-12:] * 1e3
    step = run(mode, (x, y), lambda weights: nn.SGD(weights, 0.0), **options)
    weights, every, usual, long = values(step), options.get("accumulate", 1), 0.0, 0
    for move, first in enumerate(range(0, len(x), every)):
        parts = zip(*(gradients(weights, x[i], y[i]) for i in range(first, first + every)))
        norm = np.sqrt(sum((np.mean(part, 0) ** 2).sum() for part in parts))
        long = long + 1 if move >= 100 and norm > 100 * usual else 0
        usual += max(1 / (move + 1), 0.02) * (min(norm, 2 * usual if move else norm) - usual)
    assert long == 12 // every
    assert float(step.watch.norm.asnumpy()) == pytest.approx(norm, rel=1e-5) == step.measures()["gradient_norm"]
    assert float(step.watch.usual.asnumpy()) == pytest.approx(usual, rel=1e-4)
    assert int(step.watch.long_in_a_row.asnumpy()) == long
