"""Several workers, each a real process that msrun starts: they train and evaluate as one does, and may die."""

import contextlib
import csv
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from mindspore import nn
from tiny import FLAGS

import mindvit
from mindvit.cli import main
from mindvit.optim.step import TrainStep
from mindvit.training.state import Progress, check_same, take_place

ROOT = pathlib.Path(mindvit.__file__).parents[1]
# Runs the command line; after each step a worker writes what it was given and what it has then; one may be killed.
WATCHED = """
import os, signal, sys
import numpy as np
from mindvit.runtime.workers import workers
from mindvit.training import state

usual, (rank, last) = state.SaveState.on_train_step_end, map(int, sys.argv[1:3])


def on_train_step_end(self, run_context):
    usual(self, run_context)
    params = run_context.original_args()
    images, labels = (value.asnumpy() for value in params.train_dataset_element)
    values = {name: value.asnumpy() for name, value in state.variables(self.step).items()}
    name = f"step_{params.cur_step_num}_{workers.rank}_of_{workers.count}.npz"
    np.savez(name, images=images, labels=labels, **values)
    if (workers.rank, params.cur_step_num) == (rank, last):
        os.kill(os.getpid(), signal.SIGKILL)


state.SaveState.on_train_step_end = on_train_step_end
from mindvit.cli import main

sys.exit(main(sys.argv[3:]))
"""
NOBODY = ("-1", "0")  # is killed


@contextlib.contextmanager
def launched(script, arguments, workers):
    """The process of msrun, with the logs of the workers in logs/; they end with it."""
    pathlib.Path("script.py").write_text(script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.rmtree("logs", ignore_errors=True)
    command = [str(pathlib.Path(sys.executable).with_name("msrun")), f"--worker_num={workers}",
               f"--local_worker_num={workers}", f"--master_port={port}", "--join=True", "--log_dir=logs", "script.py"]
    bin_first = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # msrun starts "python"
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3",
                                                            "OMP_NUM_THREADS": "1", "PATH": bin_first})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # which ends the workers, in sessions of their own
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def msrun(script, arguments, workers, expect=0, limit=300):
    """What msrun prints; its status is 0, or another where that is expected."""
    with launched(script, arguments, workers) as process:
        printed, _ = process.communicate(timeout=limit)
    assert bool(process.returncode) == bool(expect), printed[-5000:]
    return printed


def alone(script, arguments):
    pathlib.Path("script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py", *arguments], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def training(digits, out, batch, *more, epochs=2, augment="[resize]"):
    return ["train", "--data.root", str(digits), *FLAGS, "--train.epochs", str(epochs), "--data.augment", augment,
            "--train.batch_size", str(batch), "--train.lr", "1e-3", "--out", out, "--device_target", "CPU", *more]


def after(step, rank=0, workers=1, folder="."):
    return dict(np.load(pathlib.Path(folder, f"step_{step}_{rank}_of_{workers}.npz")))


