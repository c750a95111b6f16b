"""Loss and accuracy of an epoch, counted on the device: right with data sink too, and without touching training."""

import contextlib
import csv
import re

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
import reference
from mindspore import Tensor, nn, ops
from mindspore.train import RunContext
from tiny import TINY

from mindvit import CrossEntropySmooth, LossMonitor, ViT, build_model, use_device
from mindvit.training.callbacks import EpochRecords, write_metrics
from mindvit.training.loss import LOSSES, CountedLoss
from mindvit.training.metrics import MeanCrossEntropy

RNG = np.random.default_rng(3)
IMAGES, LABELS = RNG.normal(0, 1, (6, 8, 3, 32, 32)).astype(np.float32), RNG.integers(0, 10, (6, 8)).astype(np.int32)


def tiny(**changes):
    ms.set_seed(4)
    return ViT(**{**TINY, "num_layers": 1, **changes})


def step(loss, amp_level="O0", mode="graph", lr=0.01, **changes):
    network = tiny(**changes)
    device = use_device("CPU", amp_level, mode=mode)
    model = build_model(network, device, loss, nn.Adam(network.trainable_params(), lr))
    return network, model.train_network.set_train()


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_gradients_are_the_same_numbers(mode):
    use_device("CPU", mode=mode)
    gradients = []
    for loss in (CrossEntropySmooth(smooth_factor=0.1, num_classes=10),
                 CountedLoss(CrossEntropySmooth(smooth_factor=0.1, num_classes=10))):
        network = tiny()
        whole = nn.WithLossCell(network, loss).set_train()
        gradient = ops.value_and_grad(whole, None, network.trainable_params())
        value, found = gradient(Tensor(IMAGES[0]), Tensor(LABELS[0]))
        gradients.append([value.asnumpy(), *(one.asnumpy() for one in found)])
    assert len(gradients[0]) > 15 and all((a == b).all() for a, b in zip(*gradients))


@pytest.mark.parametrize("amp_level, changes", [("O0", {}), ("O2", {}), ("O2", {"distilled": True})])
def test_a_training_is_the_same_bit_for_bit_and_is_counted(amp_level, changes):
    runs = []
    for counted in (False, True):
        loss = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)
        loss = CountedLoss(loss) if counted else loss
        network, train = step(loss, amp_level, **changes)
        losses = [float(train(Tensor(x), Tensor(y))) for x, y in zip(IMAGES, LABELS)]
        runs.append((losses, {p.name: p.asnumpy() for p in network.get_parameters()}))
    assert runs[0][0] == runs[1][0]
    assert all((value == runs[1][1][name]).all() for name, value in runs[0][1].items())
    assert loss.means()[0] == pytest.approx(np.mean(runs[1][0]), rel=1e-6)
    loss.clear()
    train(Tensor(IMAGES[0]), Tensor(LABELS[0]))
    assert loss.totals.asnumpy()[2] == 8


def test_the_means_are_those_of_logits_in_float64():
    """With learning rate 0 every batch meets the same weights."""
    loss = CountedLoss(CrossEntropySmooth(smooth_factor=0.1, num_classes=10))
    network, train = step(loss, lr=0.0)
    for x, y in zip(IMAGES, LABELS):
        train(Tensor(x), Tensor(y))
    weights = {p.name: p.asnumpy() for p in network.get_parameters()}
    logits = reference.vit(weights, IMAGES.reshape(-1, 3, 32, 32), patch=(8, 8), heads=4)
    smoothed = np.full((48, 10), 0.1 / 9)
    smoothed[np.arange(48), LABELS.reshape(-1)] = 0.9
    mean, accuracy = loss.means()
    assert mean == pytest.approx(reference.cross_entropy(logits, smoothed).mean(), rel=1e-4)
    assert accuracy == (logits.argmax(1) == LABELS.reshape(-1)).mean()


def test_evaluation_is_not_counted():
    loss = CountedLoss(CrossEntropySmooth(num_classes=10))
    network = tiny()
    model = build_model(network, use_device("CPU"), loss, nn.Adam(network.trainable_params(), 0.01), {"loss"})
    batches = ds.NumpySlicesDataset((IMAGES[0], LABELS[0]), ["image", "label"], shuffle=False).batch(4)
    model.train(1, batches, dataset_sink_mode=False)
    before = loss.totals.asnumpy()
    model.eval(batches, dataset_sink_mode=False)
    assert (loss.totals.asnumpy() == before).all() and before[2] == 8
    model.train(1, batches, dataset_sink_mode=False)
    assert loss.totals.asnumpy()[2] == 16  # it counts again


