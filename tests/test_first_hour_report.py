"""docs/report.md, run as it is written where docs/first-hour.md ends."""

import csv
import pathlib
import re
import shutil

import pytest
from PIL import Image
from test_first_hour import blocks, sh


@pytest.fixture(scope="module")
def walk(digit_folder, digit_run, tmp_path_factory):
    """The folder after the walk, and what each command printed."""
    folder, printed = tmp_path_factory.mktemp("report"), []
    shutil.copy(min(digit_folder.glob("val/*/*.png")), folder / "new.jpg")
    for name in ("pets", "pets-2"):
        shutil.copytree(digit_run, folder / "runs" / name)
    for kind, text in blocks("report.md"):
        if kind == "bash":
            printed.append(sh(text, folder))
    return folder, printed


def test_the_commands_run_as_written(walk, monkeypatch):
    folder, (predicted, curves, evaluated) = walk
    assert "new.jpg: {" in predicted and Image.open(folder / "seen/new.jpg").width > 320
    assert "curves.png: loss and accuracy of runs/pets, runs/pets-2" in curves
    assert Image.open(folder / "curves.png").format == "PNG"
    assert "runs/pets/report/report.html: open it in a browser" in evaluated
    last = list(csv.DictReader(open(folder / "runs/pets/metrics.csv")))[-1]
    assert f"{float(last['Top_1_Accuracy']):.2%}" in (folder / "runs/pets/report/report.html").read_text()


def test_the_program_runs_as_written(walk, monkeypatch):
    folder = walk[0]
    monkeypatch.chdir(folder)
    program, = (text for kind, text in blocks("report.md") if kind == "python")
    exec(program, {})
    assert Image.open("bars.png").height > 320 and Image.open("line.png").size == (32, 32)


def test_the_pictures_of_the_page_are_there():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    shown = re.findall(r"!\[.*?\]\((.*?)\)", (docs / "report.md").read_text(encoding="utf-8"))
    assert len(shown) == 2 and all(Image.open(docs / name).width > 800 for name in shown)