def rows(folder):
    with open(pathlib.Path(folder, "metrics.csv"), newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def weights(values):
    return {name: value for name, value in values.items() if name.startswith(("transformer", "dense", "cls", "norm",
                                                                              "patch", "pos"))}


def test_alone_it_says_how_to_start(digit_folder, capsys, monkeypatch):
    for name in ("MS_SCHED_HOST", "RANK_TABLE_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert main(training(digit_folder, "run", 10, "--distributed", "true")) == 2
    error = capsys.readouterr().err
    assert "this process was started alone" in error and "msrun --worker_num=8 --local_worker_num=8" in error
    assert not pathlib.Path("run").exists()


def test_two_workers_are_one_with_twice_the_batch(digit_folder):
    """Sixteen steps and two validations; the first worker alone writes and prints. With Adam gradients that cancel
    out would become steps of either sign."""
    sgd = "--train.optimizer", "sgd", "--train.lr", "0.05", "--train.clip_norm", "1.0"
    alone(WATCHED, [*NOBODY, *training(digit_folder, "one", 20, *sgd)])
    printed = msrun(WATCHED, [*NOBODY, *training(digit_folder, "auto", 10, *sgd, "--distributed", "true")], 2)
    for step in (1, 10, 16):
        one, parts = after(step), [after(step, rank, 2) for rank in range(2)]
        assert (one["images"] == np.stack([part["images"] for part in parts], 1).reshape(20, 3, 32, 32)).all()
        assert len(weights(one)) == 32
        for name, value in weights(one).items():
            assert (parts[0][name] == parts[1][name]).all() and np.abs(value - parts[0][name]).max() < 1e-5, name
    for one, two in zip(rows("one"), rows("runs/train"), strict=True):
        assert one == pytest.approx(two, abs=1e-4)
        assert one["Top_1_Accuracy"] == two["Top_1_Accuracy"]
    assert os.listdir("runs") == ["train"]
    assert printed.count("Epoch:[  1/  2], Top_1_Accuracy") == 1 and "2 workers, of which this is process" in printed
    assert "Epoch" not in pathlib.Path("logs/worker_1.log").read_text()


EVALUATIONS = """
import sys
from mindvit.cli import main

words, (few, many) = sys.argv[1:-2], sys.argv[-2:]
assert main([*words, "--data.root", many, "--json", "many.json", "--confusion", "many", "--per_class", "true",
             "--report", "many"]) == 0
assert main([*words, "--data.root", few, "--json", "few.json", "--report", "few"]) == 0
"""


def measured_part(page):
    """A report without what it says of the run, as its date."""
    return pathlib.Path(page).read_text().split("How it was measured")[0]


@pytest.mark.long
def test_three_workers_evaluate_as_one(digit_folder, digit_run, tmp_path):
    """40 images, which three do not divide; and two, of which one worker has none. In batches of one, as float32 rounds
    products of other sizes otherwise."""
    for name in ("class 0", "class 1"):
        image = min((digit_folder / "val" / name).glob("*.png"))
        (tmp_path / "val" / name).mkdir(parents=True)
        shutil.copy(image, tmp_path / "val" / name)
    words = ["eval", "--checkpoint", str(digit_run / "best.ckpt"), "--batch_size", "1", "--device_target", "CPU"]
    folders = [str(tmp_path), str(digit_folder)]
    alone(EVALUATIONS, [*words, *folders])
    names = ("many.json", "few.json", "many/confusion.json")
    pages = ("many/report.html", "few/report.html")
    expected = [json.loads(pathlib.Path(name).read_text()) for name in names]
    page = [measured_part(name) for name in pages]
    for name in (*names, *pages):
        pathlib.Path(name).unlink()
    msrun(EVALUATIONS, [*words, "--distributed", "true", *folders], 3)
    found = [json.loads(pathlib.Path(name).read_text()) for name in names]
    for one, three in zip(expected[:2], found[:2]):
        assert three.pop("val_loss") == pytest.approx(one.pop("val_loss"), abs=1e-9)
    assert found == expected and found[0]["images"] == 40 and found[1]["images"] == 2
    assert [measured_part(name) for name in pages] == page and "data:image/png" in page[0]


OVERFLOW = """
import sys
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindvit.device import use_device
from mindvit.optim.step import TrainStep
from mindvit.runtime.workers import gathered, workers

use_device("CPU", mode=sys.argv[1], distributed=True)
ms.set_seed(1)
network = nn.Dense(4, 1)
loss = nn.WithLossCell(network, nn.MSELoss())
for accumulate in (1, 3):
    scaler = ms.amp.DynamicLossScaler(2.0**4, 2, 1000)
    step = TrainStep(loss, nn.SGD(network.trainable_params(), 0.1), accumulate, 4, scaler=scaler)
    before, kept = network.weight.asnumpy().copy(), []
    for batch in range(4):
        images = np.full((2, 4), np.inf if (batch, workers.rank) == (2, 1) else workers.rank + batch, np.float32)
        step(Tensor(images), Tensor(np.ones((2, 1), np.float32)))
        kept.append(network.weight.asnumpy().copy())
    everyones = gathered(np.stack(kept))
    assert np.isfinite(everyones).all() and (everyones[0] == everyones[1]).all() and (kept[-1] != before).any()
    assert gathered(np.array([step.measures()["skipped_batches"]], np.int64)).tolist() == [[1], [1]]
    assert gathered(np.array([step.measures()["loss_scale"]])).tolist() == [[8.0], [8.0]]
    assert accumulate == 3 or (kept[1] == kept[2]).all()
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_one_workers_overflow_is_everybodys(mode):
    msrun(OVERFLOW, [mode], 2)


RANDOM = ["--model.overrides.keep_prob", "0.9", "--model.overrides.drop_path_keep_prob", "0.8", "--data.repeats", "2",
          "--train.ema", "0.9", "--train.accumulate", "3", "--train.save_every", "2", "--distributed", "true",
          "--resume", "auto"]


@pytest.mark.long
def test_workers_differ_in_what_is_random_and_go_on_bit_for_bit(digit_folder):
    """Each image is with both workers, in different crops. Gradients of three batches are accumulated: where each
    worker has its own, nothing is saved."""
    random = training(digit_folder, "whole", 10, *RANDOM, augment="[random_crop, flip]")
    msrun(WATCHED, [*NOBODY, *random], 2)
    parts = [after(1, rank, 2) for rank in range(2)]
    assert (parts[0]["labels"] == parts[1]["labels"]).all()
    assert all((one != two).any() for one, two in zip(parts[0]["images"], parts[1]["images"]))
    whole = [after(16, rank, 2) for rank in range(2)]
    random[random.index("whole")] = "killed"
    msrun(WATCHED, ["1", "6", *random], 2, expect=1)
    printed = msrun(WATCHED, [*NOBODY, *random], 2)
    assert "killed/state.safetensors: goes on from step 6 of 16" in printed or "from step 3 of 16" in printed
    for rank in range(2):
        again = after(16, rank, 2)
        assert all((again[name] == value).all() for name, value in whole[rank].items())
    for name in ("last.ckpt", "best.ckpt", "metrics.csv"):
        assert pathlib.Path("killed", name).read_bytes() == pathlib.Path("whole", name).read_bytes()


@pytest.mark.long
def test_a_worker_that_dies_ends_the_job_and_any_number_goes_on(digit_folder):
    words = training(digit_folder, "run", 10, "--train.save_every", "2", "--resume", "auto")
    start = time.time()
    printed = msrun(WATCHED, ["1", "13", *words, "--distributed", "true"], 2, expect=1)
    died = pathlib.Path("step_13_1_of_2.npz").stat().st_mtime
    assert start < died and time.time() - died < 60
    assert re.search(r"Worker process \d+ exit with exception. Error code: -9", printed)
    shutil.copytree("run", "one")
    shutil.copytree("run", "three")
    printed = alone(WATCHED, [*NOBODY, *words, "--out", "one"])
    assert "was 2 and is 1; a batch of all had 20 images and has 10" in printed
    assert "one/state.safetensors: goes on from step 24 of 32" in printed and "are seen twice" not in printed
    assert after(25)["global_step"] == 25
    printed = msrun(WATCHED, [*NOBODY, *words, "--out", "three", "--distributed", "true"], 3)
    assert "20 images of epoch 2 are seen twice" in printed
    assert "three/state.safetensors: goes on from step 7 of 10" in printed
    assert [row["epoch"] for row in rows("one")] == [row["epoch"] for row in rows("three")] == [1, 2]


@pytest.mark.long
def test_a_signal_to_the_first_worker_saves_and_ends_the_job(digit_folder):
    """One to another worker is noted; nothing else follows."""
    words = training(digit_folder, "run", 10, "--train.log_every", "1", "--distributed", "true", epochs=500)
    with launched("from mindvit.cli import main\nimport sys\nsys.exit(main(sys.argv[1:]))", words, 2) as process:
        assert any("step:[    3/    8]" in line for line in process.stdout)
        workers = {child.environ()["RANK_ID"]: child.pid for child in psutil.Process(process.pid).children()
                   if child.environ().get("MS_ROLE") == "MS_WORKER" and child.name() != "tail"}
        os.kill(workers["1"], signal.SIGTERM)
        assert sum("step:[" in line for line, _ in zip(process.stdout, range(40))) > 20
        asked = time.time()
        os.kill(workers["0"], signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
    assert time.time() - asked < 60 and process.returncode
    assert re.search(r"mindvit train: stopped; run/state\.safetensors holds step \d+; --resume auto", printed)
    other = pathlib.Path("logs/worker_1.log").read_text()
    assert "worker 1 goes on until worker 0 is asked too, saves, and the launcher ends all" in other


@pytest.mark.parametrize("done, batch, accumulate, expected, twice", [
    (3, 10, 1, 16 + 6, 0), (3, 40, 1, 4 + 1, 20), (4, 20, 3, 8 + 3, 20), (0, 30, 1, 5, 0), (7, 25, 1, 6 + 5, 15),
    (7, 160, 1, 1, 140), (7, 35, 1, 4 + 3, 35)])
def test_the_place_in_an_epoch_of_other_batches(done, batch, accumulate, expected, twice, capsys):
    """160 images in batches of 20. The last batch of an epoch is never left out, as validation follows it."""
    network = nn.Dense(2, 1)
    optimizer = nn.Momentum(network.trainable_params(), [0.1] * 99, 0.9)
    per_epoch = 160 // batch
    step = TrainStep(nn.WithLossCell(network, nn.MSELoss()), optimizer, accumulate, per_epoch)
    data = {"images": 160, "classes": [], "batches an epoch": 8, "images a batch": 20, "workers": 2}
    saved = Progress(8 + done, [], {"train.accumulate": 1}, data)
    now = {**data, "batches an epoch": per_epoch, "images a batch": batch}
    assert take_place(saved, now, step, optimizer) == expected
    moves = -(-per_epoch // accumulate) + (expected - per_epoch) // accumulate
    assert int(optimizer.global_step.asnumpy()[0]) == moves
    assert (f"{twice} images of epoch 2 are seen twice" in capsys.readouterr().out) == bool(twice)


def test_the_same_global_batch_needs_no_override(tmp_path, capsys):
    data = {"images": 160, "classes": ["a"], "batches an epoch": 8, "images a batch": 20, "workers": 2}
    saved = Progress(3, [], {"train.batch_size": 10}, data)
    check_same(tmp_path, saved, {"train.batch_size": 20}, {**data, "workers": 1}, False)
    assert "another number of workers: was 2 and is 1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="train.batch_size was 10 and is 20"):
        check_same(tmp_path, saved, {"train.batch_size": 20}, {**data, "images a batch": 40}, False)


POISONED = """
import sys
import numpy as np
from mindvit.config import DataConfig
from mindvit.data.mixing import MIXING

draw, times = np.random.default_rng([42, 1, 1, 1]).random(), 1  # second batch of the second epoch, of worker 1


def poison(images, targets, rng):
    global times
    if rng.random() == draw and times:
        times, images = 0, images * np.float32("nan")
    return images, targets


for table in (MIXING, DataConfig.__dataclass_fields__["augment"].metadata["table"]):
    table["poison"] = poison
from mindvit.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize("on_nan", ["rewind", "skip"])
def test_all_workers_go_back_or_skip_where_one_has_no_numbers(on_nan, digit_folder):
    printed = msrun(POISONED, [*training(digit_folder, "run", 20, "--distributed", "true", "--train.on_nan", on_nan,
                                         "--train.save_every", "1", "--train.schedule", "constant",
                                         augment="[resize, poison]")], 2)
    first, second = rows("run")
    assert (first["lr"], second["lr"]) == (pytest.approx(1e-3), pytest.approx(1e-3 if on_nan == "skip" else 5e-4))
    if on_nan == "skip":
        assert second["skipped_batches"] == 1
    else:
        assert "the loss is nan at step 6 (" in printed
        assert "the run goes back, with half the learning rate (train.on_nan rewind, 1 of 3)" in printed
        assert "goes on from step 4 of 8" in printed
