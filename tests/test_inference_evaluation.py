"""Evaluation and prediction against counts made elsewhere, and everything in which they could measure another thing."""

import csv
import json
import pathlib
import shutil

import mindspore as ms
import numpy as np
import pytest
import reference
from mindspore import Tensor
from PIL import Image
from sklearn.metrics import confusion_matrix
from tiny import NAMED, TINY

from mindvit import (
    ViT,
    from_checkpoint,
    save_weights,
)
from mindvit.cli import main
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD

WIDER = {**TINY, "embed_dim": 64, "num_layers": 1}  # the head is fitted to its features
COMMON = ["--data.crop_fraction", "1.0", "--device_target", "CPU", "--mode", "pynative"]


def pixels(files):
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]) / 255
    return ((images - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)


def labelled(root):
    files = sorted(root.glob("*/*.png"))
    return files, np.array([int(file.parent.name[-1]) for file in files])


@pytest.fixture(scope="module")
def checkpoint(digit_folder, tmp_path_factory):
    """A ViT with random weights whose head is fitted to the training digits by least squares, with its classes.txt."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(5)
    network = ViT(**WIDER).set_train(False)
    files, labels = labelled(digit_folder / "train")
    features = network.forward_features(Tensor(pixels(files)))[:, 0].asnumpy()
    head = np.linalg.lstsq(np.c_[features, np.ones(len(files))], np.eye(10)[labels], rcond=1e-3)[0].T * 10
    network.dense.weight.set_data(Tensor(head[:, :-1], ms.float32))
    network.dense.bias.set_data(Tensor(head[:, -1], ms.float32))
    path = tmp_path_factory.mktemp("fitted") / "digits.ckpt"
    save_weights(network, path)
    path.with_name("classes.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    return path


def predicted(checkpoint, files):
    network = from_checkpoint(checkpoint, num_heads=4)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    return network(Tensor(pixels(files))).asnumpy().argmax(1)


def evaluate(root, checkpoint, *words):
    arguments = ["eval", "--data.root", str(root), "--checkpoint", str(checkpoint), "--json", "result.json"]
    status = main([*arguments, "--model.overrides", '{"num_heads": 4}', *COMMON, *words])
    return json.loads(pathlib.Path("result.json").read_text()) if status == 0 else status


@pytest.fixture
def data(digit_folder, tmp_path):
    """A copy of the digits with val/ alone, to be renamed and reduced; class 7, which lacks there, from train/."""
    shutil.copytree(digit_folder / "val", tmp_path / "data" / "val")
    shutil.copytree(digit_folder / "train" / "class 7", tmp_path / "data" / "val" / "class 7")
    return tmp_path / "data"


def test_per_class_rows_and_the_confusion_matrix_are_scikit_learns(checkpoint, data, capsys):
    files, labels = labelled(data / "val")
    found = predicted(checkpoint, files)
    expected = confusion_matrix(labels, found, labels=range(10))
    results = evaluate(data, checkpoint, "--per_class", "--confusion", "confusion", "--mode", "graph")
    assert results["Top_1_Accuracy"] == (labels == found).mean() > 0.4  # it can tell digits apart
    assert [(row["class"], row["images"], row["correct"], row["Top_1_Accuracy"]) for row in results["per_class"]] == [
        (f"class {i}", n, c, c / n) for i, (n, c) in enumerate(zip(expected.sum(1), expected.diagonal())) if n]
    printed = capsys.readouterr().out
    assert f"class 3 {expected.sum(1)[3]:>7} {expected[3, 3]:>7}" in printed
    written = json.loads(pathlib.Path("confusion/confusion.json").read_text())
    assert written["counts"] == expected.tolist() and written["classes"][9] == "class 9"
    with open("confusion/confusion.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [f"class {i}" for i in range(10)] and [row[0] for row in rows[1:]] == rows[0][1:]
    assert np.array([row[1:] for row in rows[1:]], int).tolist() == expected.tolist()
    assert Image.open("confusion/confusion.png").width > 400


def test_folders_are_matched_by_name(checkpoint, data, capsys):
    expected = evaluate(data, checkpoint)["Top_1_Accuracy"]
    renamed = checkpoint.parent / "renamed"  # the same weights, whose names sort in another order
    renamed.mkdir()
    shutil.copy(checkpoint, renamed)
    (renamed / "classes.txt").write_text("".join(f"kind {9 - i}\n" for i in range(10)))
    for i in range(10):
        (data / "val" / f"class {i}").rename(data / "val" / f"kind {9 - i}")
    assert evaluate(data, renamed / checkpoint.name)["Top_1_Accuracy"] == expected
    (data / "val" / "kind 3").rename(data / "val" / "kind three")
    capsys.readouterr()
    assert evaluate(data, renamed / checkpoint.name) == 2
    error = capsys.readouterr().err
    assert "the class folder kind three in" in error and "is none of the 10 classes; did you mean 'kind" in error
    assert "num_classes" not in error


def test_some_of_the_classes_are_evaluated_on_those(checkpoint, data, capsys):
    files, labels = labelled(data / "val")
    kept = (labels != 2) & (labels != 7)
    expected = (predicted(checkpoint, files) == labels)[kept].mean()
    for label in (2, 7):
        shutil.rmtree(data / "val" / f"class {label}")
    results = evaluate(data, checkpoint)
    assert results["Top_1_Accuracy"] == pytest.approx(expected) and results["images"] == kept.sum()
    assert "2 of the 10 classes have no folder in" in (printed := capsys.readouterr().out)
    assert "class 2, class 7" in printed


def test_wnid_folders_are_found_by_imagenets_names(checkpoint, data):
    """classes.txt of a data set of wnid folders holds human names; one of ImageNet's stands for two classes."""
    expected = evaluate(data, checkpoint)["Top_1_Accuracy"]
    wnids = {"n01440764": "tench", "n02012849": "crane", "n03126707": "crane", "n02107142": "Doberman"}
    for i, wnid in enumerate(wnids):
        (data / "val" / f"class {i}").rename(data / "val" / wnid)
    folder = checkpoint.parent / "wnids"
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    names = ["tench", "crane", "machine", "Doberman", *(f"class {i}" for i in range(4, 10))]
    (folder / "classes.txt").write_text("\n".join(names))
    assert evaluate(data, folder / checkpoint.name) == 2  # two folders called crane
    (data / "val" / "n03126707").rename(data / "val" / "machine")
    assert evaluate(data, folder / checkpoint.name)["Top_1_Accuracy"] == expected


def test_without_names_the_number_of_folders_counts(checkpoint, data, tmp_path, capsys):
    shutil.copy(checkpoint, tmp_path / "bare.ckpt")
    expected = evaluate(data, checkpoint)["Top_1_Accuracy"]
    assert evaluate(data, tmp_path / "bare.ckpt")["Top_1_Accuracy"] == expected
    assert "the checkpoint does not name its 10 classes" in capsys.readouterr().out
    shutil.rmtree(data / "val" / "class 4")
    assert evaluate(data, tmp_path / "bare.ckpt") == 2
    error = capsys.readouterr().err
    assert "the head has 10 classes, but" in error and "9 class folders" in error and "set num_classes" not in error


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_head_of_random_numbers_is_never_measured(command, checkpoint, data, capsys):
    what = ["--data.root", str(data)] if command == "eval" else [str(data)]
    common = [command, *what, "--checkpoint", str(checkpoint), "--model.overrides.num_heads", "4"]
    assert main([*common, "--model.num_classes", "7"]) == 2
    error = capsys.readouterr().err
    assert "does not fill dense.bias, dense.weight of the network asked for, which has 7 classes" in error
    assert "Leave out --model.num_classes" in error
    network = ViT(**{**WIDER, "num_classes": 0})
    save_weights(network, "headless.ckpt")
    assert main([command, *what, "--checkpoint", "headless.ckpt", "--model.overrides.num_heads", "4"]) == 2
    assert "headless.ckpt has no head" in capsys.readouterr().err


def test_what_is_evaluated_is_said(checkpoint, digit_folder, tmp_path, capsys):
    """val/ if there, else test/, else the part that training holds out; --data.test takes all of a folder."""
    root = tmp_path / "root"
    shutil.copytree(digit_folder / "train", root / "train")
    files, labels = labelled(root / "train")
    right = predicted(checkpoint, files) == labels
    results = evaluate(root, checkpoint)
    assert f"{results['images']} images (the held-out images in {root})" in (printed := capsys.readouterr().out)
    assert f"{results['images']} of the 160 images in {root / 'train'} are held out for validation" in printed
    everything = evaluate(root, checkpoint, "--data.test", str(root / "train"))
    assert everything["images"] == 160 and everything["Top_1_Accuracy"] == pytest.approx(right.mean())
    shutil.copytree(digit_folder / "val", root / "test")
    assert evaluate(root, checkpoint)["images"] == 40
    assert f"40 images (all images in {root / 'test'})" in capsys.readouterr().out
    shutil.copytree(digit_folder / "val", root / "val")
    shutil.rmtree(root / "val" / "class 0")
    assert evaluate(root, checkpoint)["images"] == len(list((root / "val").glob("*/*")))


def test_eval_counts_every_image_and_equals_the_formulas(digit_run, digit_folder, capsys):
    status = main(["eval", "--data.root", str(digit_folder), *NAMED, "--batch_size", "16",
                   "--checkpoint", str(digit_run / "best.ckpt"), "--json", "result.json"])
    printed, results = capsys.readouterr().out, json.loads(pathlib.Path("result.json").read_text())
    assert status == 0 and results["images"] == 40
    assert str({name: results[name] for name in ("Top_1_Accuracy", "Top_5_Accuracy")}) in printed
    assert "40 images" in printed

    weights = {name: value.asnumpy() for name, value in ms.load_checkpoint(str(digit_run / "best.ckpt")).items()}
    files = sorted((digit_folder / "val").glob("*/*.png"))
    labels = np.array([int(file.parent.name[-1]) for file in files])
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])  # 32 pixels: nothing to resize
    images = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2)
    logits = reference.vit(weights, images, patch=(16, 16), heads=3)
    assert results["Top_1_Accuracy"] == (logits.argmax(1) == labels).mean()
    assert results["val_loss"] == pytest.approx(reference.cross_entropy(logits, np.eye(10)[labels]).mean(), rel=1e-4)
