"""A training that is killed and goes on ends as one that nobody killed: the same bytes."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tiny import FLAGS

import mindvit
from mindvit.cli import main
from mindvit.training.state import save_interval

ROOT = pathlib.Path(mindvit.__file__).parents[1]
KILLED = """
import os, signal, sys
from mindvit.training import state

usual, last = state.SaveState.on_train_step_end, int(sys.argv[1])


def on_train_step_end(self, run_context):
    usual(self, run_context)
    if run_context.original_args().cur_step_num == last:
        os.kill(os.getpid(), signal.SIGKILL)


state.SaveState.on_train_step_end = on_train_step_end
from mindvit.cli import main

sys.exit(main(sys.argv[2:]))
"""
HARD = ["--model.overrides.keep_prob", "0.9", "--model.overrides.attention_keep_prob", "0.9",
        "--model.overrides.drop_path_keep_prob", "0.8", "--train.ema", "0.9", "--train.accumulate", "3",
        "--train.clip_norm", "1.0", "--train.optimizer", "adamw", "--train.weight_decay", "0.05", "--data.augment",
        "[random_crop, flip, rand_augment, mixup_or_cutmix, random_erasing]",
        "--data.workers", "2", "--train.save_every", "2"]


def words(digits, out, *more, epochs=3):
    return ["train", "--data.root", str(digits), *FLAGS, "--train.epochs", str(epochs), "--train.batch_size", "20",
            "--train.lr", "3e-3", "--out", out, "--resume", "auto", *HARD, *more]


def run(arguments, kill_at=None, expect=0):
    """What a process prints; it is killed after a step, or ends with a status."""
    pathlib.Path("killed.py").write_text(KILLED)
    command = [sys.executable, "killed.py", str(kill_at or 0), *arguments]
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOG_v": "3"})
    assert done.returncode == (-signal.SIGKILL if kill_at else expect), done.stdout + done.stderr[-3000:]
    return done.stdout + done.stderr


def files(folder):
    return {name: (pathlib.Path(folder) / name).read_bytes() for name in ("last.ckpt", "best.ckpt", "metrics.csv")}


@pytest.mark.parametrize("mode, kills", [
    pytest.param("graph", (3, 17)),
    pytest.param("graph", (1, 2, 4, 7, 8, 9, 12, 15, 16, 17, 21, 23), marks=pytest.mark.long),
    pytest.param("pynative", (2, 5, 8, 10, 13, 16, 18, 20, 22, 24), marks=pytest.mark.long)])
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(mode, kills, digit_folder):
    """Eight batches an epoch: kills in epochs, at their ends, and where an accumulated group is half full."""
    run(words(digit_folder, "whole", "--mode", mode))
    for step in kills:
        run(words(digit_folder, "killed", "--mode", mode), kill_at=step)
    printed = run(words(digit_folder, "killed", "--mode", mode))
    saved = kills[-1] // 2 * 2 if kills[-1] % 8 else kills[-1] - 2 if kills[-1] % 8 == 0 else 0
    assert f"killed/state.safetensors: goes on from step {saved} of 24" in printed
    assert files("killed") == files("whole")
    results = [json.loads(pathlib.Path(name, "metrics.json").read_text()) for name in ("killed", "whole")]
    assert all(result.pop("seconds") for result in results) and results[0] == results[1]
    assert not list(pathlib.Path("killed").glob(".*"))


def test_other_settings_are_refused_unless_told(digit_folder, capsys):
    assert main(words(digit_folder, "run", epochs=1)) == 0
    more = words(digit_folder, "run", "--train.lr", "1e-3", "--data.augment", "resize", epochs=2)
    before = files("run")
    capsys.readouterr()
    assert main(more) == 2
    error = capsys.readouterr().err
    for part in ("run/state.safetensors is of a training with other settings: data.augment was ['random_crop', 'flip', "
                 "'rand_augment', 'mixup_or_cutmix', 'random_erasing'] and is ['resize']",
                 "train.epochs was 1 and is 2", "train.lr was 0.003 and is 0.001",
                 "Add --resume.override true"):
        assert part in error
    assert error.count("\n") == 1 and files("run") == before
    assert main([*more, "--resume.override", "true"]) == 0
    printed = capsys.readouterr().out
    assert "resumed with another setting: train.epochs was 1 and is 2" in printed
    assert "goes on from step 8 of 16" in printed
    rows = pathlib.Path("run/metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[1] == before["metrics.csv"].decode().splitlines()[1]
    assert yaml.safe_load(pathlib.Path("run/config.yaml").read_text())["train"]["epochs"] == 2


def test_a_finished_run_is_not_trained_again(digit_folder, capsys):
    assert main(words(digit_folder, "run", epochs=1)) == 0
    before = files("run")
    capsys.readouterr()
    assert main(words(digit_folder, "run", epochs=1)) == 0
    printed = capsys.readouterr().out
    assert "goes on from step 8 of 8" in printed and "best epoch 1" in printed and "step:[" not in printed
    assert files("run") == before


def test_another_runs_state_and_what_is_none(digit_folder, capsys):
    assert main(words(digit_folder, "first", epochs=1)) == 0
    last = pathlib.Path("first/last.ckpt").read_bytes()
    second = words(digit_folder, "second", "--resume", "first", "--resume.override", "true", epochs=2)
    assert main(second) == 0
    assert "first/state.safetensors: goes on from step 8 of 16" in capsys.readouterr().out
    assert pathlib.Path("first/last.ckpt").read_bytes() == last != pathlib.Path("second/last.ckpt").read_bytes()
    pathlib.Path("state.safetensors").write_bytes(pathlib.Path("first/state.safetensors").read_bytes()[:5000])
    os.mkdir("empty")
    for folder, message in ((".", "state.safetensors is no whole state of a training"),
                            ("empty", "there is no empty/state.safetensors to resume from")):
        assert main(words(digit_folder, "third", "--resume", folder)) == 2
        assert message in capsys.readouterr().err
    assert main([*words(digit_folder, "auto")]) == 2
    assert "--resume auto goes on in the folder of --out; name it" in capsys.readouterr().err
    assert main(words(digit_folder, "third", "--resume", "first", "--model.overrides.num_layers", "1")) == 2
    assert "model.overrides was" in capsys.readouterr().err
    assert not pathlib.Path("third").exists()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_mixed_images_are_trained_and_plain_ones_validated(loss, digit_folder):
    assert main(words(digit_folder, "run", "--train.loss", loss, "--data.augment", "[resize, mixup]", epochs=1)) == 0
    assert len(pathlib.Path("run/metrics.csv").read_text().splitlines()) == 2


def test_a_wrong_interval_is_refused_before_a_folder_is_made(digit_folder, capsys):
    assert main(words(digit_folder, "run", "--train.save_every", "often")) == 2
    assert "train.save_every is 'often'; give a number of steps" in capsys.readouterr().err
    assert not pathlib.Path("run").exists()


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"])
def test_a_signal_finishes_the_step_and_saves(number, status, digit_folder):
    command = [sys.executable, "-m", "mindvit", *words(digit_folder, "run", "--train.log_every", "1", epochs=200)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3"}
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert any("Epoch:[  1/200], step:[    3" in line for line in process.stdout)
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    found = re.search(r"mindvit train: stopped; run/state\.safetensors holds step (\d+); --resume auto", error)
    assert found and "stopping when this step is done and saved" in error
    step = int(found[1])
    printed = run(words(digit_folder, "run", epochs=200), kill_at=step + 1)
    assert f"run/state.safetensors: goes on from step {step} of 1600" in printed
    assert len(pathlib.Path("run/metrics.csv").read_text().splitlines()) == 1 + step // 8


def test_ctrl_c_is_ignored_where_it_was_before(digit_folder):
    """As in a script's background job; MindSpore sets a handler of its own while a graph runs."""
    command = [sys.executable, "-m", "mindvit", *words(digit_folder, "run", "--train.log_every", "1", epochs=200)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3"}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert any("Epoch:[  1/200], step:[    3" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    assert any("Epoch:[  2/200], step:[    3" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.communicate()


def test_a_second_signal_leaves_at_once(digit_folder):
    command = [sys.executable, "-m", "mindvit", *words(digit_folder, "run", epochs=200)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3"}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert any("the first step compiles the graph" in line for line in process.stdout)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    process.communicate()
    assert not pathlib.Path("run/state.safetensors").exists()


@pytest.mark.parametrize("every, expected", [
    (5, (5, 0)), ("10 minutes", (0, 600)), ("1.5 min", (0, 90)), ("2m", (0, 120)), ("1 minute", (0, 60))])
def test_how_often(every, expected):
    assert save_interval(every) == expected


@pytest.mark.parametrize("every", [0, -1, "often", "", "5 hours"])
def test_how_often_not(every):
    with pytest.raises(ValueError, match="give a number of steps, or of minutes"):
        save_interval(every)