class Params(dict):
    """MindSpore's callback parameters: a dict whose items are attributes too."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def sink_epochs(loss, train, callbacks):
    """Two epochs as `Model.train` runs them with data sink: one step_end an epoch, after its last step."""
    params = Params(loss_fn=loss, dataset_sink_mode=True, batch_num=3, epoch_num=2, cur_step_num=0)
    context = RunContext(params)
    losses = [[], []]
    for callback in callbacks:
        callback.on_train_begin(context)
    for epoch in range(2):
        params.cur_epoch_num = epoch + 1
        for callback in callbacks:
            callback.on_train_epoch_begin(context)
            callback.on_train_step_begin(context)
        for i in range(3):
            params.net_outputs = train(Tensor(IMAGES[3 * epoch + i]), Tensor(LABELS[3 * epoch + i]))
            losses[epoch].append(float(params.net_outputs))
        params.cur_step_num += 3
        for callback in callbacks:
            callback.on_train_step_end(context)
        for callback in callbacks:
            callback.on_train_epoch_end(context)
    return losses


class Validated:
    """A Model whose validation is done, and its step."""

    averaged, measures = contextlib.nullcontext, dict

    def eval(self, *arguments, **options):
        return {"Top_1_Accuracy": 0.5}

    @property
    def step(self):
        return self


def test_with_data_sink_the_epochs_loss_is_its_mean(tmp_path, capsys):
    loss = CountedLoss(CrossEntropySmooth(num_classes=10))
    _, train = step(loss)
    records = EpochRecords(Validated(), Validated().eval, 0.01,
                           [lambda rows: write_metrics(rows, tmp_path / "metrics.csv")])
    losses = sink_epochs(loss, train, [LossMonitor(0.01), records])
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == pytest.approx(np.mean(losses, 1), rel=1e-6)
    assert all(float(row["train_Top_1_Accuracy"]) * 24 % 1 == 0 for row in rows)
    printed = capsys.readouterr().out
    assert f"avg loss: {np.mean(losses[1]):5.3f}" in printed and "last loss" not in printed


def test_with_data_sink_a_users_own_loss_is_called_the_last(capsys):
    loss = CrossEntropySmooth(num_classes=10)
    losses = sink_epochs(loss, step(loss)[1], [LossMonitor(0.01)])
    printed = capsys.readouterr().out
    assert re.findall(r"last loss:\[(.*?)\]", printed) == [f"{epoch[-1]:5.3f}" for epoch in losses]
    assert f"last loss: {losses[1][-1]:5.3f}" in printed and "avg loss" not in printed


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smooth_factor", [0.0, 0.1])
def test_loss_is_the_formula(sparse, reduction, smooth_factor):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 5, (6, 7)).astype(np.float32), rng.integers(0, 7, 6)
    smoothed = np.full((6, 7), smooth_factor / 6)
    smoothed[np.arange(6), labels] = 1 - smooth_factor
    expected = reference.cross_entropy(logits, smoothed)
    expected = {"mean": expected.mean(), "sum": expected.sum(), "none": expected}[reduction]
    loss = CrossEntropySmooth(sparse, reduction, smooth_factor, classes_num=7)
    target = Tensor(labels.astype(np.int32) if sparse else np.eye(7, dtype=np.float32)[labels])
    np.testing.assert_allclose(loss(Tensor(logits), target).asnumpy(), expected, rtol=1e-5)


def test_loss_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"smooth_factor is 1.0; it lies in \[0, 1\)"):
        CrossEntropySmooth(smooth_factor=1.0)
    with pytest.raises(ValueError, match="needs at least 2 classes, not 1"):
        CrossEntropySmooth(smooth_factor=0.1, num_classes=1)
    with pytest.raises(ValueError, match=r"logits have shape \(2, 7\); this loss takes \(batch, 5\)"):
        CrossEntropySmooth(num_classes=5)(Tensor(np.zeros((2, 7), np.float32)), Tensor(np.zeros(2, np.int32)))


def test_validation_loss_counts_every_image_once():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 30, (10, 4)), rng.integers(0, 4, 10)
    metric = MeanCrossEntropy()
    for part in (slice(0, 8), slice(8, 10)):
        metric.update(Tensor(logits[part], ms.float32), Tensor(labels[part], ms.int32))
    expected = reference.cross_entropy(logits.astype(np.float32), np.eye(4)[labels]).mean()
    assert metric.eval() == pytest.approx(expected) and metric.images == 10


@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_binary_cross_entropy_is_its_formula(smooth):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 30, (5, 4)), rng.integers(0, 4, 5)
    targets = np.where(np.eye(4)[labels], 1 - smooth, smooth / 3)
    expected = -(targets * -np.logaddexp(0, -logits) + (1 - targets) * -np.logaddexp(0, logits)).mean()
    for sparse, given in ((True, labels.astype(np.int32)), (False, np.eye(4, dtype=np.float32)[labels])):
        loss = LOSSES["binary_cross_entropy"](sparse=sparse, smooth_factor=smooth, num_classes=4)
        assert float(loss(Tensor(logits, ms.float32), Tensor(given))) == pytest.approx(expected, rel=1e-5)


def test_mixed_images_count_by_their_larger_share():
    loss = CountedLoss(LOSSES["cross_entropy"](sparse=False, num_classes=3)).set_train()
    loss.clear()
    targets = np.float32([[0.6, 0.4, 0], [0.3, 0, 0.7], [0, 1, 0]])
    loss(Tensor(np.float32([[2, 1, 0], [2, 0, 1], [0, 2, 1]])), Tensor(targets))
    assert loss.means()[1] == pytest.approx(2 / 3)
