import concurrent.futures
import csv
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
import reference
from mindspore import Tensor, nn
from mindspore.train import Model
from PIL import Image

from mindvit import (
    CrossEntropySmooth,
    DataConfig,
    EvalJob,
    LossMonitor,
    ModelConfig,
    TrainConfig,
    TrainJob,
    ValAccMonitor,
    ViT,
    build_model,
    evaluate,
    learning_rates,
    train,
    use_device,
)
from mindvit.training.loop import CONFIG_HEADER, new_run_folder
from mindvit.training.metrics import MeanCrossEntropy

TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 64,
        "num_classes": 10, "init": "timm"}  # timm's start has no zero head, behind which all networks are equal
TINY_OVERRIDES = {"patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 64}
# The suite's published line: Epoch:[  0/ 10], step:[    1/  125], loss:[1.908/1.908], time:9580.221 ms, lr:0.00300
STEP_LINE = (r"Epoch:\[ {2}\d/ {2}2\], step:\[ {4}\d/ {4}3\], loss:\[\d\.\d{3}/\d\.\d{3}\], time:\d+\.\d{3} ms, "
             r"lr:0\.\d{5}")
EPOCH_LINE = r"Epoch time: \d+\.\d{3} ms, per step time: \d+\.\d{3} ms, avg loss: \d\.\d{3}"


def small_set(count=24, batch=8, labels=None, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"image": rng.normal(0, 1, (count, 3, 32, 32)).astype(np.float32),
               "label": np.arange(count, dtype=np.int32) % 10 if labels is None else labels}
    return ds.NumpySlicesDataset(columns, shuffle=False).batch(batch)


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


def test_learning_rates_rise_linearly_and_fall_along_a_cosine():
    lr = learning_rates(0.1, 10, 5, warmup_epochs=2)
    assert len(lr) == 50 and lr[:10] == pytest.approx(0.01 * np.arange(1, 11))
    assert lr[10:] == pytest.approx(0.05 * (1 + np.cos(np.pi * np.arange(40) / 40)))
    with pytest.raises(ValueError, match=r"warmup_epochs is 10; it lies in \[0, 10\)"):
        learning_rates(0.1, 10, 5, 10)


def test_validation_loss_counts_every_image_once():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 30, (10, 4)), rng.integers(0, 4, 10)
    metric = MeanCrossEntropy()
    for part in (slice(0, 8), slice(8, 10)):
        metric.update(Tensor(logits[part], ms.float32), Tensor(labels[part], ms.int32))
    expected = reference.cross_entropy(logits.astype(np.float32), np.eye(4)[labels]).mean()
    assert metric.eval() == pytest.approx(expected) and metric.images == 10


def test_device_is_named_with_its_reason(capsys):
    device = use_device()
    assert (device.target, device.amp_level, device.data_sink) == ("CPU", "O0", False)
    assert "device CPU (auto: neither an Ascend nor a GPU backend is available), graph mode" in capsys.readouterr().out
    assert use_device(amp_level="O2", data_sink=True, mode="pynative").amp_level == "O2"
    with pytest.raises(ValueError, match="device target Ascend has no working backend .* use auto"):
        use_device("Ascend")


def test_loss_monitor_prints_the_suites_lines_and_nan_stops(capsys):
    use_device()
    network = ViT(**TINY)
    lr = learning_rates(0.003, 2, 3)
    model = Model(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), lr))
    capsys.readouterr()
    model.train(2, small_set(), callbacks=[LossMonitor(lr)], dataset_sink_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [bool(re.fullmatch(STEP_LINE, line)) for line in lines] == [True, True, True, False] * 2
    assert re.fullmatch(EPOCH_LINE, lines[3]) and lines[0].endswith("lr:0.00300") and "step:[    1/    3]" in lines[4]
    model = Model(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), lr))
    network.dense.bias.set_data(Tensor(np.full(10, np.nan, np.float32)))
    with pytest.raises(ValueError, match=r"the loss is nan at step 1 \(epoch 1\); training stops"):
        model.train(1, small_set(), callbacks=[LossMonitor(lr)], dataset_sink_mode=False)


