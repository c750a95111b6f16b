import contextlib
import dataclasses
import json
import pathlib
import re
import shutil

import mindspore as ms
import numpy as np
import pytest
import reference
import yaml
from PIL import Image
from safetensors.numpy import load_file

from mindvit import (
    VARIANTS,
    PredictJob,
    cli,
    create_model,
    evaluate,
    from_checkpoint,
    list_models,
    predict,
    save_weights,
    train,
)
from mindvit.checkpoints.libraries.timm import timm_preparation
from mindvit.cli import main
from mindvit.inference.prediction import copy_names
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from mindvit.training.loop import CONFIG_HEADER


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    """A ViT-Ti trained for an epoch on the digits by the command line, with the flags that others rely on."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    status = main(["train", "--data.root", str(digit_folder), "--model.name", "vit_t_16", "--model.num_classes", "10",
                   "--model.image_size", "32", "--train.epochs", "1", "--train.batch_size", "20", "--train.lr", "1e-3",
                   "--data.crop_fraction", "1.0", "--device-target", "CPU", "--out", str(folder)])
    assert status == 0
    return folder


def test_eval_counts_every_image_and_equals_the_formulas(run, digit_folder, capsys):
    status = main(["eval", "--data.root", str(digit_folder), "--model.name", "vit_t_16", "--batch_size", "16",
                   "--checkpoint", str(run / "best.ckpt"), "--json", "result.json"])
    printed, results = capsys.readouterr().out, json.loads(pathlib.Path("result.json").read_text())
    assert status == 0 and results["images"] == 40
    assert str({name: results[name] for name in ("Top_1_Accuracy", "Top_5_Accuracy")}) in printed
    assert "40 images" in printed

    weights = {name: value.asnumpy() for name, value in ms.load_checkpoint(str(run / "best.ckpt")).items()}
    files = sorted((digit_folder / "val").glob("*/*.png"))
    labels = np.array([int(file.parent.name[-1]) for file in files])
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])  # 32 pixels: nothing to resize
    images = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2)
    logits = reference.vit(weights, images, patch=(16, 16), heads=3)
    assert results["Top_1_Accuracy"] == (logits.argmax(1) == labels).mean()
    assert results["val_loss"] == pytest.approx(reference.cross_entropy(logits, np.eye(10)[labels]).mean(), rel=1e-4)


def test_predict_writes_copies_and_records_and_keeps_the_originals(run, digit_folder, capsys):
    for name, source in (("a/digit.png", "class 1"), ("b/digit.png", "class 2")):
        pathlib.Path(name).parent.mkdir()
        shutil.copy(next((digit_folder / "val" / source).iterdir()), name)
    pathlib.Path("a/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    before = pathlib.Path("a/digit.png").read_bytes()
    arguments = ["predict", "a", "b/digit.png", "--model.name", "vit_t_16", "--checkpoint", str(run / "best.ckpt"),
                 "--top_k", "3", "--out", "a", "--json", "records.json"]
    assert main(arguments) == 1  # one image is broken
    records = json.loads(pathlib.Path("records.json").read_text())
    assert [record["path"] for record in records] == ["a/broken.jpg", "a/digit.png", "b/digit.png"]
    assert "cannot read the image a/broken.jpg" in records[0]["error"]
    for record in records[1:]:
        best = [prediction["probability"] for prediction in record["predictions"]]
        assert best == sorted(best, reverse=True) and len(best) == 3 and sum(best) <= 1
        assert all(p["label"] == f"class {p['index']}" for p in record["predictions"])
    assert [record["annotated"] for record in records[1:]] == ["a/a_digit.jpg", "a/b_digit.jpg"]
    assert Image.open("a/a_digit.jpg").size == (320, 320) and pathlib.Path("a/digit.png").read_bytes() == before
    copied = pathlib.Path("a/b_digit.jpg").read_bytes()
    assert main(["predict", "a/digit.png", *arguments[2:]]) == 0  # again: nothing is written over
    records = json.loads(pathlib.Path("records.json").read_text())
    assert [record["annotated"] for record in records] == ["a/a_digit-2.jpg", "a/b_digit-2.jpg"]
    assert pathlib.Path("a/b_digit.jpg").read_bytes() == copied
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if re.fullmatch(r".*\{\d: 'class \d'\} 0\.\d{4}", line)][-3:]
    expected = [f"{{{p['index']}: {p['label']!r}}} {p['probability']:.4f}" for p in records[1]["predictions"]]
    assert lines == [f"b/digit.png: {expected[0]}", f"  {expected[1]}", f"  {expected[2]}"]


def test_a_copys_name_tells_its_picture():
    """The stem, the folder before it where stems are the same, and the suffix where those are the same too."""
    for files, names in ((["a/cat.png", "a/dog.png", "b/dog.png"], ["cat", "a_dog", "b_dog"]),
                         (["cats/00.png", "cats/00.jpg", "dogs/00.png"], ["cats_00.png", "cats_00.jpg", "dogs_00"]),
                         (["00.png", "00.jpg", "b/00.png"], ["00.png", "00.jpg", "b_00"])):
        assert copy_names(files) == dict(zip(files, names))


@pytest.mark.parametrize("paths", ["a.png", pathlib.Path("a.png"), ["a.png"], (pathlib.Path("a.png"),)])
def test_one_path_is_a_list_of_one(paths):
    assert PredictJob(paths=paths).paths == ["a.png"]


@pytest.mark.parametrize("function, given, form", [
    (train, {"out": "x"}, "train takes a job, not dict: train(TrainJob(...))"),
    (evaluate, {}, "evaluate takes a job, not dict: evaluate(EvalJob(...))"),
    (predict, "a.png", "predict takes a job, not str: predict(PredictJob(...))"),
])
def test_what_is_no_job_is_answered_with_the_right_form(function, given, form):
    with pytest.raises(TypeError, match=f"^{re.escape(form)}$"):
        function(given)


def test_a_few_images_are_predicted_without_compiling_a_graph(run, digit_folder, capsys):
    pictures = sorted(map(str, digit_folder.glob("val/*/*.png")))[:5]
    answers = {}
    for count, mode in ((4, "pynative"), (5, "graph")):
        arguments = ["predict", *pictures[:count], "--model.name", "vit_t_16", "--checkpoint", str(run / "best.ckpt")]
        assert main([*arguments, "--json", "records.json", "--device_target", "CPU"]) == 0
        assert f"{mode} mode" in capsys.readouterr().out
        answers[mode] = [[p["probability"] for p in record["predictions"]]
                         for record in json.loads(pathlib.Path("records.json").read_text())]
    np.testing.assert_allclose(answers["pynative"], answers["graph"][:4], rtol=1e-5)


def test_config_file_and_flags_are_the_same_thing(run, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--config", str(run / "config.yaml"), "--train.epochs", "3", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert printed["train"].pop("epochs") == 3 and saved["train"].pop("epochs") == 1
    assert printed == saved


def test_eval_and_predict_take_a_runs_config(run, digit_folder, capsys):
    """The run's data, given by its config alone, are evaluated as by flags; the weights are best.ckpt, or others."""
    results, config = [], str(run / "config.yaml")
    for words in (["--config", config], [f"--config={config}", "--checkpoint", str(run / "last.ckpt")],
                  ["--data.root", str(digit_folder), "--checkpoint", str(run / "best.ckpt")]):
        assert main(["eval", *words, "--json", "result.json"]) == 0
        results.append((json.loads(pathlib.Path("result.json").read_text()), capsys.readouterr().out))
    assert results[0][0] == results[1][0] == results[2][0]
    said = f"{config}: the run's data and device settings are taken; its train, model, checkpoint and out are left out"
    assert results[0][1].startswith(f"{said}; the weights are {run / 'best.ckpt'}\n")
    assert results[1][1].startswith(f"{said}\n") and str(run / "last.ckpt") in results[1][1]
    assert main(["predict", str(digit_folder / "val/class 3"), "--config", config, "--json", "records.json"]) == 0
    assert capsys.readouterr().out.startswith(said) and json.loads(pathlib.Path("records.json").read_text())
    pathlib.Path("mine.yaml").write_text("train: {epochs: 3}")
    assert main(["eval", "--config", "mine.yaml"]) == 2
    assert "mindvit eval: the configuration has train.epochs, which is not known here" in capsys.readouterr().err


