"""The picture of a training batch: the pixels that the network gets, and whose they are."""

import pathlib

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny import FLAGS

from mindvit import IMAGENET_MEAN, IMAGENET_STD, save_batch
from mindvit.cli import main

CONFIG = {"train": {"batch_size": 6, "lr": 0.1}, "out": "runs/a", "resume": "auto"}


def normalised(pixels):
    """Bytes (B, height, width, 3) as the network gets them."""
    return ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("side, scale", [(16, 14), (224, 1), (300, 1)])
def test_pixels_come_back(side, scale):
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3))
    save_batch(normalised(pixels), np.array([0, 1, 1]), ["cat", "\u72d7"], IMAGENET_MEAN, IMAGENET_STD, "b.png", 2)
    page = np.asarray(Image.open("b.png"), int)
    step = side * scale + 8
    for i, (row, column) in enumerate(((0, 0), (0, 1), (1, 0))):
        top, left = 8 + row * (step + 36), 8 + column * step
        tile = page[top:top + side * scale:scale, left:left + side * scale:scale]
        assert (tile == pixels[i]).all()
        below = page[top + side * scale:top + side * scale + 36, left:left + side * scale]
        assert (below < 128).any() and (below[18:] == 255).all()  # one line: one class
    shares = np.float32([[0.3, 0.7], [1, 0], [0.5, 0.5]])
    save_batch(normalised(pixels), shares, ["cat", "dog"], IMAGENET_MEAN, IMAGENET_STD, "c.png", 2)
    page = np.asarray(Image.open("c.png"), int)
    second = [page[8 + step - 8 + 18:8 + step - 8 + 36, 8 + column * step:column * step + step] for column in (0, 1)]
    assert (second[0] < 128).any() and (second[1] == 255).all()  # two classes, one class


def test_the_command_draws_what_a_config_does(digit_folder, capsys):
    pathlib.Path("job.yaml").write_text(yaml.safe_dump({**CONFIG, "data": {
        "root": str(digit_folder), "augment": ["resize", {"cutmix": 1.0}]}}))
    assert main(["show-batch", "job.yaml", *FLAGS, "--out", "seen.png"]) == 0
    assert "seen.png: 6 images of the first batch after resize, cutmix" in capsys.readouterr().out
    page = Image.open("seen.png")
    assert page.size == (4 * (224 + 8) + 8, 2 * (224 + 36 + 8) + 8) and not pathlib.Path("runs").exists()
    first = pathlib.Path("seen.png").read_bytes()
    assert main(["show-batch", "--config", "job.yaml", *FLAGS, "--out", "again.png"]) == 0
    assert pathlib.Path("again.png").read_bytes() == first  # the same seed
    assert main(["show-batch", "job.yaml", *FLAGS, "--out", "other.png", "--train.seed", "5"]) == 0
    assert pathlib.Path("other.png").read_bytes() != first
    capsys.readouterr()
    assert main(["show-batch", "job.yaml", *FLAGS, "--out", "seen"]) == 2
    assert "out is seen; name a picture, for example batch.png" in capsys.readouterr().err
