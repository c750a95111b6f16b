"""A training and the run folder it leaves."""

import concurrent.futures
import csv
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from tiny import FLAGS, OVERRIDES, TINY

from mindvit import (
    DataConfig,
    EvalJob,
    ModelConfig,
    PredictJob,
    TrainConfig,
    TrainJob,
    ViT,
    evaluate,
    predict,
    save_weights,
    train,
)
from mindvit.training.loop import CONFIG_HEADER, new_run_folder


def job(digits, out, **changes):
    return TrainJob(**{"data": DataConfig(str(digits), augment=[{"random_crop": [0.6, 1.0]}]), "out": str(out),
                       "model": ModelConfig("vit_t_16", image_size=32, overrides=OVERRIDES),
                       "train": TrainConfig(epochs=3, batch_size=20, lr=3e-3, seed=7), **changes})


@pytest.mark.parametrize("amp_level", ["O0", "O2"])
def test_training_leaves_a_run_folder_and_the_loss_falls(digit_folder, tmp_path, amp_level):
    results = train(job(digit_folder, tmp_path / "run", amp_level=amp_level))
    names = {"best.ckpt", "last.ckpt", "state.safetensors", "state-previous.safetensors", "SHA256SUMS", "classes.txt",
             "config.yaml", "metrics.csv", "metrics.json", "curves.png"}
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
                             model=ModelConfig("vit_t_16", overrides=OVERRIDES)))
    test = results["test"]
    assert test["images"] == 40 and test["Top_1_Accuracy"] == again["Top_1_Accuracy"]
    assert test["val_loss"] == pytest.approx(again["val_loss"], rel=1e-5)


def test_adamw_trains_and_pynative_says_nothing_of_a_graph(digit_folder, capsys):
    """Two trainings that differ in how they run and not in what they compute, with weights that decay."""
    weights, network = [], ModelConfig("vit_t_16", image_size=32, overrides={**OVERRIDES, "mlp_dim": 64})
    training = TrainConfig(epochs=1, batch_size=40, lr=3e-3, optimizer="adamw", weight_decay=10.0)
    for mode in ("graph", "pynative"):
        results = train(job(digit_folder, "auto", mode=mode, model=network, train=training))
        weights.append(ms.load_checkpoint(f"{results['folder']}/last.ckpt"))
        assert ("the first step compiles the graph" in capsys.readouterr().out) == (mode == "graph")
    training = dataclasses.replace(training, weight_decay=0.0)
    results = train(job(digit_folder, "auto", mode="pynative", model=network, train=training))
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


def test_of_two_runs_started_together_one_gets_the_folder(digit_folder):
    """And when it is killed, the other may have it."""
    words = ["train", "--data.root", str(digit_folder), *FLAGS, "--train.batch_size", "8", "--out", "run"]
    command = [sys.executable, "-m", "mindvit", *words, "--train.epochs"]
    runs = [subprocess.Popen([*command, "100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    try:
        ended = next(run for _ in range(600) for run in runs if time.sleep(0.1) or run.poll() is not None)
        error = ended.communicate()[1]
        assert ended.returncode == 2 and error == (
            "mindvit train: another run trains in run; wait until it ends, or use --out run-2\n")
        other = runs[1 - runs.index(ended)]
        assert other.poll() is None
        other.kill()
        other.communicate()
    finally:
        for run in runs:
            run.kill()
    if (pathlib.Path("run") / "last.ckpt").exists():
        shutil.rmtree("run")
    assert subprocess.run([*command, "1"], capture_output=True).returncode == 0


def test_weights_that_the_last_step_broke_are_no_best_epoch(digit_folder):
    """One step of rate 1e38, whose own loss is still finite."""
    broken = job(digit_folder, "run", train=TrainConfig(epochs=1, batch_size=160, lr=1e38))
    with pytest.raises(ValueError, match=r"the validation loss is (nan|inf) after epoch 1 at step 1 \("):
        train(broken)
    assert not {"best.ckpt", "last.ckpt", "metrics.json", "metrics.csv"} & {file.name for file in
                                                                          pathlib.Path("run").iterdir()}


def test_weights_that_give_no_numbers_are_told_by_eval_and_predict(digit_folder):
    """Finite, but too large to compute with; those that are not finite cannot be loaded."""
    network = ViT(**TINY)
    network.dense.weight.set_data(ms.ops.full_like(network.dense.weight, 3e38))
    save_weights(network, "broken.ckpt")
    with pytest.raises(ValueError, match=r"^broken.ckpt gives (nan|inf) as the loss of 40 images: its weights are bro"):
        evaluate(EvalJob(data=DataConfig(str(digit_folder)), checkpoint="broken.ckpt"))
    image = str(next((digit_folder / "val").rglob("*.png")))
    record, = predict(PredictJob(paths=image, checkpoint="broken.ckpt", json="records.json"))
    assert "its weights are broken" in record["error"] and "predictions" not in record
    assert json.loads(pathlib.Path("records.json").read_text()) == [record]
