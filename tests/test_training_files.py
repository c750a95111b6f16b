"""A state is whole, or known not to be; what was saved before a kill or a damage is gone on from."""

import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import pytest
from ckpt_chaos import inject
from mindspore import nn
from tiny import FLAGS, TINY

import mindvit
from mindvit import ViT
from mindvit.cli import main
from mindvit.device import Device, build_model
from mindvit.files import HOST, remove_dead
from mindvit.training import loop
from mindvit.training.loss import LOSSES, CountedLoss
from mindvit.training.state import (
    PREVIOUS,
    STATE,
    SUMS,
    Progress,
    check_space,
    load_state,
    read_progress,
    save_state,
    settle,
    whole_state,
)


@pytest.fixture(scope="module")
def step():
    network = ViT(**TINY)
    loss = CountedLoss(LOSSES["cross_entropy"](sparse=True, smooth_factor=0.1, num_classes=10))
    return build_model(network, Device("CPU", "O0", False), loss, nn.Adam(network.trainable_params())).step


def saved(folder, step, *steps):
    """A folder with the states of so many steps, the first saved first."""
    folder.mkdir(exist_ok=True)
    for number in steps:
        data = dict.fromkeys(("images", "classes", "batches an epoch", "images a batch", "workers"), 1)
        save_state(folder / STATE, step, Progress(number, [], {}, data))
    return folder


def summed(folder):
    """What coreutils says of the hashes."""
    return subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True).stdout.splitlines()


def flip(path, at):
    """Turns one bit of a file round."""
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def in_child(work, folder, crash_at=None, mode="before"):
    """The status of a process that dies at one of the file events of its work."""
    if not (child := os.fork()):
        remove_dead.cache_clear()  # as in a new process
        inject.arm(str(folder), crash_at, mode, lazy_native=True, torn_python=True)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("mode", ["before", "torn"])
def test_a_kill_at_any_file_event_of_a_save_leaves_the_newest_state(mode, step, tmp_path, capsys):
    """By ckpt-chaos: the process dies before the event, or with the file half written."""
    statuses = []
    for number in itertools.count(1):
        folder = saved(tmp_path / str(number), step, 1, 2)
        statuses.append(in_child(lambda: saved(folder, step, 3), folder, number, mode))  # noqa: B023
        state = whole_state(folder)
        renamed = (folder / STATE).exists() and read_progress(folder / STATE).steps == 3
        assert read_progress(state).steps == 2 + renamed and not capsys.readouterr().out
        settle(state)
        assert in_child(lambda: saved(folder, step, 4), folder) == 0  # noqa: B023
        assert sorted(os.listdir(folder)) == sorted([STATE, PREVIOUS, SUMS])
        assert summed(folder) == [f"{STATE}: OK", f"{PREVIOUS}: OK"]
        assert [read_progress(folder / name).steps for name in (STATE, PREVIOUS)] == [4, 2 + renamed]
        if statuses[-1] == 0:
            break
    assert set(statuses[:-1]) == {137} and len(statuses) > 6


def test_one_bit_anywhere_is_a_damage_and_the_state_before_is_taken(step, tmp_path, capsys):
    folder = saved(tmp_path / "run", step, 1, 2)
    size = (folder / STATE).stat().st_size
    for at in (0, 9, 300, size // 2, size - 1):
        flip(folder / STATE, at)
        assert whole_state(folder) == folder / PREVIOUS
        assert capsys.readouterr().out == (f"{folder / STATE} is damaged, as {folder / SUMS} has another SHA-256; "
                                           f"{folder / PREVIOUS} is taken\n")
        flip(folder / STATE, at)
    assert whole_state(folder) == folder / STATE
    flip(folder / STATE, 0)
    settle(whole_state(folder))  # the damaged one shall never be "the one before"
    saved(folder, step, 3)
    assert [read_progress(folder / name).steps for name in (STATE, PREVIOUS)] == [3, 1] and len(summed(folder)) == 2
    for name in (STATE, PREVIOUS):
        flip(folder / name, -1)
    with pytest.raises(ValueError, match=f"^damaged, as .*{SUMS} has another SHA-256: .*{STATE}, .*{PREVIOUS}; to "):
        whole_state(folder)


def test_a_state_of_an_older_version_is_taken_with_a_line(step, tmp_path, capsys):
    folder = saved(tmp_path / "run", step, 1)
    os.unlink(folder / SUMS)
    load_state(whole_state(folder), step)
    assert capsys.readouterr().out == (f"{folder / SUMS} is not there, or has no hash, so whether {folder / STATE} is "
                                       "damaged was not checked\n")
    settle(whole_state(folder))
    saved(folder, step, 2)
    assert summed(folder) == [f"{STATE}: OK", f"{PREVIOUS}: OK"]


def test_room_for_three_states_and_two_files_of_weights_is_asked_for(step, tmp_path, monkeypatch):
    network, usage = ViT(**TINY), shutil.disk_usage(tmp_path)
    saved(tmp_path / "run", step, 1)
    state = (tmp_path / "run" / STATE).stat().st_size
    weights = sum(parameter.asnumpy().nbytes for parameter in network.get_parameters())

    def free(number):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=number))

    free(3 * state + 2 * weights)
    check_space(tmp_path / "new" / "run", step, network)
    free(2.5 * state + 2 * weights)
    with pytest.raises(OSError, match=r"new/run has 1.\d MB free, and the checkpoints of this training take 1.\d MB"):
        check_space(tmp_path / "new" / "run", step, network)
    check_space(tmp_path / "run", step, network)  # where one of the states is there already


