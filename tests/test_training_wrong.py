"""Trainings whose numbers go wrong: what ends them, what they say, and what --train.on_nan does instead."""

import csv
import pathlib
import re
import shutil

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from safetensors.numpy import load_file
from tiny import FLAGS

from mindvit.cli import main
from mindvit.config import DataConfig
from mindvit.data.mixing import MIXING
from mindvit.optim.step import TrainStep
from mindvit.training import wrong
from mindvit.training.state import Progress, SaveState, read_progress, whole_state

SEED = 42
poisoned = 0  # batches so far


@pytest.fixture
def poison(monkeypatch):
    """An augmentation that makes chosen batches NaN, so many times, once it is started."""
    def start(times, *places):
        global poisoned
        poisoned = 0
        draws = {np.random.default_rng([SEED, epoch, batch, 0]).random() for epoch, batch in places}

        def poison(images, targets, rng):
            global poisoned
            if (rng.random() in draws or not draws) and poisoned < times:
                poisoned += 1
                images = images * np.float32("nan")
            return images, targets

        for table in (MIXING, DataConfig.__dataclass_fields__["augment"].metadata["table"]):
            monkeypatch.setitem(table, "poison", poison)

    return start


def words(digits, out, *more, epochs=2, lr="1e-3"):
    return ["train", "--data.root", str(digits), *FLAGS, "--train.epochs", str(epochs), "--train.batch_size", "20",
            "--train.lr", lr, "--train.schedule", "constant", "--train.seed", str(SEED), "--out", out,
            "--data.augment", "[resize, poison]", *more]


def rows(folder):
    with open(pathlib.Path(folder, "metrics.csv"), newline="") as file:
        return list(csv.DictReader(file))


def error_of(capsys):
    """The one line of an error."""
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "Traceback" not in error
    return error


def test_a_run_stops_and_names_the_last_good_state(digit_folder, poison, capsys):
    """Eight batches an epoch, a state every second; the sixth of the second epoch is NaN."""
    poison(1, (1, 5))
    assert main(words(digit_folder, "run", "--train.save_every", "2")) == 2
    error = error_of(capsys)
    assert re.fullmatch(
        r"mindvit train: the loss is nan at step 14 \(learning rate 0\.001, loss scale none, gradient norm nan, "
        r"usually [\d.]+\)\. run/state\.safetensors holds step 12, the last good one: go on from there by --resume "
        r"auto --resume.override true with a lower --train.lr, or have that done by --train.on_nan rewind", error)
    assert read_progress(pathlib.Path("run/state.safetensors")).steps == 12
    assert main(words(digit_folder, "run", "--resume", "auto")) == 0  # it is NaN once only
    assert len(rows("run")) == 2


def test_weights_that_break_are_not_saved_as_a_state(digit_folder, poison, capsys):
    poison(0)
    assert main(words(digit_folder, "run", "--train.optimizer", "sgd", lr="1e38")) == 2
    assert re.fullmatch(r"mindvit train: the loss is \w+ at step 2 \(learning rate 1e\+38, loss scale none, gradient "
                        r"norm \w+, usually [\d.]+\)\. Nothing was saved before: begin again with a lower --train.lr, "
                        r"a warm-up or --train.clip_norm 1", error_of(capsys))
    assert {path.name for path in pathlib.Path("run").iterdir()} == {"config.yaml", "classes.txt"}
    weight = Parameter(Tensor(np.ones(3, np.float32)), "weight")
    step = TrainStep(nn.ParameterUpdate(weight), nn.SGD([weight]))
    saver = SaveState(pathlib.Path("state.safetensors"), step, Progress(7, [], {}, {}), 1, 1, 0)
    saver.save()
    weight.set_data(Tensor(np.array([1, np.inf, 0], np.float32)))
    saver.save()
    assert (load_file("state.safetensors")["weight"] == 1).all()


def test_a_batch_is_skipped_and_counted(digit_folder, poison, capsys):
    poison(2, (0, 3), (0, 4))
    assert main(words(digit_folder, "run", "--train.on_nan", "skip", "--train.ema", "0.9")) == 0
    assert poisoned == 2
    first, second = rows("run")
    assert first["skipped_batches"] == second["skipped_batches"] == "2"
    assert all(0 < float(row[name]) < 9 for row in (first, second) for name in ("train_loss", "val_loss",
                                                                              "gradient_norm"))
    capsys.readouterr()
    poison(10**6)
    assert main(words(digit_folder, "other", "--train.on_nan", "skip", epochs=9)) == 2
    assert "all batches of epoch 1 were left out at step 8 (" in error_of(capsys)


def test_an_overflow_of_fifty_steps_under_o2(digit_folder, poison, capsys, monkeypatch):
    """A loss so large that float16 overflows however small the scale."""
    from mindvit.training import loop

    class Huge(loop.CountedLoss):
        def construct(self, logits, labels, taught=None):
            return super().construct(logits, labels) + (logits * 6e4).astype(logits.dtype).sum() * 1e30

    monkeypatch.setattr(loop, "CountedLoss", Huge)
    poison(0)
    assert main(words(digit_folder, "run", "--amp_level", "O2", "--train.loss_scale", "dynamic", epochs=9)) == 2
    error = error_of(capsys)
    assert re.search(r"50 batches in a row .* at step 50 \(learning rate 0\.001, loss scale 1,", error), error


