"""Jobs: what they take, and what is no job."""

import dataclasses
import math
import pathlib
import re
from typing import get_args

import pytest

from mindvit import (
    EvalJob,
    PredictJob,
    TrainConfig,
    TrainJob,
    evaluate,
    predict,
    train,
)
from mindvit.cli import main
from mindvit.config import DataConfig, ModelConfig, PrepareConfig


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


NAN, INF = math.nan, math.inf
OUT_OF_RANGE = {
    (TrainConfig, "train."): {
        "epochs": (0, -1, 2.5, NAN, "3", True), "batch_size": (0, -1), "lr": (-1, NAN, INF), "warmup_epochs": (-1, NAN),
        "weight_decay": (-0.1, INF), "layer_decay": (0, 1.5), "clip_norm": (-1, NAN), "accumulate": (0,),
        "ema": (-0.1, 1), "loss_scale": (0.5, 1e39, NAN, INF), "patience": (0,), "smooth_factor": (-0.1, 1, NAN),
        "seed": (-1, 2**32), "log_every": (0,)},
    (DataConfig, "data."): {
        "crop_fraction": (0, 0.0001, 1.5, NAN), "mean": ((123.7, 116.3, 103.5), (0.5, NAN, 0.5)),
        "std": ((0, 0.2, 0.2), (-1, 1, 1)), "val_fraction": (0, -1, 1, NAN), "workers": (0, -1), "repeats": (0,)},
    (PrepareConfig, "data."): {"crop_fraction": (0,)},
    (ModelConfig, "model."): {"num_classes": (0, -3), "image_size": (0, -224)},
    (EvalJob, ""): {"batch_size": (0, -1)},
    (PredictJob, ""): {"batch_size": (0, -1), "top_k": (0, -5)},
}


@pytest.mark.parametrize("cls, name, value", [
    (cls, prefix + name, value) for (cls, prefix), fields in OUT_OF_RANGE.items() for name, values in fields.items()
    for value in values])
def test_a_number_out_of_its_range_is_named_with_its_flag(cls, name, value):
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(str(value) if value != '3' else repr(value))}; "):
        cls(**{name.rpartition(".")[2]: value})


@pytest.mark.parametrize("cls", [TrainConfig, DataConfig, ModelConfig, TrainJob, EvalJob, PredictJob])
def test_every_number_has_a_range_and_its_default_lies_in_it(cls):
    cls()
    for field in dataclasses.fields(cls):
        kinds = {field.type, *get_args(field.type)} - {bool}
        assert not kinds & {int, float} or "range" in field.metadata or field.name == "save_every", field.name


@pytest.mark.parametrize("words, message", [
    ("--data.root=", "data.root is empty; name something, or leave it out"),
    ("--data.root=x --out=", "out is empty; name something, or leave it out"),
    ("--data.root=x --checkpoint=", "checkpoint is empty; "),
    ("--data.root=x --train.lr=-1", "train.lr is -1.0; it is a number of at least 0"),
    ("--data.root=x --train.epochs=0", "train.epochs is 0; it is a whole number of at least 1"),
    ("--data.root=x --data.workers=0", "data.workers is 0; it is a whole number of at least 1"),
    ("--data.root=x --data.val_fraction=.nan", "data.val_fraction is nan; it is a number from 0.001 to 0.999"),
    ("--data.root=x --data.mean=124,116,104", "data.mean is (124.0, 116.0, 104.0); each is a number from 0 to 1"),
])
def test_the_command_refuses_before_anything_is_built(words, message, capfd):
    assert main(["train", *words.split()]) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith(f"mindvit train: {message}") and printed.err.count("\n") == 1 and not printed.out
    assert not list(pathlib.Path().iterdir())


def test_a_path_with_a_zero_byte_is_refused():
    with pytest.raises(ValueError, match=r"^out is 'a\\x00b'; no path holds a zero byte"):
        TrainJob(out="a\0b")
