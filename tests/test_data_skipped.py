"""Images that cannot be read, in training and evaluation: left out and named, and nothing else changes."""

import csv
import json
import os
import pathlib
import shutil

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from tiny import FLAGS

from mindvit import ImageFolder, TrainConfig, TrainJob, train
from mindvit.cli import main
from mindvit.config import DataConfig, ModelConfig
from mindvit.data import train_transform
from mindvit.training.metrics import Confusion, validation_metrics

JPEG = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))


def damage(file, kind):
    """Makes of an image one that cannot be read."""
    if kind == "vanished":
        return file.unlink()
    if kind == "pipe":
        file.unlink()
        return os.mkfifo(file)
    if kind == "link":
        file.unlink()
        return file.symlink_to("nowhere.png")
    if kind == "loop":
        file.unlink()
        return file.symlink_to(file.name)
    file.write_bytes({"empty": b"", "text": b"no picture at all", "zeros": bytes(500),
                      "html": b"<!DOCTYPE html><html></html>", "cut": file.read_bytes()[:90]}[kind])
    return None


@pytest.fixture
def damaged(digit_folder):
    """A copy of the digits: one training image of 160 and two validation images of 40 cannot be read."""
    root = pathlib.Path("data")
    shutil.copytree(digit_folder, root)
    files = [min((root / where).iterdir()) for where in ("train/class 4", "val/class 1", "val/class 6")]
    for file, kind in zip(files, ("text", "cut", "pipe")):
        damage(file, kind)
    return root, files