@pytest.mark.parametrize("times, more", [
    (1, ["--train.save_every", "2"]), pytest.param(1, [], marks=pytest.mark.long),
    pytest.param(4, ["--train.save_every", "2"], marks=pytest.mark.long)])
def test_a_run_goes_back_with_half_the_rate(times, more, digit_folder, poison, capsys):
    """As one that is resumed with half the rate by hand, to the byte; a fourth time it ends."""
    poison(times, (1, 5) if more else (0, 5))
    status = main(words(digit_folder, "run", "--train.on_nan", "rewind", *more))
    printed, error = capsys.readouterr()
    for number in range(1, min(times, 3) + 1):
        assert f"the run goes back, with half the learning rate (train.on_nan rewind, {number} of 3)" in printed
    if times == 4:
        assert status == 2 and error.startswith("mindvit train: the loss is nan at step 14 (learning rate 0.000125")
        return
    assert status == 0 and ("goes on from step 12 of 16" in printed) == bool(more)
    lr = [row["lr"] for row in rows("run")]
    assert lr == (["0.001", "0.0005"] if more else ["0.0005", "0.0005"])
    poison(1, (1, 5) if more else (0, 5))
    assert main(words(digit_folder, "by hand", *more)) == 2
    again = ["--resume", "auto", "--resume.override", "true"] if more else []
    assert main(words(digit_folder, "by hand", *more, *again, lr="5e-4")) == 0
    for name in ("last.ckpt", "best.ckpt", "metrics.csv"):
        assert pathlib.Path("run", name).read_bytes() == pathlib.Path("by hand", name).read_bytes()
    assert read_progress(pathlib.Path("run/state.safetensors")).rewinds == 1


@pytest.mark.parametrize("every, saved", [("1", 12), ("4", 12), ("13", 8)])
def test_a_state_is_good_if_a_finite_loss_came_after_it(every, saved, digit_folder, poison, capsys):
    """The batch at step 14 is NaN, or the weights after step 13 were: of the states of 12 and 13 that of 12 is good."""
    poison(1, (1, 5))
    assert main(words(digit_folder, "run", "--train.save_every", every)) == 2
    assert f"run/state.safetensors holds step {saved}, the last good one" in error_of(capsys)
    assert read_progress(pathlib.Path("run/state.safetensors")).steps == saved
    assert whole_state(pathlib.Path("run")).name == "state.safetensors"


def test_labels_that_belong_to_other_images(digit_folder, poison, capsys, monkeypatch):
    """The validation images of each class are in the next class's folder; a run that goes on is not ended again."""
    monkeypatch.setattr(wrong, "AT_CHANCE", 3)
    poison(0)
    root = pathlib.Path("data")
    shutil.copytree(digit_folder / "train", root / "train")
    names = sorted(path.name for path in (root / "train").iterdir())
    for name, other in zip(names, names[1:] + names[:1]):
        shutil.copytree(digit_folder / "train" / name, root / "val" / other)
    train = words(root, "run", "--train.optimizer", "adamw", "--train.on_nan", "rewind", epochs=7, lr="3e-3")
    assert main(train) == 2
    error = error_of(capsys)
    assert re.search(r"mindvit train: the training loss fell from [\d.]+ to [\d.]+ in 3 epochs, but top-1 in "
                     r"validation is 0\.0\d+, no better than naming the largest class each time, at step \d+ \(", error)
    assert "run/state.safetensors holds step" in error and "--resume auto goes on all the same" in error
    assert main([*train, "--resume", "auto"]) == 0
    assert len(rows("run")) == 7


def test_few_images_are_no_reason_to_end():
    """Two of four right is chance, but so is all of four now and then."""
    records = [{"epoch": i, "step": i, "Top_1_Accuracy": 0.5, "train_loss": 3.0 - i / 10} for i in range(1, 11)]
    for labels in ([0, 1] * 49, [0, 1] * 50):
        callback = wrong.StopAtChance(records, labels, 20)
        if len(labels) < wrong.ENOUGH_IMAGES:
            callback.on_train_epoch_end(None)
        else:
            with pytest.raises(wrong.WentWrong, match="fell from 2.900 to 2.000 in 10 epochs"):
                callback.on_train_epoch_end(None)
    wrong.StopAtChance(records, [0, 1] * 50, 10).on_train_epoch_end(None)  # the last epoch
    wrong.StopAtChance([*records, {**records[-1], "Top_1_Accuracy": 0.7}], [0, 1] * 50, 20).on_train_epoch_end(None)


def test_a_training_that_moved_nothing_does_not_end_as_a_good_one(digit_folder, poison, capsys):
    """A fixed scale at which all gradients overflow, and a loss that is finite."""
    poison(0)
    flags = ["--amp_level", "O2", "--train.loss_scale", "1e9"]
    assert main(words(digit_folder, "run", *flags, epochs=1)) == 2
    assert "all batches of the training were left out, as their gradients overflowed, at step 8 (" in error_of(capsys)
