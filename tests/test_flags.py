"""A script's flags, in full and in short; a wrong command line is answered in one line."""

import dataclasses
import pathlib

import pytest
import yaml

from mindvit import DataConfig, EvalJob, ModelConfig, PredictJob, TrainConfig, TrainJob, from_flags
from mindvit.cli import main
from mindvit.flags import RECIPES, recipe_names

JOB = TrainJob(data=DataConfig("photos", workers=8, augment=["resize"]), model=ModelConfig("vit_s_16"),
               train=TrainConfig(epochs=7, optimizer={"adamw": {"eps": 1e-6}}), checkpoint="a.ckpt", out="runs/a")


def test_without_flags_the_job_stays_as_it_is():
    assert from_flags(JOB, []) == JOB
    assert from_flags(TrainJob(), []) == TrainJob()
    assert from_flags(PredictJob(paths=["a", "b"]), []) == PredictJob(paths=["a", "b"])


@pytest.mark.parametrize("words, changes", [
    ("--epochs 3", {"train.epochs": 3}), ("--train.epochs=3", {"train.epochs": 3}),
    ("--data-root x", {"data.root": "x"}), ("--data x", {"data.root": "x"}), ("--root=x", {"data.root": "x"}),
    ("--model vit_t_16 --image-size 32", {"model.name": "vit_t_16", "model.image_size": 32}),
    ("--lr 1e-3 --batch-size 4 --workers 1", {"train.lr": 1e-3, "train.batch_size": 4, "data.workers": 1}),
    ("--amp-level O2 --device-target CPU --out runs/b", {"amp_level": "O2", "device_target": "CPU", "out": "runs/b"}),
    ("--augment random_crop,flip", {"data.augment": ["random_crop", "flip"]}),
    ("--augment simple_crop", {"data.augment": ["simple_crop"]}),
    ("--augment={simple_crop:\x002}", {"data.augment": [{"simple_crop": 2}]}),
    ("--augment [resize,{rotation:\x0010}]", {"data.augment": ["resize", {"rotation": 10}]}),
    ("--optimizer sgd", {"train.optimizer": "sgd"}), ("--mean 0.1,0.2,0.3", {"data.mean": (0.1, 0.2, 0.3)}),
    ("--pretrained", {"model.pretrained": True}), ("--overrides.keep_prob 0.9", {}),
])
def test_flags_change_the_job(words, changes):
    words = [word.replace("\0", " ") for word in words.split()]
    if not changes:
        with pytest.raises(SystemExit):  # a part of a name is no name
            from_flags(JOB, words)
        return
    job = from_flags(JOB, words)
    for name, value in changes.items():
        part, _, field = name.rpartition(".")
        whole = getattr(job, part) if part else job
        assert getattr(whole, field) == value
        restored = dataclasses.replace(whole, **{field: getattr(getattr(JOB, part) if part else JOB, field)})
        job = dataclasses.replace(job, **{part: restored}) if part else restored
    assert job == JOB  # and nothing else


@pytest.mark.parametrize("words, expected", [
    ("--epoch 3", "there is no flag --epoch; did you mean --train.epochs?"),
    ("--epochs x", "--train.epochs is x; it takes a whole number"), ("--epochs", "--train.epochs needs a value"),
    ("--optimizer adamx", "optimizer is 'adamx'; did you mean adam?"), ("stray", "stray is not expected"),
    ("--augment 3", "augment is '[3]'; choose one of random_crop"),
    ("--config key.yaml", "trian.lr"), ("--config broken.yaml", "broken.yaml is no YAML"),
])
def test_a_wrong_flag_is_one_line_and_status_2(words, expected, capsys, tmp_path):
    (tmp_path / "key.yaml").write_text("trian: {lr: 1}")
    (tmp_path / "broken.yaml").write_text("train: [")
    with pytest.raises(SystemExit) as stopped:
        from_flags(JOB, [str(tmp_path / word) if word.endswith(".yaml") else word for word in words.split()])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and not printed.out
    assert expected in printed.err and printed.err.count("\n") == 1, printed.err


def test_a_config_file_stands_between_the_job_and_the_flags(tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"train": {"epochs": 2, "lr": 0.5}}))
    job = from_flags(JOB, ["--config", str(tmp_path / "job.yaml"), "--lr", "0.25"])
    assert job == dataclasses.replace(JOB, train=dataclasses.replace(JOB.train, epochs=2, lr=0.25))


def test_words_of_prediction_are_its_paths():
    assert from_flags(PredictJob(paths=["a"], top_k=2), ["b", "c", "--top-k", "3"]) == \
        PredictJob(paths=["b", "c"], top_k=3)
    assert from_flags(EvalJob(), ["--batch-size", "3", "--per-class"]) == EvalJob(batch_size=3, per_class=True)


def test_help_lists_the_flags_with_the_jobs_own_defaults(capsys):
    with pytest.raises(SystemExit) as stopped:
        from_flags(JOB, ["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert not stopped.value.code and "default: 7" in printed and "--train.epochs" in printed
    assert "There are adam, adamw, sgd, lion, lamb." in printed


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
    ("attention --layers 0", "--layers is 0; it takes whole numbers in brackets, as in '[0, -1]'"),
    ("train --model.overrides x", "--model.overrides is x; it takes names and plain values"),
    ("train --train.epochs", "--train.epochs needs a value: a whole number"),
    ("quickstart --seed x", "mindvit quickstart: --seed is x; it takes a whole number"),
    ("train --config key.yaml", "the configuration has trian.lr, which is not known here; did you mean train.lr?"),
    ("train --config value.yaml", "mindvit train: --train.lr is x; it takes a number"),
    ("train --config group.yaml", "mindvit train: --config group.yaml holds 3 as train; write names and values there"),
    ("train --config missing.yaml", "missing.yaml"),
    ("train --config broken.yaml", "--config broken.yaml is no YAML, line "),
    ("tran", "mindvit: there is no command tran; did you mean train? (quickstart, "),
    ("", "mindvit: no command is given (quickstart, "),
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


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_a_job_that_flags_and_configs_go_over(name, capsys):
    recipe = yaml.safe_load(pathlib.Path(RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    pathlib.Path("mine.yaml").write_text("train: {lr: 0.25, batch_size: 3}")
    for words in (["--train.batch_size", "5", "--recipe", name, "--config", "mine.yaml"],
                  [f"--recipe={name}", "--config=mine.yaml", "--train.batch_size=5"]):
        with pytest.raises(SystemExit):
            main(["train", *words, "--print_config"])
        printed = yaml.safe_load(capsys.readouterr().out)
        assert printed["train"]["lr"] == 0.25 and printed["train"]["epochs"] == recipe["train"]["epochs"]
        assert printed["data"]["augment"] == recipe["data"]["augment"]
        DataConfig(**printed["data"]), TrainConfig(**printed["train"])  # all names and options are there
    assert printed["train"]["batch_size"] == 5  # a flag behind the config


def test_an_unknown_recipe_is_answered_with_the_nearest(capsys):
    assert main(["train", "--recipe", "diet"]) == 2
    assert capsys.readouterr().err == "mindvit train: --recipe is 'diet'; did you mean deit?\n"