def test_a_run_goes_on_and_names_what_it_left_out(damaged, capsys):
    root, files = damaged
    words = ["train", "--data.root", str(root), *FLAGS, "--train.batch_size", "16", "--train.epochs", "2",
             "--data.max_skipped", "0.1", "--out", "run"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    with open("run/skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["split"], row["path"]) for row in rows) == sorted(
        zip(("train", "val", "val"), map(str, files)))
    assert {row["reason"] for row in rows} == {"not a JPEG, PNG, BMP, WebP or GIF file", "it is no file",
                                               next(row["reason"] for row in rows if row["path"] == str(files[1]))}
    results = json.loads(pathlib.Path("run/metrics.json").read_text())
    assert results["skipped"] == {"train": 1, "val": 2} and results["images"] == 38
    assert printed.count("left out") == 1 and "3 images that cannot be read were left out (1 of training, 2 of valid" \
        in printed
    assert " on 38 validation images" in printed
    for file in files:  # the same without them
        file.unlink()
    assert main(["eval", "--data.root", str(root), "--checkpoint", "run/best.ckpt", "--json", "without.json"]) == 0
    without = json.loads(pathlib.Path("without.json").read_text())
    assert without["Top_1_Accuracy"] == results["Top_1_Accuracy"] and without["skipped"] == []
    assert without["val_loss"] == pytest.approx(results["val_loss"], abs=1e-6)


def test_evaluation_counts_neither_right_nor_wrong(damaged, digit_run, capsys):
    root, files = damaged
    words = ["eval", "--data.root", str(root), "--checkpoint", str(digit_run / "best.ckpt"), "--per_class", "true"]
    assert main([*words, "--data.max_skipped", "0.05", "--json", "with.json"]) == 0
    printed = capsys.readouterr().out
    assert "38 images" in printed and all(f"left out: {file}: " in printed for file in files[1:])
    for file in files[1:]:
        file.unlink()
    assert main([*words, "--json", "without.json"]) == 0
    found, expected = (json.loads(pathlib.Path(name).read_text()) for name in ("with.json", "without.json"))
    assert [row["path"] for row in found.pop("skipped")] == list(map(str, files[1:])) and expected.pop("skipped") == []
    assert found.pop("val_loss") == pytest.approx(expected.pop("val_loss"), abs=1e-6) and found == expected


@pytest.mark.parametrize("flags, message", [
    (["--data.strict", "true"], "mindvit train: cannot read the image data/train/class 4/"),
    (["--data.max_skipped", "0.001"], "mindvit train: 1 of 160 images cannot be read, more than data.max_skipped, 0.0"),
])
def test_too_many_end_the_run(damaged, flags, message, capfd):
    assert main(["train", "--data.root", str(damaged[0]), *FLAGS, *flags, "--out", "run"]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(message) and str(damaged[1][0]) in error


@pytest.mark.parametrize("kind", ["vanished", "pipe", "link", "loop", "empty", "text", "zeros", "html", "cut"])
def test_an_image_that_breaks_between_epochs(digit_folder, kind):
    """Every batch has its shape; in the place of the broken image stands the next, in evaluation without a label."""
    for split, label in (("train", 0), ("val", -1)):
        root = pathlib.Path(split)
        shutil.copytree(digit_folder / "val", root / split)
        data = ImageFolder(root, split, batch_size=5, transform=train_transform(32, ["resize"]), shuffle=False,
                           max_skipped=0.1)
        dataset = data.run()
        first = [labels.asnumpy() for _, labels in dataset.create_tuple_iterator(num_epochs=1)]
        damage(data.files[1], kind)
        second = list(dataset.create_tuple_iterator(num_epochs=1))
        assert [images.shape for images, _ in second] == [(5, 3, 32, 32)] * 8
        assert list(data.skipped) == [1] and data.files[1].name not in data.skipped[1]
        expected = np.concatenate(first)
        assert expected[1] == 0
        expected[1] = label
        assert (np.concatenate([labels.asnumpy() for _, labels in second]) == expected).all()
        assert (second[0][0][1] == second[0][0][2]).all()


def test_metrics_leave_out_what_has_no_label():
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal((12, 7)).astype(np.float32), rng.integers(0, 7, 12)
    bad = labels.copy()
    bad[[0, 5, 11]] = -1
    kept = bad >= 0
    for metric in [*validation_metrics(7).values(), Confusion(7)]:
        values = []
        for batches in ([(logits[:6], bad[:6]), (logits[6:], bad[6:]), (logits[:3], np.full(3, -1))],
                        [(logits[kept], labels[kept])]):
            metric.clear()
            for images, wanted in batches:
                metric.update(ms.Tensor(images), ms.Tensor(wanted.astype(np.int32)))
            values.append(metric.eval())
        assert np.allclose(*values, rtol=1e-12)


def test_an_empty_class_folder_is_told_and_stays_a_class(digit_folder, capsys):
    shutil.copytree(digit_folder, "data")
    shutil.rmtree("data/train/class 3")
    pathlib.Path("data/train/class 3").mkdir()
    pathlib.Path("data/train/class 3/notes.txt").touch()
    pathlib.Path("data/train/class 5/.hidden.png").touch()
    job = TrainJob(data=DataConfig("data"), model=ModelConfig("vit_t_16", image_size=32, overrides={"num_layers": 1}),
                   train=TrainConfig(epochs=1, batch_size=16), out="run")
    assert 0 <= train(job)["Top_1_Accuracy"] <= 1
    assert "data/train/class 3 has no images" in capsys.readouterr().out
    assert len(pathlib.Path("run/classes.txt").read_text().splitlines()) == 10


@pytest.mark.parametrize("name", ["Train", "VAL"])
def test_split_folders_in_capitals_are_no_classes(digit_folder, name, capsys):
    shutil.copytree(digit_folder, "data")
    pathlib.Path("data", name.lower()).rename(pathlib.Path("data", name))
    assert main(["train", "--data.root", "data", *FLAGS, "--out", "run"]) == 2
    assert f"mindvit train: data has {name}/; call it {name.lower()}, or it would" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["two\nlines", b"caf\xe9".decode("utf-8", "surrogateescape")])
def test_a_class_that_no_text_file_can_name_is_refused(digit_folder, name, capsys):
    shutil.copytree(digit_folder / "train/class 1", f"data/{name}")
    shutil.copytree(digit_folder / "train/class 2", "data/other")
    assert main(["train", "--data.root", "data", *FLAGS, "--out", "run"]) == 2
    assert "rename it: its name has a line break or is no UTF-8" in capsys.readouterr().err


def test_where_nothing_can_be_read_the_run_ends_with_a_sentence(capfd):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        pathlib.Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path("data", name).write_text("no picture")
    words = ["train", "--data.root", "data", *FLAGS, "--train.batch_size", "2", "--data.max_skipped", "1"]
    assert main(words) == 2
    assert "mindvit train: none of the 2 images in data can be read" in capfd.readouterr().err
