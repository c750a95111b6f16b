"""docs/first-hour.md, walked as it is written: phones' photographs in, checkpoints for timm and transformers out."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys

import mindspore
import numpy as np
import pytest
from PIL import Image

import mindvit

DOCS = pathlib.Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```(bash|console|python)\n(.*?)```", re.DOTALL)
SHELL = f'set -e\nmindvit() {{ "{sys.executable}" -m mindvit "$@"; }}\n'


def blocks(page="first-hour.md"):
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def sh(commands, folder, expect=0):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1]), "GLOG_v": "3"}
    result = subprocess.run(["bash", "-c", SHELL + commands], cwd=folder, env=environment, text=True, timeout=300,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == expect, result.stdout[-4000:]
    return result.stdout


def take_photographs(folder):
    """Light "cats" and dark "dogs": Chinese names, every EXIF orientation, one of 12 megapixels, one HEIC."""
    rng = np.random.default_rng(0)
    for name, shade in (("cats", 170), ("dogs", 40)):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(shade, shade + 60, (60, 80, 3), np.uint8)
            size = (4032, 3024) if i == 0 else (400, 300)
            exif = Image.Exif()
            exif[0x0112] = 1 + i % 8
            file = f"照片 {i}.jpg" if i % 2 else f"IMG_{i:04}.jpg"
            Image.fromarray(pixels).resize(size).save(folder / "photos" / name / file, exif=exif)
    (folder / "photos/cats/IMG_9999.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    pixels = rng.integers(170, 230, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "new.jpg")


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The folder after the walk, and what each block of the page printed."""
    folder, printed = tmp_path_factory.mktemp("first hour"), []
    take_photographs(folder)
    network = mindvit.create_model("vit_t_16", num_layers=1, activation="gelu", norm_eps=1e-6)
    mindvit.save_weights(network, folder / "vit_small", "timm")
    for kind, text in blocks():
        if kind == "console":
            command, refusal = text.removeprefix("$ ").split("\n", 1)
            checked = "check-data" in command
            printed.append(sh(command, folder, expect=1 if checked else 2))
            assert printed[-1].endswith(refusal)
            if not checked:
                (folder / "photos/cats/IMG_9999.HEIC").unlink()
        elif kind == "bash":
            printed.append(sh(text, folder))
    return folder, printed


def test_the_walk_runs_as_written(walk):
    folder, (_, _, first, evaluated, predicted, more, changed, *converted) = walk
    assert "16 training and 4 validation images, 2 classes" in first and "4 of the 20 images" in first
    rows = list(csv.DictReader(open(folder / "runs/pets/metrics.csv")))
    assert len(rows) == 3 and {"train_Top_1_Accuracy", "Top_1_Accuracy", "train_loss", "val_loss"} <= rows[0].keys()
    assert Image.open(folder / "runs/pets/curves.png").size[0] > 500
    assert "the weights are runs/pets/best.ckpt" in evaluated and "4 images (the held-out images" in evaluated
    counts = json.loads((folder / "runs/pets/confusion/confusion.json").read_text())
    assert counts["classes"] == ["cats", "dogs"] and np.sum(counts["counts"]) == 4
    record, = json.loads((folder / "new.json").read_text())
    assert re.search(r"^new.jpg: \{\d: '(cats|dogs)'\} 0\.\d{4}\n +\{\d: '(cats|dogs)'\} 0\.\d{4}$", predicted, re.M)
    assert (folder / record["annotated"]).exists() and Image.open(folder / "new.jpg").size == (400, 300)
    for text, run in ((more, "pets-2"), (changed, "pets-3")):
        assert f"runs/{run}/best.ckpt" in text and "replaced     0" in text
    settings = (folder / "pets.yaml").read_text()
    assert "augment:\n  - resize\n  - flip\n  - rotation: 10\n" in settings
    assert "timm prepares images with opening 'plain'" in "".join(converted)


@pytest.mark.libraries
def test_the_others_open_what_they_are_handed(walk, monkeypatch, capsys):
    torch, folder = pytest.importorskip("torch"), walk[0]
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    monkeypatch.chdir(folder)
    models = []
    for kind, text in blocks():
        if kind == "python":
            names = {}
            exec(text, names)
            models.append(names["model"].eval())
    assert capsys.readouterr().out.splitlines() == ["['cats', 'dogs']", "{0: 'cats', 1: 'dogs'}"]
    network = mindvit.from_checkpoint("runs/pets-3/best.ckpt")
    image = mindvit.prepare_image("new.jpg", 224, network.preprocessing)[None]
    expected = network(mindspore.Tensor(image)).asnumpy()
    with torch.no_grad():
        for model in models:
            output = model(torch.from_numpy(image))
            logits = getattr(output, "logits", output).numpy()
            np.testing.assert_allclose(logits, expected, atol=1e-5)

