"""The command, from training to prediction, and a user's errors in one line."""

import dataclasses
import json
import pathlib
import shutil

import mindspore as ms
import pytest
from safetensors.numpy import load_file
from tiny import FLAGS

from mindvit import (
    VARIANTS,
    create_model,
    from_checkpoint,
    list_models,
    save_weights,
)
from mindvit.checkpoints.libraries.timm import timm_preparation
from mindvit.cli import main


def test_overrides_are_checked_against_vits_arguments(digit_folder, digit_run, capsys):
    train = ["train", "--data.root", str(digit_folder), "--out", "run", "--model.name", "vit_t_16"]
    assert main([*train, "--model.overrides", '{"keep_porb": 0.9}']) == 2
    assert "ViT has no argument 'keep_porb'; did you mean keep_prob?" in capsys.readouterr().err
    pathlib.Path("job.yaml").write_text("model: {overrides: {num_layer: 2}}")
    assert main([*train, "--config", "job.yaml"]) == 2
    assert "ViT has no argument 'num_layer'; did you mean num_layers?" in capsys.readouterr().err
    for build in (lambda **words: create_model("vit_t_16", **words),
                  lambda **words: from_checkpoint(digit_run / "best.ckpt", **words)):
        with pytest.raises(ValueError, match="ViT has no argument 'atention_keep_prob'; did you mean attention_keep_"):
            build(atention_keep_prob=0.9)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes_from_training_to_prediction(classes, digit_folder, capsys):
    for i in range(classes):
        shutil.copytree(digit_folder / "train" / f"class {i}", f"data/{i}")
    assert main(["train", "--data.root", "data", *FLAGS, "--train.epochs", "1",
                 "--train.batch_size", "8", "--out", "run"]) == 0
    head = ["--checkpoint", "run/best.ckpt", "--model.overrides.num_heads", "4", "--mode", "pynative"]
    assert main(["eval", "--data.root", "data", *head, "--json", "result.json"]) == 0
    assert main(["predict", "data/0", "data/1", *head, "--top_k", "9", "--json", "records.json"]) == 0
    printed, results = capsys.readouterr().out, json.loads(pathlib.Path("result.json").read_text())
    assert "top-1" in printed and "top-5" not in printed and "Top_5" not in printed
    assert "Top_1_Accuracy" in results and "Top_5_Accuracy" not in results
    header = pathlib.Path("run/metrics.csv").read_text().splitlines()[0]
    assert "Top_1_Accuracy" in header and "Top_5_Accuracy" not in header
    record = json.loads(pathlib.Path("records.json").read_text())[0]
    assert sorted(p["label"] for p in record["predictions"]) == [str(i) for i in range(classes)]


def test_one_class_cannot_be_trained(digit_folder, capsys):
    shutil.copytree(digit_folder / "train" / "class 3", "data/three")
    assert main(["train", "--data.root", "data", "--model.name", "vit_t_16", "--out", "run"]) == 2
    assert "data has one class (three), so there is nothing to tell apart" in capsys.readouterr().err


