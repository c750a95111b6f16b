"""Programs written against the Vision suite's and the tutorial's names, and the examples, run as a user runs them."""

import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image
from tiny import FLAGS, TINY

import mindvit
from mindvit.cli import main

HERE = pathlib.Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


def run(script, *arguments, expect=0):
    """Runs a script in the current, empty folder; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1]), "GLOG_v": "3"}
    result = subprocess.run([sys.executable, str(script), *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert result.returncode == expect, result.stdout[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def public_file(tmp_path_factory):
    """A ViT-B/16 with random weights in the public file's flat names."""
    path = tmp_path_factory.mktemp("ckpt") / "vit_b_16_224.ckpt"
    mindvit.save_weights(mindvit.vit_b_16(), path)
    return path


def test_suite_program(photo_folder, tmp_path):
    checkpoint = tmp_path / "vit_b_32_224_tv.ckpt"
    mindvit.save_weights(mindvit.vit_b_32(), checkpoint, "suite")
    printed = run(HERE / "data/programs/suite_program.py", photo_folder, checkpoint)
    assert len(re.findall(r"Epoch:\[  0/  1\], step:\[    [12]/    2\], loss:\[\d\.\d{3}/\d\.\d{3}\]", printed)) == 2
    accuracies = re.search(r"\{'Top_1_Accuracy': ([\d.]+), 'Top_5_Accuracy': ([\d.]+)\}", printed)
    assert float(accuracies[1]) * 4 % 1 == 0  # of four images
    assert len(re.findall(r"infer/n\d{8}/n\d{8}_3\.JPEG \{\d+: ", printed)) == 4
    assert sorted(os.listdir("ViT/predicted")) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    original = Image.open(photo_folder / "infer/n02123045/n02123045_3.JPEG")
    annotated = Image.open("ViT/predicted/0.jpg")
    difference = np.abs(np.asarray(annotated, float) - np.asarray(original, float)).mean(2)
    assert annotated.size == original.size and difference[:30].mean() > 5 * difference[-30:].mean()  # text on top


def test_blog_program(photo_folder, tmp_path):
    """The suite's example wrote the result over the picture that it had read."""
    with zipfile.ZipFile(tmp_path / "vit_dataset.zip", "w") as archive:
        for file in photo_folder.rglob("*.JPEG"):
            archive.write(file, file.relative_to(photo_folder.parent))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *args: None  # the first of two requests is hung up on, when the size is known
        threading.Thread(target=server.serve_forever, daemon=True).start()
        printed = run(HERE / "data/programs/blog_program.py", f"http://127.0.0.1:{server.server_port}/vit_dataset.zip")
        server.shutdown()
    assert "Epoch:[  0/  1], step:[    2/    2]" in printed and "'Top_5_Accuracy': " in printed
    assert len(re.findall(r"^\{\d+: .+\}$", printed, re.MULTILINE)) == 4 and os.listdir("ViT")
    for original in photo_folder.rglob("*.JPEG"):
        assert pathlib.Path("dataset", original.relative_to(photo_folder)).read_bytes() == original.read_bytes()
    for original in photo_folder.rglob("infer/*/*.JPEG"):
        copy = f"dataset/{original.relative_to(photo_folder).with_suffix('')}_annotated.JPEG"
        assert f"the annotated copy is {copy}" in printed
        difference = np.abs(np.asarray(Image.open(copy), float) - np.asarray(Image.open(original), float)).mean(2)
        assert difference[:20, :40].mean() > 5 * difference[30:].mean()  # the index, top left


def test_tutorial_program(photo_folder, public_file):
    """MindSpore's load_checkpoint asks for free pages and takes those with files for taken: it is told of more."""
    pathlib.Path("roomy.py").write_text("""import os, runpy, sys
pages = os.sysconf
os.sysconf = lambda name: 1 << 20 if name == "SC_AVPHYS_PAGES" else pages(name)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""")
    printed = run("roomy.py", HERE / "data/programs/tutorial_program.py", photo_folder, public_file)
    assert "epoch: 1 step: 4, loss is " in printed and "'Top_5_Accuracy': " in printed
    assert len(re.findall(r"^\{\d+: .+\}$", printed, re.MULTILINE)) == 4


def test_the_three_jobs(photo_folder):
    mindvit.save_weights(mindvit.vit_t_16(), "vit_t_16_224.ckpt")
    common = ["--data-root", photo_folder, "--model", "vit_t_16", "--checkpoint", "vit_t_16_224.ckpt"]
    printed = run(EXAMPLES / "train_imagenet_subset.py", *common, "--epochs", 1, "--batch-size", 4, "--workers", 1)
    assert "8 training and 4 validation images, 1000 classes" in printed
    results = json.loads(pathlib.Path("runs/imagenet_subset/metrics.json").read_text())
    assert results["images"] == 4 and 5 < results["train_loss"] < 9
    best = "runs/imagenet_subset/best.ckpt"
    printed = run(EXAMPLES / "evaluate_pretrained.py", "--data-root", photo_folder, "--model", "vit_t_16",
                  "--checkpoint", best, "--batch-size", 3)
    assert f"'Top_1_Accuracy': {results['Top_1_Accuracy']}" in printed and "4 images" in printed
    printed = run(EXAMPLES / "predict_images.py", photo_folder / "infer", "--model", "vit_t_16", "--checkpoint", best)
    assert len(re.findall(r"_3\.JPEG: \{\d+: .+\} 0\.\d{4}", printed)) == 4 and len(os.listdir("predicted")) == 4