EVIL = """
pathlib = __import__("pathlib")
pathlib.Path("imported").write_text("")
from mindvit import DataConfig, TrainJob


class Data(DataConfig):
    pass


class Job(TrainJob):
    pass
"""
CALLS = [{"class_path": "os.system", "init_args": {"command": "touch imported"}}, {"class_path": "evil.Data"},
         {"class_path": "evil.Job"}, {"class_path": "evil"}]


def test_nothing_in_a_config_or_flag_is_imported_or_called(monkeypatch, capsys):
    """Wherever a value can stand, one that asks jsonargparse for an object of a class does nothing."""
    for name in ("train", "eval", "predict"):
        def reach(job: cli.job_of(name)):
            """Keeps the job."""
            reached.append(job)

        monkeypatch.setitem(cli.COMMANDS, name, reach)
    monkeypatch.syspath_prepend("")
    pathlib.Path("evil.py").write_text(EVIL)
    reached, tried = [], 0
    for call in CALLS:
        text, name = json.dumps(call), call["class_path"]
        flags = [[f"--{flag}", text] for flag in (
            "config", "data", "model", "train", "data.root", "data.augment", "data.mean", "model.name",
            "model.overrides", "model.overrides.x", "model.overrides.x.y", "train.epochs", "train.optimizer",
            "checkpoint", "out", "ckpt_dir")]
        flags += [["--data.class_path", name], ["--data", name], ["--data.help", name], ["--model.overrides", name],
                  ["--model.overrides.class_path", name], ["--model.overrides.x.class_path", name]]
        flags += [["--model.overrides", json.dumps({"x": value})] for value in (call, {"y": call}, [call])]
        contents = [call, {"data": call}, {"model": call}, {"train": call}, {"data": {"root": call}},
                    {"data": {"augment": [call, "flip"]}}, {"data": {"augment": [{"flip": call}]}},
                    {"train": {"optimizer": call}}, {"train": {"schedule": {"step": call}}},
                    {"model": {"overrides": call}},
                    {"model": {"overrides": {"x": call}}}, {"model": {"overrides": {"x": {"y": call}}}},
                    {"model": {"overrides": {"x": [call]}}}, {"paths": [call]}, {"checkpoint": call}]
        for i, content in enumerate(contents):
            pathlib.Path(f"{i}.yaml").write_text(yaml.safe_dump(content))
            flags.append(["--config", f"{i}.yaml"])
        flags += [["--data", "0.yaml"], ["--model.overrides", "0.yaml"], ["--config", "0.yaml", "--print_config"]]
        for words in [["train", *flag] for flag in flags] + [["predict", text], ["eval", "--config", "7.yaml"]]:
            with contextlib.suppress(SystemExit):
                main(words)
            assert not pathlib.Path("imported").exists(), words
            tried += 1
    capsys.readouterr()
    assert tried > 150 and reached
    assert not any(isinstance(value, dict) for job in reached for value in job.model.overrides.values())


