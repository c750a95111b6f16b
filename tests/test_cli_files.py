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



def test_what_a_user_has_is_not_replaced(digit_folder, capsys):
    """--json replaces results of its own command alone; a picture gets the next free name."""
    os.mkdir("runs")
    pathlib.Path("runs/metrics.csv").write_text("epoch,val_loss\n1,0.5\n")
    os.makedirs("data/val/0")
    for name in ("mine.png", "data/val/0/1.png"):
        Image.fromarray(np.full((28, 28), 90, np.uint8)).save(name)
    mindvit.save_weights(mindvit.ViT(**TINY), "mine.ckpt")
    for name, text in {"dict": '{"images": 3}', "list": '[{"path": "a"}, 7]', "open": '[{"path":', "deep": "[" * 10**5,
                       "text": "a"}.items():
        pathlib.Path(f"{name}.json").write_text(text)
    mine = {name: pathlib.Path(name).read_bytes() for name in os.listdir() if os.path.isfile(name)}
    commands = {"predict": ["mine.png"], "attention": ["mine.png", "--steps", "0"],
                "eval": ["--data.root", "data"]}
    for command, words in commands.items():
        for name in mine:
            assert main([command, *words, *DIGITS, "--json", name]) == 2, name
            assert f"mindvit {command}: {name} is there already, and only an earlier" in capsys.readouterr().err
    for command, other in (("predict", "eval"), ("eval", "predict")):
        for _ in range(2):
            assert main([command, *commands[command], *DIGITS, "--json", f"{command}.json"]) == 0
        assert main([other, *commands[other], *DIGITS, "--json", f"{command}.json"]) == 2
    drawing = {"plot-curves": ["runs"], "show-batch": [*FLAGS, "--data.root", str(digit_folder)]}
    for number, (command, words) in enumerate(drawing.items(), 2):
        capsys.readouterr()
        assert main([command, *words, "--out", "mine.png"]) == 0
        assert f"mine-{number}.png: " in capsys.readouterr().out and Image.open(f"mine-{number}.png").width > 28
    assert {name: pathlib.Path(name).read_bytes() for name in mine} == mine
