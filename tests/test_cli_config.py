"""Configuration files and flags: the same things in two forms, and neither runs anything."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from mindvit import TrainJob, cli, from_flags
from mindvit.cli import main
from mindvit.training.loop import CONFIG_HEADER


def test_config_file_and_flags_are_the_same_thing(digit_run, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--config", str(digit_run / "config.yaml"), "--train.epochs", "3", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    saved = yaml.safe_load((digit_run / "config.yaml").read_text())
    assert printed["train"].pop("epochs") == 3 and saved["train"].pop("epochs") == 1
    assert printed == saved


def test_eval_and_predict_take_a_runs_config(digit_run, digit_folder, capsys):
    """The run's data, given by its config alone, are evaluated as by flags; the weights are best.ckpt, or others."""
    results, config = [], str(digit_run / "config.yaml")
    for words in (["--config", config], [f"--config={config}", "--checkpoint", str(digit_run / "last.ckpt")],
                  ["--data.root", str(digit_folder), "--checkpoint", str(digit_run / "best.ckpt")]):
        assert main(["eval", *words, "--json", "result.json"]) == 0
        results.append((json.loads(pathlib.Path("result.json").read_text()), capsys.readouterr().out))
    assert results[0][0] == results[1][0] == results[2][0]
    said = f"{config}: the run's data and device settings are taken; its train, model, checkpoint and out are left out"
    assert results[0][1].startswith(f"{said}; the weights are {digit_run / 'best.ckpt'}\n")
    assert results[1][1].startswith(f"{said}\n") and str(digit_run / "last.ckpt") in results[1][1]
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


@pytest.mark.parametrize("words, expected", [
    ("--per_class", {"per_class": True}), ("--per-class true", {"per_class": True}),
    ("--per_class false", {"per_class": False}), ("--per_class=false", {"per_class": False}),
    ("--data_sink --per_class", {"data_sink": True, "per_class": True}), ("--data_sink null", {"data_sink": None}),
    ("--model.pretrained --batch_size 3", {"batch_size": 3}), ("--distributed", {"distributed": True}),
])
def test_switches_stand_alone_or_with_a_value(words, expected, capsys):
    with pytest.raises(SystemExit):
        main(["eval", *words.split(), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {name: printed[name] for name in expected} == expected
    assert printed["model"]["pretrained"] == ("pretrained" in words)


@pytest.mark.parametrize("words", ["--data.std 0.5,1,1", "--data.std=0.5,1,1", "--data.std 0.5,1.0,1",
                                   "--data.std [0.5,1,1]"])
def test_numbers_with_commas_need_no_brackets(words, capsys):
    with pytest.raises(SystemExit):
        main(["train", *words.split(), "--data.mean", "0.1,0.2,0.3", "--out", "a,b", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["std"] == [0.5, 1.0, 1.0] and printed["data"]["mean"] == [0.1, 0.2, 0.3]
    assert printed["out"] == "a,b"


@pytest.mark.parametrize("path", sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.yaml")),
                         ids=lambda path: path.stem)
def test_every_config_is_complete(path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(path), "--print_config"])
    printed, given = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text())
    assert stopped.value.code == 0 and printed["model"]["name"] == given["model"]["name"]
    assert printed["train"]["epochs"] == given["train"]["epochs"]


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


@pytest.mark.parametrize("words", ["--train.epochs 3 --config job.yaml", "--config job.yaml --train.epochs 3",
                                   "--train.epochs=3 --config=job.yaml --recipe deit",
                                   "--recipe deit --train.epochs 3 --config job.yaml"])
def test_flags_win_over_a_config_wherever_they_stand(words, capsys):
    pathlib.Path("job.yaml").write_text("train: {epochs: 7, batch_size: 5}")
    with pytest.raises(SystemExit):
        main(["train", *words.split(), "--print_config"])
    taken = yaml.safe_load(capsys.readouterr().out)["train"]
    assert (taken["epochs"], taken["batch_size"]) == (3, 5)
    job = from_flags(TrainJob(), [word for word in words.split() if word not in ("--recipe", "deit")])
    assert (job.train.epochs, job.train.batch_size) == (3, 5)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi"))


HOSTILE = {
    "[" * 100_000: "is nested more than 20 levels deep",
    "- " * 40_000 + "x": "is nested more than 20 levels deep",
    "{a: " * 30: "is nested more than 20 levels deep",
    BOMB: "has the anchor &a, which is not read here",
    "train: {epochs: 3}\n" + "# x\n" * 100_000: "is longer than 100,000 characters",
    "\x00\x01\x02\x03": "is no YAML",
}
LIMITED = """import json, resource, sys
from mindvit.cli import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29,) * 2)
print([main(words) for words in json.load(sys.stdin)])"""


def test_hostile_configs_are_refused_before_they_are_read():
    """As a file and as a flag's value, in a process whose memory is limited."""
    commands, expected = [], []
    for i, (content, message) in enumerate(HOSTILE.items()):
        pathlib.Path(f"{i}.yaml").write_text(content)
        commands += [["train", "--config", f"{i}.yaml"], ["eval", f"--config={i}.yaml"],
                     ["train", f"--config={content}"]]
        expected += [message] * 3
    commands, expected = commands[:-1], expected[:-1]  # no command line holds a zero byte
    done = subprocess.run([sys.executable, "-c", LIMITED], input=json.dumps(commands), capture_output=True, text=True)
    assert json.loads(done.stdout) == [2] * len(commands), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands)
    assert [(line, message) for line, message in zip(lines, expected) if message not in line] == []


@pytest.mark.parametrize("raised, line", [
    (RuntimeError("\n  Sync failed.\n---\ncall stack"), "RuntimeError: Sync failed. (--debug shows where)"),
    (MemoryError("Unable to allocate 8 GiB"), "there is not enough memory: Unable to allocate 8 GiB"),
    (KeyError("x"), "KeyError: 'x' (--debug shows where)"),
    (AssertionError(), "AssertionError (--debug shows where)"),
])
def test_whatever_goes_wrong_is_one_line_unless_debug_asks(raised, line, monkeypatch, capsys):
    def fail(job):
        raise raised

    monkeypatch.setattr(cli.loop, "train", fail)
    assert main(["train"]) == 2
    assert capsys.readouterr().err == f"mindvit train: {line}\n"
    with pytest.raises(type(raised)):
        main(["train", "--debug"])