def test_train_own_images(digit_folder):
    printed = run(EXAMPLES / "train_own_images.py", digit_folder / "val", "--model", "vit_t_16", "--image-size", 32,
                  "--epochs", 1, "--batch-size", 8, "--predict", digit_folder / "val/class 3")
    assert "training and" in printed and re.search(r"class 3/\d+\.png: \{\d: 'class \d'\}", printed)


def test_train_own_images_from_a_checkpoint_of_any_size(digit_folder):
    """Without --model the checkpoint tells the network; --predict looks where --out auto went."""
    network = mindvit.ViT(**{**TINY, "embed_dim": 128, "num_heads": 2, "num_classes": 5})
    mindvit.save_weights(network, "small.ckpt")
    for folder in ("runs/train", "runs/train-2"):
        printed = run(EXAMPLES / "train_own_images.py", digit_folder / "val", "--checkpoint", "small.ckpt", "--epochs",
                      1, "--batch-size", 8, "--out", "auto", "--predict", digit_folder / "val/class 3")
        assert f"\n{folder}/best.ckpt" in printed and "replaced     2" in printed
        assert re.search(r"class 3/\d+\.png: \{\d: 'class \d'\}", printed)
        assert len(os.listdir(f"{folder}/predicted")) == len(os.listdir(digit_folder / "val/class 3"))


@pytest.mark.parametrize("classes, files", [(10, ("data_batch_1.bin", "test_batch.bin")),
                                            (100, ("train.bin", "test.bin"))])
def test_train_cifar(classes, files):
    rng = np.random.default_rng(0)
    os.mkdir("cifar")
    for name in files:
        rows = rng.integers(0, classes // 100 + 1, (20, 3073 + classes // 100), dtype=np.uint8)
        rows[:, classes // 100] = np.arange(20) % 10
        rows.tofile(f"cifar/{name}")
    printed = run(EXAMPLES / "train_cifar10.py", "cifar", "--epochs", 1, "--batch-size", 10)
    assert f"20 training and 20 validation images, {classes} classes" in printed
    first = "airplane" if classes == 10 else "apple"
    assert pathlib.Path("runs/cifar10/classes.txt").read_text().startswith(f"{first}\n")


def test_chinese_class_folders_and_a_phones_picture(digit_folder, capsys):
    """From training to pictures: names in Chinese everywhere, in sorted order; HEIC is an error record."""
    names = sorted(["\u732b", "\u72d7", "\u91d1\u6bdb\u5bfb\u56de\u72ac"])
    for digit, name in enumerate(names):
        shutil.copytree(digit_folder / f"train/class {digit}", f"\u6570\u636e/{name}")
    assert main(["train", "--data.root", "\u6570\u636e", *FLAGS, "--train.epochs", "1",
                 "--train.batch_size", "8", "--out", "run"]) == 0
    assert pathlib.Path("run/classes.txt").read_text(encoding="utf-8").split() == names
    weights = ["--checkpoint", "run/best.ckpt", "--model.overrides", '{"num_heads": 4}', "--device_target", "CPU"]
    assert main(["eval", "--data.root", "\u6570\u636e", *weights, "--confusion", "c"]) == 0
    assert json.loads(pathlib.Path("c/confusion.json").read_text(encoding="utf-8"))["classes"] == names
    pathlib.Path(f"\u6570\u636e/{names[0]}/\u7167\u7247.heic").write_bytes(b"\0\0\0\x14ftypheic\0\0\0\0heic")
    main(["predict", f"\u6570\u636e/{names[0]}", *weights, "--json", "p.json"])
    records = json.loads(pathlib.Path("p.json").read_text(encoding="utf-8"))
    errors = [record["error"] for record in records if "error" in record]
    assert len(errors) == 1 == len(records) - len(os.listdir("predicted")) and "\u7167\u7247.heic: it is" in errors[0]
    assert {record["predictions"][0]["label"] for record in records if "error" not in record} <= set(names)
    assert "heif-convert" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["train_imagenet_subset.py", "evaluate_pretrained.py", "predict_images.py"])
def test_examples_without_a_network_say_what_to_do(script, monkeypatch):
    """Downloads go to a closed port of this machine, so that the test needs no network and asks none."""
    code = (f"import sys, runpy, mindvit.download as d; d.IMAGENET_SUBSET_URL = 'http://127.0.0.1:9/data.zip';"
            f"d.OLDER_SUBSET_URL = 'http://127.0.0.1:9/older.zip';"
            f"sys.argv = ['x']; runpy.run_path({str(EXAMPLES / script)!r}, run_name='__main__')")
    pathlib.Path("run.py").write_text(code)
    printed = run("run.py", expect=1)
    assert "cannot fetch http://127.0.0.1:9/data.zip" in printed and "put it at data.zip" in printed
    assert "`mindvit quickstart` needs neither" in printed and "Traceback" not in printed
    assert not os.path.exists("dataset")