def test_overrides_are_checked_against_vits_arguments(digit_folder, run, capsys):
    train = ["train", "--data.root", str(digit_folder), "--out", "run", "--model.name", "vit_t_16"]
    assert main([*train, "--model.overrides", '{"keep_porb": 0.9}']) == 2
    assert "ViT has no argument 'keep_porb'; did you mean keep_prob?" in capsys.readouterr().err
    pathlib.Path("job.yaml").write_text("model: {overrides: {num_layer: 2}}")
    assert main([*train, "--config", "job.yaml"]) == 2
    assert "ViT has no argument 'num_layer'; did you mean num_layers?" in capsys.readouterr().err
    for build in (lambda **words: create_model("vit_t_16", **words),
                  lambda **words: from_checkpoint(run / "best.ckpt", **words)):
        with pytest.raises(ValueError, match="ViT has no argument 'atention_keep_prob'; did you mean attention_keep_"):
            build(atention_keep_prob=0.9)


@pytest.mark.parametrize("words, expected", [
    ("--per_class", {"per_class": True}), ("--per-class true", {"per_class": True}),
    ("--per_class false", {"per_class": False}), ("--per_class=false", {"per_class": False}),
    ("--data_sink --per_class", {"data_sink": True, "per_class": True}), ("--data_sink null", {"data_sink": None}),
    ("--model.pretrained --batch_size 3", {"batch_size": 3}), ("--keep_graphs", {"keep_graphs": True}),
])
def test_switches_stand_alone_or_with_a_value(words, expected, capsys):
    with pytest.raises(SystemExit):
        main(["eval", *words.split(), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {name: printed[name] for name in expected} == expected
    assert printed["model"]["pretrained"] == ("pretrained" in words)


@pytest.mark.parametrize("words, expected", [
    ("train --epochs 3", "mindvit train: there is no flag --epochs; did you mean --train.epochs? "
                         "(mindvit train --help lists the flags)"),
    ("train --epochs=3", "no flag --epochs; did you mean --train.epochs?"),
    ("train --name x", "no flag --name; did you mean --model.name?"),
    ("train --train.epoch 3", "no flag --train.epoch; did you mean --train.epochs?"),
    ("predict a.png --nothing-like-it", "no flag --nothing_like_it (mindvit predict --help lists the flags)"),
    ("train --train.epochs x", "mindvit train: --train.epochs is x; it takes a whole number"),
    ("train --train.lr x", "--train.lr is x; it takes a number"),
    ("train --device_target TPU", "--device_target is TPU; it takes auto, Ascend, GPU or CPU"),
    ("train --mode graf", "--mode is graf; it takes graph or pynative"),
    ("eval --per_class=3", "--per_class is 3; it takes true or false"),
    ("train --data.mean 1", "--data.mean is 1; it takes 3 numbers with commas between them"),
    ("train --model.overrides x", "--model.overrides is x; it takes names and plain values"),
    ("train --train.epochs", "--train.epochs needs a value: a whole number"),
    ("quickstart --seed x", "mindvit quickstart: --seed is x; it takes a whole number"),
    ("train --config key.yaml", "the configuration has trian.lr, which is not known here; did you mean train.lr?"),
    ("train --config value.yaml", "mindvit train: --train.lr is x; it takes a number"),
    ("train --config group.yaml", "mindvit train: --config group.yaml holds 3 as train; write names and values there"),
    ("train --config missing.yaml", "missing.yaml"),
    ("train --config broken.yaml", "--config broken.yaml is no YAML, line "),
    ("tran", "mindvit: there is no command tran; did you mean train? (quickstart, train, eval, predict, models,"),
    ("", "mindvit: no command is given (quickstart, train, eval, predict, models,"),
    ("convert a", "mindvit convert: missing: target, --format (mindvit convert --help lists the flags)"),
    ("train foo", "mindvit train: foo is not expected"), ("models -x", "mindvit models: -x is not expected"),
])
def test_a_wrong_command_line_is_one_line(words, expected, capfd):
    for name, text in (("key", "trian: {lr: 1}"), ("value", "train: {lr: x}"), ("group", "train: 3"),
                       ("broken", "train: [")):
        pathlib.Path(f"{name}.yaml").write_text(text)
    assert main(words.split()) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and expected in printed.err, printed


@pytest.mark.parametrize("words", ["--data.std 0.5,1,1", "--data.std=0.5,1,1", "--data.std 0.5,1.0,1",
                                   "--data.std [0.5,1,1]"])
def test_numbers_with_commas_need_no_brackets(words, capsys):
    with pytest.raises(SystemExit):
        main(["train", *words.split(), "--data.mean", "0.1,0.2,0.3", "--out", "a,b", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["std"] == [0.5, 1.0, 1.0] and printed["data"]["mean"] == [0.1, 0.2, 0.3]
    assert printed["out"] == "a,b"


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes_from_training_to_prediction(classes, digit_folder, capsys):
    for i in range(classes):
        shutil.copytree(digit_folder / "train" / f"class {i}", f"data/{i}")
    sizes = '{"patch_size": 16, "embed_dim": 32, "num_layers": 1, "num_heads": 1, "mlp_dim": 32}'
    assert main(["train", "--data.root", "data", "--model.image_size", "32", "--model.overrides", sizes,
                 "--train.epochs", "1", "--train.batch_size", "8", "--out", "run"]) == 0
    head = ["--checkpoint", "run/best.ckpt", "--model.overrides.num_heads", "1"]
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


@pytest.mark.parametrize("path", sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.yaml")),
                         ids=lambda path: path.stem)
def test_every_config_is_complete(path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(path), "--print_config"])
    printed, given = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text())
    assert stopped.value.code == 0 and printed["model"]["name"] == given["model"]["name"]
    assert printed["train"]["epochs"] == given["train"]["epochs"]


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
    ("predict --checkpoint TINY", "there is nothing to predict; give images or folders"),
    ("predict nowhere.jpg --model.name vit_t_16 --checkpoint TINY", "nowhere.jpg does not exist"),
    ("predict DIGITS --model.name vit_t_16 --checkpoint TINY --top_k 0", "top_k is 0"),
])
def test_a_users_error_is_one_line(arguments, message, digit_folder, run, capsys):
    words = {"DIGITS": str(digit_folder), "TINY": str(run / "best.ckpt")}
    assert main([words.get(word, word) for word in arguments.split()]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"mindvit {arguments.split()[0]}: ") and message in error