def test_val_acc_monitor_keeps_best_and_last(tmp_path, capsys):
    class Scripted(Model):
        """A model whose validations follow a script; its training is real."""

        script = iter([0.5, 0.75, 0.6])

        def eval(self, *args, **kwargs):
            return {"Top_1_Accuracy": next(self.script)}

    network = ViT(**TINY)
    model = Scripted(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), 1e-3))
    seen = {}

    class Watch(ms.train.Callback):
        def on_train_epoch_end(self, run_context):
            params = run_context.original_args()
            seen[params.cur_epoch_num] = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
            assert set(params.eval_results) == {"Top_1_Accuracy"}

    model.train(3, small_set(), callbacks=[ValAccMonitor(model, None, 3, ckpt_directory=tmp_path), Watch()],
                dataset_sink_mode=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
    for name, epoch in (("best", 2), ("last", 3)):
        saved = ms.load_checkpoint(str(tmp_path / f"{name}.ckpt"))
        assert set(saved) - {"mindvit"} == set(seen[epoch])
        assert all((saved[key].asnumpy() == value).all() for key, value in seen[epoch].items())
    assert "Top_1_Accuracy: 0.6000, best: 0.7500\n" in capsys.readouterr().out


def test_a_second_training_does_not_replace_better_weights(tmp_path):
    """One ValAccMonitor over two calls of Model.train, as when a training is continued in a program."""
    class Scripted(ms.train.Model):
        script = iter([0.9, 0.5])

        def eval(self, *args, **kwargs):
            return {"Top_1_Accuracy": next(self.script)}

    network = ViT(**TINY)
    model = Scripted(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), 1e-3))
    monitor = ValAccMonitor(model, None, ckpt_directory=tmp_path)
    model.train(1, small_set(), callbacks=[monitor], dataset_sink_mode=False)
    best = (tmp_path / "best.ckpt").read_bytes()
    model.train(1, small_set(), callbacks=[monitor], dataset_sink_mode=False)
    assert (tmp_path / "best.ckpt").read_bytes() == best != (tmp_path / "last.ckpt").read_bytes()


def test_o2_runs_in_float16_and_agrees_with_o0():
    images = Tensor(np.random.default_rng(0).normal(0, 1, (8, 3, 32, 32)).astype(np.float32))
    ms.set_seed(1)
    network = ViT(**{**TINY, "num_layers": 4}, distilled=True).set_train(False)
    full = build_model(network, use_device()).predict(images).asnumpy()
    half = build_model(network, use_device(amp_level="O2")).predict(images)
    assert half.dtype == ms.float32 and {p.dtype for p in network.get_parameters()} == {ms.float32}
    difference = np.abs(half.asnumpy() - full).max() / np.ptp(full)
    assert 1e-5 < difference < 2e-2  # above float32's rounding, so the float16 is real
    ms.set_context(mode=ms.PYNATIVE_MODE)
    assert network.patch_embedding(images).dtype == ms.float16


def job(digits, out, **changes):
    return TrainJob(**{"data": DataConfig(str(digits), augment=[{"random_crop": [0.6, 1.0]}]), "out": str(out),
                       "model": ModelConfig("vit_t_16", image_size=32, overrides=TINY_OVERRIDES),
                       "train": TrainConfig(epochs=3, batch_size=20, lr=3e-3, seed=7), **changes})


@pytest.mark.parametrize("amp_level", ["O0", "O2"])
def test_training_leaves_a_run_folder_and_the_loss_falls(digit_folder, tmp_path, amp_level):
    results = train(job(digit_folder, tmp_path / "run", amp_level=amp_level))
    names = {"best.ckpt", "last.ckpt", "classes.txt", "config.yaml", "metrics.csv", "metrics.json", "curves.png"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows]
    assert len(losses) == 3 and losses[2] < losses[0] and losses[2] < np.log(10)
    assert results["images"] == 40 and results["amp_level"] == amp_level
    assert results.pop("folder") == str(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == results
    assert Image.open(tmp_path / "run" / "curves.png").size == (1200, 480)
    assert (tmp_path / "run" / "classes.txt").read_text().split("\n")[:2] == ["class 0", "class 1"]
    with pytest.raises(FileExistsError, match="already holds a run .*use --out .*run-2, --out auto"):
        train(job(digit_folder, tmp_path / "run"))


def test_a_run_without_a_finished_epoch_is_replaced_and_auto_takes_a_free_name(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    assert new_run_folder(folder, "x") == folder and new_run_folder(folder, "x") == folder
    (folder / "config.yaml").write_text(CONFIG_HEADER + "out: a\n")
    (folder / "classes.txt").write_text("cat\ndog\n")
    assert new_run_folder(folder, "x") == folder  # stopped in its first epoch
    (folder / "config.yaml").write_text("mine: true\n")
    with pytest.raises(FileExistsError, match=r"already holds a run \(config.yaml\)"):
        new_run_folder(folder, "x")
    for name in ("metrics.csv", "last.ckpt", "best.ckpt"):
        (tmp_path / name.split(".")[0]).mkdir()
        (tmp_path / name.split(".")[0] / name).write_text("")
        with pytest.raises(FileExistsError, match=f"use --out .*{name.split('.')[0]}-2, --out auto"):
            new_run_folder(tmp_path / name.split(".")[0], "x")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder("auto", "runs/train"), range(8)))
    assert sorted(map(str, folders)) == ["runs/train", *(f"runs/train-{i}" for i in range(2, 9))]


