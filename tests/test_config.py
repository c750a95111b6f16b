"""Jobs: what they take, and what is no job."""

import pathlib
import re

import pytest

from mindvit import (
    PredictJob,
    evaluate,
    predict,
    train,
)


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