def test_models_lists_the_table(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(VARIANTS)
    assert "86,567,656" in next(line for line in lines if line.startswith("vit_b_16 "))


@pytest.mark.parametrize("pattern, names", [
    ("vit_b*", ["vit_b_16", "vit_b_32"]), ("vit_*_patch32", ["vit_s_32", "vit_b_32", "vit_l_32"]),
    ("vit_h_14", ["vit_h_14"]), ("deit_base_patch16_224", ["deit_b_16"]), ("vit_large_patch16_384", ["vit_l_16"]),
    ("*_distilled*", ["deit_t_16_distilled", "deit_s_16_distilled", "deit_b_16_distilled"]),
])
def test_models_of_a_pattern(pattern, names, capsys):
    assert list_models(pattern) == names
    assert main(["models", pattern]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == names


def test_a_pattern_without_models_names_the_nearest(capsys):
    assert main(["models", "vit_bb_16*"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("mindvit models: no model is called 'vit_bb_16*'; did you mean vit_b_16")
    assert printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize("arguments, message", [
    ("train --data.root nowhere", "nowhere"),
    ("train --data.root DIGITS --model.name vit_tt_16", "no model is called 'vit_tt_16'; did you mean"),
    ("train --data.root DIGITS --model.num_classes 7", "the head has 7 classes, but"),
    ("train --data.root DIGITS --model.image_size 40", "image height 40 is not divisible by patch height 16"),
    ("train --data.root DIGITS --train.batch_size 999", "batch_size 999 exceeds the 160 training images"),
    ("train --data.root DIGITS --checkpoint missing.ckpt", "missing.ckpt"),
    ("train --data.root DIGITS --device-target GPU", "device target GPU has no working backend"),
    ("eval --data.root DIGITS", "there are no weights to evaluate; give --checkpoint FILE"),
    ("eval --data.root DIGITS --model.name vit_b_16 --checkpoint TINY", "(read as --model.name vit_b_16)"),
    ("predict --checkpoint TINY", "there are no images; give some, or folders"),
    ("predict nowhere.jpg --model.name vit_t_16 --checkpoint TINY", "nowhere.jpg does not exist"),
    ("predict DIGITS --model.name vit_t_16 --checkpoint TINY --top_k 0", "top_k is 0"),
])
def test_a_users_error_is_one_line(arguments, message, digit_folder, digit_run, capsys):
    words = {"DIGITS": str(digit_folder), "TINY": str(digit_run / "best.ckpt")}
    assert main([words.get(word, word) for word in arguments.split()]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"mindvit {arguments.split()[0]}: ") and message in error


def test_a_checkpoint_of_another_library_trains_and_evaluates(digit_folder, capsys):
    """timm's files with 1,000 classes: the head is replaced in training, epsilon and GELU form go with the files."""
    save_weights(create_model("vit_t_16", image_size=32, num_layers=2), "timm.safetensors", "timm")
    common = ["--data.root", str(digit_folder), "--model.name", "vit_t_16", "--model.overrides", '{"num_layers": 2}',
              "--mode", "pynative"]
    assert main(["train", *common, "--checkpoint", "timm.safetensors", "--train.epochs", "1", "--out", "run"]) == 0
    assert "replaced     2" in capsys.readouterr().out
    assert main(["eval", *common, "--checkpoint", "run/best.ckpt"]) == 0
    assert main(["convert", "run/best.ckpt", "back", "--format", "timm"]) == 0
    saved, back = ms.load_checkpoint("run/best.ckpt"), load_file("back/model.safetensors")
    assert (back["blocks.1.attn.qkv.weight"] == saved["transformer.layers.1.0.cell.1.qkv.weight"].asnumpy()).all()
    assert main(["eval", "--data.root", str(digit_folder), "--checkpoint", "run/best.ckpt"]) == 0  # no name is needed
    network = from_checkpoint("run/best.ckpt")
    assert network.arguments["norm_eps"] == 1e-6 and network.arguments["activation"] == "gelu_tanh"
    prepared, _ = timm_preparation("timm.safetensors", 32, False)
    assert network.preprocessing == dataclasses.replace(prepared, opening="seen")


def test_pretrained_looks_in_the_ckpt_dir(digit_folder, tmp_path, capsys):
    """The public file is there already, so that nothing is fetched; another head is replaced."""
    save_weights(create_model("vit_b_32", num_layers=12), tmp_path / "vit_b_32_224_tv.ckpt", "suite")
    arguments = ["eval", "--data.root", str(digit_folder), "--model.name", "vit_b_32", "--model.pretrained", "true"]
    assert main([*arguments, "--ckpt-dir", str(tmp_path)]) == 2
    assert "the class folder class 0 in" in capsys.readouterr().err
    assert main(["download", "vit_b_32", "--ckpt-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "vit_b_32_224_tv.ckpt")