def test_the_test_images_are_evaluated_once_with_the_best_weights(digit_folder, tmp_path, capsys):
    """train/ and test/ without val/: validation is held out of train/, the test is measured as `eval` measures it."""
    root = tmp_path / "digits"
    shutil.copytree(digit_folder / "train", root / "train")
    shutil.copytree(digit_folder / "val", root / "test")
    results = train(job(root, tmp_path / "run", train=TrainConfig(epochs=2, batch_size=20, lr=3e-3, seed=7)))
    printed = capsys.readouterr().out
    held_out = results["images"]
    assert f"no {root / 'val'}: {held_out} of the 160 images in {root / 'train'} are held out for validation" in printed
    assert f"{160 - held_out} training and {held_out} validation images" in printed
    assert f"on {held_out} validation images" in printed and f"on 40 images in {root / 'test'}" in printed
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()).items() <= results.items()
    again = evaluate(EvalJob(data=DataConfig(test=str(root / "test")), checkpoint=str(tmp_path / "run" / "best.ckpt"),
                             model=ModelConfig("vit_t_16", overrides=TINY_OVERRIDES)))
    test = results["test"]
    assert test["images"] == 40 and test["Top_1_Accuracy"] == again["Top_1_Accuracy"]
    assert test["val_loss"] == pytest.approx(again["val_loss"], rel=1e-5)


PYNATIVE = """
import sys

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn
from mindspore.train import Model

from mindvit import CrossEntropySmooth, LossMonitor, ValAccMonitor, ViT

if sys.argv[1] == "graph":
    ms.set_context(mode=ms.GRAPH_MODE)
network = ViT(32, patch_size=16, embed_dim=32, num_layers=1, num_heads=1, mlp_dim=32, num_classes=2)
columns = np.ones((2, 3, 32, 32), np.float32), np.array([0, 1], np.int32)
data = ds.NumpySlicesDataset(columns, ["image", "label"]).batch(2)
model = Model(network, CrossEntropySmooth(num_classes=2), nn.Adam(network.trainable_params()), metrics={"Top_1_Accuracy"
              : ms.train.Top1CategoricalAccuracy()})
for _ in range(2):
    model.train(1, data, callbacks=[LossMonitor(), ValAccMonitor(model, data)], dataset_sink_mode=False)
"""


@pytest.mark.parametrize("mode, lines", [("default", 1), ("graph", 0)])
def test_pynative_is_noticed_once_a_process(mode, lines):
    pathlib.Path("script.py").write_text(PYNATIVE)
    done = subprocess.run([sys.executable, "script.py", mode], capture_output=True, text=True, check=True)
    assert done.stdout.count("mindspore.set_context(mode=mindspore.GRAPH_MODE)") == lines
    assert "Top_1_Accuracy: " in done.stdout


def test_adamw_trains_and_pynative_says_nothing_of_a_graph(digit_folder, capsys):
    """Two trainings that differ in how they run and not in what they compute, with weights that decay."""
    weights = []
    training = TrainConfig(epochs=1, batch_size=40, lr=3e-3, optimizer="adamw", weight_decay=10.0)
    for mode in ("graph", "pynative"):
        results = train(job(digit_folder, "auto", mode=mode, train=training))
        weights.append(ms.load_checkpoint(f"{results['folder']}/last.ckpt"))
        assert ("the first step compiles the graph" in capsys.readouterr().out) == (mode == "graph")
    results = train(job(digit_folder, "auto", train=dataclasses.replace(training, weight_decay=0.0)))
    weights.append(ms.load_checkpoint(f"{results['folder']}/last.ckpt"))
    assert results["folder"] == "runs/train-3"
    graph, pynative, undecayed = (part["transformer.layers.1.1.cell.1.dense1.weight"].asnumpy() for part in weights)
    np.testing.assert_allclose(graph, pynative, rtol=1e-2, atol=1e-3)
    assert np.linalg.norm(graph) < 0.97 * np.linalg.norm(undecayed)


@pytest.mark.parametrize("changes, message", [
    ({"data": DataConfig("nowhere")}, "nowhere"), ({"model": ModelConfig("vit_t_16", image_size=33)}, "33"),
    ({"train": TrainConfig(warmup_epochs=99)}, "warmup_epochs is 99")])
def test_a_refused_run_leaves_no_folder(digit_folder, changes, message):
    with pytest.raises((OSError, ValueError), match=message):
        train(job(digit_folder, "run", **changes))
    assert not pathlib.Path("run").exists()


def test_same_seed_same_run(digit_folder, tmp_path):
    rows = []
    for name in ("a", "b", "c"):
        training = TrainConfig(epochs=1, batch_size=20, lr=3e-3, seed=8 if name == "c" else 7)
        train(job(digit_folder, tmp_path / name, train=training))
        rows.append((tmp_path / name / "metrics.csv").read_text().splitlines()[1].rsplit(",", 1)[0])
    assert rows[0] == rows[1] != rows[2]
    weights = [ms.load_checkpoint(str(tmp_path / name / "last.ckpt")) for name in ("a", "b")]
    assert all((weights[0][key].asnumpy() == weights[1][key].asnumpy()).all() for key in weights[0])