def test_a_broken_training_picture_is_named(digit_folder, capfd):
    shutil.copytree(digit_folder, "data")
    broken = next(pathlib.Path("data/train/class 4").iterdir())
    broken.write_bytes(broken.read_bytes()[:60])
    arguments = ["train", "--data.root", "data", "--model.name", "vit_t_16", "--model.image_size", "32"]
    assert main([*arguments, "--model.overrides", '{"num_layers": 1}', "--train.epochs", "1"]) == 2
    assert f"cannot read the image {broken}" in capfd.readouterr().err


def test_a_checkpoint_of_another_library_trains_and_evaluates(digit_folder, capsys):
    """timm's files with 1,000 classes: the head is replaced in training, epsilon and GELU form go with the files."""
    save_weights(create_model("vit_t_16", image_size=32, num_layers=2), "timm.safetensors", "timm")
    common = ["--data.root", str(digit_folder), "--model.name", "vit_t_16", "--model.overrides", '{"num_layers": 2}']
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


def test_a_trained_network_predicts_as_it_was_validated(run):
    assert from_checkpoint(run / "best.ckpt").preprocessing == Preprocessing(crop_fraction=1.0)


def test_pretrained_looks_in_the_ckpt_dir(digit_folder, tmp_path, capsys):
    """The public file is there already, so that nothing is fetched; another head is replaced."""
    save_weights(create_model("vit_b_32", num_layers=12), tmp_path / "vit_b_32_224_tv.ckpt", "suite")
    arguments = ["eval", "--data.root", str(digit_folder), "--model.name", "vit_b_32", "--model.pretrained", "true"]
    assert main([*arguments, "--ckpt-dir", str(tmp_path)]) == 2
    assert "the class folder class 0 in" in capsys.readouterr().err
    assert main(["download", "vit_b_32", "--ckpt-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "vit_b_32_224_tv.ckpt")


@pytest.mark.long
def test_quickstart_reaches_its_figure():
    assert main(["quickstart", "--out", "quick"]) == 0
    results = json.loads(pathlib.Path("quick/metrics.json").read_text())
    assert results["Top_1_Accuracy"] >= 0.97 and results["images"] == 360
    records = json.loads(pathlib.Path("quick/predictions.json").read_text())
    right = [record["predictions"][0]["label"] == pathlib.Path(record["path"]).parent.name for record in records]
    assert len(right) == 10 and sum(right) >= 9
    assert all(Image.open(record["annotated"]).size == (320, 320) for record in records)


@pytest.mark.parametrize("content, message", [
    (b"# \xb2\xe2\ntrain:\n  epochs: 1\n", "settings.yaml is not UTF-8 text; save it as UTF-8"),
    (b"data: [1,\n", "settings.yaml is no YAML, line 2"), (b"", "settings.yaml is empty"),
    (b"data:\n", "settings.yaml holds None as data; write names and values there"),
    (b"- 1\n", r"settings.yaml holds \[1\]"), (b"train: 5\n", "settings.yaml holds 5 as train")])
@pytest.mark.parametrize("header", ["", CONFIG_HEADER])
def test_a_config_of_another_kind_is_one_line(header, content, message, capsys):
    pathlib.Path("settings.yaml").write_bytes(header.encode() + content)
    for command in (["train"], ["eval"], ["predict", "a.png"]):
        assert main([*command, "--config", "settings.yaml"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and re.search(message.replace("line 2", r"line \d"), error), error
