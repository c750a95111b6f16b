"""Every command that writes refuses what cannot be written in one sentence, with status 2, and leaves nothing."""

import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image
from tiny import FLAGS, TINY

import mindvit
from mindvit.cli import main

DIGITS = ["--model.name", "digits", "--model.pretrained", "true"]


@pytest.mark.parametrize("where", ["taken", "taken/new", f"{'long' * 70}/new"], ids=["a file", "below", "long"])
@pytest.mark.parametrize("command", [
    ["train", *FLAGS, "--data.root", "DATA", "--out", "OUT"],
    ["train", *FLAGS, "--data.root", "DATA", "--out", "OUT", "--resume", "auto"],
    ["show-batch", *FLAGS, "--data.root", "DATA", "--out", "OUT/batch.png"],
    ["eval", *DIGITS, "--data.root", "DATA", "--json", "OUT/result.json"],
    ["eval", *DIGITS, "--data.root", "DATA", "--confusion", "OUT"],
    ["eval", *DIGITS, "--data.root", "DATA", "--report", "OUT"],
    ["plot-curves", "runs/a", "--out", "OUT/curves.png"],
    ["predict", "1.png", *DIGITS, "--out", "OUT"],
    ["predict", "1.png", *DIGITS, "--json", "OUT/records.json"],
    ["convert", "tiny.ckpt", "OUT/model.safetensors", "--format", "timm", "--overrides", '{"num_heads": 4}'],
    ["quickstart", "--out", "OUT"]], ids=lambda words: " ".join((words[0], words[-2])))
def test_what_is_no_folder_is_refused(command, where, digit_folder, capsys):
    pathlib.Path("taken").touch()
    Image.fromarray(np.full((28, 28), 90, np.uint8)).save("1.png")
    mindvit.save_weights(mindvit.ViT(**TINY), "tiny.ckpt")
    words = [word.replace("OUT", where).replace("DATA", str(digit_folder)) for word in command]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"mindvit {command[0]}: {where}.* cannot be written: .*(is a file, no folder|"
                        r"File name too long)\n", error)
    assert sorted(os.listdir()) == ["1.png", "taken", "tiny.ckpt"]

