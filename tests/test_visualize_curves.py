"""Curves: what metrics.csv says is on the picture, of one run as of several, and wrong files are one sentence."""

import csv
import os
import pathlib
import re
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

from mindvit import plot_curves, save_curves
from mindvit.cli import main
from mindvit.visualize.curves import picture, read_runs

COLUMNS = ["train_loss", "train_Top_1_Accuracy", "Top_1_Accuracy", "Top_5_Accuracy", "val_loss"]


def write(folder, epochs, seed=0, columns=COLUMNS):
    """A run's metrics.csv with random numbers; returns them, (epochs, columns)."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed).uniform(0, 1, (epochs, len(columns)))
    with open(f"{folder}/metrics.csv", "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "lr", *columns],
                                    *([i, 1e-3, *row] for i, row in enumerate(numbers.tolist(), 1))])
    return numbers


def curves(axes):
    """The y values of each curve of a plot, and their colours."""
    return [line.get_ydata() for line in axes.lines], [to_hex(line.get_color()) for line in axes.lines]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_curves_of_runs_are_their_numbers():
    first, second = write("runs/a", 3), write("runs/b", 7, 1)
    loss, accuracy = picture(read_runs(["runs/a", "runs/b/metrics.csv"])).axes
    for axes, columns in ((loss, [4, 0]), (accuracy, [2, 1, 3])):
        drawn, colors = curves(axes)
        for found, expected in zip(drawn, [run[:, column] for run in (first, second) for column in columns]):
            assert found == pytest.approx(expected)
        half = len(colors) // 2
        assert len(set(colors[:half])) == len(set(colors[half:])) == 1 and len(set(colors)) == 2
        styles = [line.get_linestyle() for line in axes.lines]
        assert styles[:half] == styles[half:] and len(set(styles)) == half
        assert axes.get_xlim() == (0.5, 7.5)
    assert legend(loss)[:2] == [f"a: {first[-1, 4]:.3f}", f"b: {second[-1, 4]:.3f}"]
    assert legend(accuracy)[:2] == [f"a: {first[-1, 2]:.3f}", f"b: {second[-1, 2]:.3f}"]
    save_curves([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.25, "Top_1_Accuracy": 1}], "one.png")
    assert Image.open("one.png").size == (1200, 480)
    axes = picture({"": [{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.25}]}).axes[0]
    assert legend(axes) == ["validation: 0.250"]


def test_a_run_of_one_epoch_has_a_whole_one():
    for axes in picture({"": [{"epoch": 1, "val_loss": 0.5, "Top_1_Accuracy": 0.1}]}).axes:
        assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_a_table_program_may_have_saved_it():
    """As UTF-8 with a mark at its beginning."""
    write("a", 2)
    plain = read_runs(["a"])
    pathlib.Path("a/metrics.csv").write_text(pathlib.Path("a/metrics.csv").read_text(), encoding="utf-8-sig")
    assert read_runs(["a"]) == plain


def test_names_tell_runs_apart():
    for folder in ("x/fold", "y/fold", "$5_$6", "_b", "猫" * 50):
        write(folder, 2)
    write("kept", 2)
    os.rename("kept/metrics.csv", "kept.csv")
    assert list(read_runs(["x/fold/", "y/fold"])) == ["x/fold", "y/fold"]
    assert list(read_runs(["y/fold", "kept.csv"])) == ["fold", "kept.csv"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a label that it leaves out, and of a box for a character
        figure = picture(read_runs(["_b", "$5_$6", "猫" * 50]))
        FigureCanvasAgg(figure).draw()
    texts = legend(figure.axes[0])
    assert texts[0].startswith("_b: ") and texts[1].startswith("$5_$6: ") and len(texts[2]) < 60


@pytest.mark.parametrize("count", [1, 6, 12])
def test_the_command_draws_any_number_of_runs(count, capsys):
    names = [f"runs/{i}" for i in range(count)]
    for i, name in enumerate(names):
        write(name, 1 + i, i, COLUMNS[:3] if i == 1 else COLUMNS)
    assert main(["plot-curves", *names, "--out", "pictures/all.png"]) == 0
    printed = capsys.readouterr().out
    assert f"pictures/all.png: loss and accuracy of {', '.join(names)}" in printed
    assert ("1 has no val_loss, Top_5_Accuracy; it is drawn without" in printed) == (count > 1)
    assert Image.open("pictures/all.png").size[0] == 1200
    colors = curves(picture(read_runs(names)).axes[1])[1]
    assert len(set(colors)) == (count if count > 1 else 3)


def test_wrong_runs_are_one_sentence(capsys):
    write("a", 2)
    write("odd", 2, columns=["loss"])
    for folder in ("none", "empty", "begun", "bytes", "word", "short", "never"):
        os.mkdir(folder)
    pathlib.Path("empty/metrics.csv").touch()
    pathlib.Path("begun/metrics.csv").write_text("epoch,val_loss\n")
    pathlib.Path("bytes/metrics.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    pathlib.Path("word/metrics.csv").write_text("epoch,val_loss\n1,0.5\n2,high\n")
    pathlib.Path("short/metrics.csv").write_text("epoch,val_loss\n1,0.5\n,0.4\n")
    pathlib.Path("never/metrics.csv").write_text("epoch,val_loss\n1,0.5\ninf,0.4\n")
    os.symlink("a", "same")
    for runs, out, message in (
            ([], "c.png", "there is no run to draw"),
            (["none"], "c.png", "none has no metrics.csv, which mindvit train writes after the first epoch"),
            (["gone"], "c.png", "there is no run gone; name a run folder"),
            (["a", "empty"], "c.png", "empty/metrics.csv has no epoch yet"),
            (["a", "begun"], "c.png", "begun/metrics.csv has no epoch yet"),
            (["bytes"], "c.png", "bytes/metrics.csv is no metrics.csv of mindvit train"),
            (["odd"], "c.png", "odd/metrics.csv is no metrics.csv of mindvit train"),
            (["word"], "c.png", "word/metrics.csv, line 3: val_loss is 'high', which is no number"),
            (["never"], "c.png", "never/metrics.csv, line 3: epoch is 'inf', which is no number"),
            (["short"], "c.png", "short/metrics.csv, line 3, has no epoch"),
            (["a", "a/metrics.csv"], "c.png", "a is given twice"), (["a", "same"], "c.png", "a is given twice"),
            (["a"], "c", "out is c; name a picture, for example c.png"),
            (["a"], "a/metrics.csv", "out is a/metrics.csv; name a picture"),
            (["a"], "a/metrics.csv/c.png", "a/metrics.csv is a file, no folder")):
        with pytest.raises((ValueError, OSError)) as error:
            plot_curves(runs, out)
        assert message in str(error.value) and "\n" not in str(error.value)
    for words, message in ((["none", "--out", "c.png"], "none has no metrics.csv"), (["a"], "missing: --out"),
                           (["--out", "c.png"], "missing: runs")):
        assert main(["plot-curves", *words]) == 2
        assert re.fullmatch(rf"mindvit plot-curves: {message}.*\n", capsys.readouterr().err)
    assert not os.path.exists("c.png")
