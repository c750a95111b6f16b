"""A wrong command line is answered in one line."""

import pathlib

import pytest

from mindvit.cli import main


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
    ("convert a", "mindvit convert: missing: target, --format (mindvit convert --help tells more)"),
    ("train foo", "mindvit train: foo is not expected"), ("models -x", "mindvit models: -x is not expected"),
])
def test_a_wrong_command_line_is_one_line(words, expected, capfd):
    for name, text in (("key", "trian: {lr: 1}"), ("value", "train: {lr: x}"), ("group", "train: 3"),
                       ("broken", "train: [")):
        pathlib.Path(f"{name}.yaml").write_text(text)
    assert main(words.split()) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and expected in printed.err, printed