def words(out, digit_folder):
    """A training of eight steps an epoch, of which the second is the best."""
    return ["train", "--data.root", str(digit_folder), *FLAGS, "--train.epochs", "2", "--train.lr", "3e-3",
            "--train.batch_size", "20", "--train.save_every", "3", "--train.select", "train_loss", "--out", str(out),
            "--resume", "auto"]


def files(folder):
    return {name: (folder / name).read_bytes() for name in ("last.ckpt", "best.ckpt", "metrics.csv")}


@pytest.fixture(scope="module")
def whole(digit_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(words(folder, digit_folder)) == 0
    return folder


def test_a_training_goes_on_from_before_a_damage_and_ends_the_same(whole, digit_folder, capsys):
    run = pathlib.Path("run")
    shutil.copytree(whole, run)
    assert summed(run) == [f"{STATE}: OK", f"{PREVIOUS}: OK"]
    flip(run / STATE, 5000)
    (run / "last.ckpt").unlink()
    assert main(words(run, digit_folder)) == 0
    printed = capsys.readouterr().out
    assert "run/state.safetensors is damaged, as run/SHA256SUMS has another SHA-256; run/state-previous" in printed
    assert "run/best.ckpt is of a later epoch than run/state-previous.safetensors, or damaged" in printed
    assert "run/state-previous.safetensors: goes on from step 15 of 16" in printed
    assert files(run) == files(whole) and len(summed(run)) == 2
    flip(run / "best.ckpt", 5000)
    assert main(words(run, digit_folder)) == 2
    error = capsys.readouterr().err
    assert error.startswith("mindvit train: run/best.ckpt is damaged, or of another epoch than run/state.safetensors s")
    for name in (STATE, PREVIOUS):
        flip(run / name, 5000)
    assert main(words(run, digit_folder)) == 2
    error = capsys.readouterr().err
    assert error.startswith("mindvit train: damaged, as run/SHA256SUMS has another SHA-256: run/state.safetensors, run")
    assert error.count("\n") == 1


def test_a_training_that_may_not_write_any_more_stops_with_what_it_saved(whole, digit_folder, capsys, monkeypatch):
    """The limit comes behind the first epoch, as a quota does that somebody else uses up."""
    run, usual, limits = pathlib.Path("run"), loop.write_metrics, resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_metrics(records, path):
        usual(records, path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    with monkeypatch.context() as changed:
        changed.setattr(loop, "write_metrics", write_metrics)
        try:
            assert main(words(run, digit_folder)) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch(
        r"mindvit train: run/state.safetensors cannot be written: File too large \(it takes 0.\d MB, [\d.]+ MB are "
        r"free\); what was there before stays\n", capsys.readouterr().err)
    assert not list(run.glob(".*")) and len(summed(run)) == 2
    dead = run / f".last.{HOST}-99999999.ckpt"  # as a killed process leaves it
    dead.touch()
    remove_dead.cache_clear()
    assert main(words(run, digit_folder)) == 0
    assert "run/state.safetensors: goes on from step 6 of 16" in capsys.readouterr().out and not dead.exists()
    assert files(run) == files(whole)


@pytest.mark.long
def test_a_training_killed_at_a_file_event_goes_on_from_what_was_saved_and_ends_the_same(digit_folder):
    """By ckpt-chaos, over the command; how far each was is counted from the renames before the kill. With
    --max-points 1000 it goes through all of them, in some four hundred processes."""
    command = [sys.executable, "-m", "ckpt_chaos", "run", "--step-regex", r"goes on from step (\d+) of",
               "--result-file", "{out}/last.ckpt", "--max-points", "14", "--jobs", "2", "--work", "chaos",
               "--fail-on", "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK", "--", sys.executable, "-m", "mindvit"]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1])}
    done = subprocess.run([*command, *words("{out}", digit_folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    saved, whole = [0, 3, 6, 8, 9, 12, 15, 16], files(pathlib.Path("chaos/reference/out"))
    kills = [path for path in pathlib.Path("chaos").glob("pt_*") if path.name != "pt_control"]
    for kill in kills:
        *before, _ = (kill / "events.log.rank0").read_text().splitlines()
        count = sum("os.rename\t.state." in line for line in before)
        record = json.loads((kill / "result.json").read_text())
        assert record["crashed"] and (record["outcome"]["resumed_from_step"] or 0) == saved[count], record
        assert files(kill / "out") == whole and not list((kill / "out").glob(".*"))
    assert len(kills) == 14
