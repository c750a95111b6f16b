"""Programs written against the Vision suite's and the tutorial's names, and the examples, run as a user runs them."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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


def test_tutorial_program(photo_folder, public_file):
    np.ones(1 << 30, np.uint8)  # pushes pages of files out of memory, which MindSpore's load_checkpoint counts as taken
    printed = run(HERE / "data/programs/tutorial_program.py", photo_folder, public_file)
    assert "epoch: 1 step: 4, loss is " in printed and "'Top_5_Accuracy': " in printed
    assert len(re.findall(r"^\{\d+: .+\}$", printed, re.MULTILINE)) == 4


def test_the_three_jobs(photo_folder, public_file):
    common = ["--data-root", photo_folder, "--checkpoint", public_file]
    printed = run(EXAMPLES / "train_imagenet_subset.py", *common, "--epochs", 1, "--batch-size", 4, "--workers", 1)
    assert "8 training and 4 validation images, 1000 classes" in printed
    results = json.loads(pathlib.Path("runs/imagenet_subset/metrics.json").read_text())
    assert results["images"] == 4 and 5 < results["train_loss"] < 9
    best = "runs/imagenet_subset/best.ckpt"
    printed = run(EXAMPLES / "evaluate_pretrained.py", "--data-root", photo_folder, "--checkpoint", best,
                  "--batch-size", 3)
    assert f"'Top_1_Accuracy': {results['Top_1_Accuracy']}" in printed and "4 images" in printed
    printed = run(EXAMPLES / "predict_images.py", photo_folder / "infer", "--checkpoint", best)
    assert len(re.findall(r"_3\.JPEG: \{\d+: .+\} 0\.\d{4}", printed)) == 4 and len(os.listdir("predicted")) == 4


def test_train_own_images(digit_folder):
    printed = run(EXAMPLES / "train_own_images.py", digit_folder / "val", "--model", "vit_t_16", "--image-size", 32,
                  "--epochs", 1, "--batch-size", 8, "--predict", digit_folder / "val/class 3")
    assert "training and" in printed and re.search(r"class 3/\d+\.png: \{\d: 'class \d'\}", printed)


def test_train_own_images_from_a_checkpoint_of_any_size(digit_folder):
    """Without --model the checkpoint tells the network; --predict looks where --out auto went."""
    sizes = {"patch_size": 8, "embed_dim": 128, "num_layers": 1, "num_heads": 2, "mlp_dim": 32}
    mindvit.save_weights(mindvit.ViT(32, num_classes=5, **sizes), "small.ckpt")
    for folder in ("runs/train", "runs/train-2"):
        printed = run(EXAMPLES / "train_own_images.py", digit_folder / "val", "--checkpoint", "small.ckpt", "--epochs",
                      1, "--batch-size", 8, "--out", "auto", "--predict", digit_folder / "val/class 3")
        assert f"\n{folder}/best.ckpt" in printed and "replaced     2" in printed
        assert re.search(r"class 3/\d+\.png: \{\d: 'class \d'\}", printed)
        assert len(os.listdir(f"{folder}/predicted")) == len(os.listdir(digit_folder / "val/class 3"))


def test_train_cifar10():
    folder = pathlib.Path("cifar-10-batches-bin")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        rows = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(20) % 10
        rows.tofile(folder / name)
    printed = run(EXAMPLES / "train_cifar10.py", folder, "--epochs", 1, "--batch-size", 10)
    assert "20 training and 20 validation images, 10 classes" in printed
    assert pathlib.Path("runs/cifar10/classes.txt").read_text().startswith("airplane\n")


@pytest.mark.parametrize("script", ["train_imagenet_subset.py", "evaluate_pretrained.py", "predict_images.py"])
def test_examples_without_a_network_say_what_to_do(script, monkeypatch):
    """Downloads go to a closed port of this machine, so that the test needs no network and asks none."""
    code = (f"import sys, runpy, mindvit.download as d; d.IMAGENET_SUBSET_URL = 'http://127.0.0.1:9/data.zip';"
            f"sys.argv = ['x']; runpy.run_path({str(EXAMPLES / script)!r}, run_name='__main__')")
    pathlib.Path("run.py").write_text(code)
    printed = run("run.py", expect=1)
    assert "cannot fetch http://127.0.0.1:9/data.zip" in printed and "put it at data.zip" in printed
    assert "`mindvit quickstart` needs neither" in printed and "Traceback" not in printed
    assert not os.path.exists("dataset")


def blocks(readme, language):
    text = (HERE.parent / readme).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme(photo_folder, public_file):
    """As it stands, but for the number of epochs and images a batch, which the eight photographs do not fill."""
    os.mkdir("ckpt")
    for target in ("vit_b_16_224.ckpt", "ckpt/vit_b_16_224.ckpt"):
        os.symlink(public_file, target)
    os.symlink(photo_folder, "dataset")
    mindvit.save_weights(mindvit.create_model("vit_t_16", num_layers=1), "vit_base_patch16_224.safetensors", "timm")
    code, chinese = ("\n".join(blocks(readme, "python")) for readme in ("README.md", "README_CN.md"))
    assert re.sub(" *#.*", "", code) == re.sub(" *#.*", "", chinese)
    for words, fewer in (("batch_size=16", "batch_size=4"), ("learning_rates(5e-5, 10,", "learning_rates(5e-5, 1,"),
                         ("model.train(10,", "model.train(1,")):
        assert words in code
        code = code.replace(words, fewer)
    pathlib.Path("readme.py").write_text(code)
    printed = run("readme.py")
    assert "step:[    2/    2]" in printed and "avg loss: " in printed and "replaced     2" in printed
    assert "GRAPH_MODE" not in printed  # it sets the mode itself


@pytest.mark.parametrize("readme", ["README.md", "README_CN.md"])
def test_the_commands_of_the_readme_are_understood(readme, capsys):
    os.symlink(HERE.parent / "configs", "configs")
    commands = [line.split()[1:] for block in blocks(readme, "bash") for line in block.splitlines()
                if re.match("mindvit (train|eval|predict) ", line)]
    assert len(commands) >= 4
    for words in commands:
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--print_config"])
        assert stopped.value.code == 0, words
