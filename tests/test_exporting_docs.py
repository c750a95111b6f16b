"""docs/export.md as it is written: its commands, its refusal, and its programs, which know nothing of mindvit."""

import os
import shlex
import subprocess
import sys

import mindspore
import numpy as np
import pytest
from PIL import Image
from test_first_hour import blocks

import mindvit
from mindvit.cli import main


@pytest.fixture(scope="module")
def folder(digit_folder, digit_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    os.symlink(digit_folder, folder / "data")
    (folder / "runs").mkdir()
    os.symlink(digit_run, folder / "runs/a")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC).save(folder / "new.png")
    return folder


def test_the_page_runs_as_written(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    printed = []
    for kind, text in blocks("export.md"):
        if kind == "python":
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
            printed.append(done.stdout.splitlines()[-1])
            continue
        commands, refusal = text.removeprefix("$ ").split("\n", 1) if kind == "console" else (text, "")
        for command in commands.splitlines():
            assert main(shlex.split(command)[1:]) == (2 if refusal else 0)
        assert capsys.readouterr().err == refusal
    best, shape = printed
    assert shape == "(2, 10)"
    network = mindvit.from_checkpoint("runs/a/best.ckpt")
    image = mindvit.prepare_image("new.png", 32, network.preprocessing.for_prediction())
    assert best == network.class_names[int(network(mindspore.Tensor(image[None])).argmax())]

