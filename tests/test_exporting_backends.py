"""Other programs than MindSpore compute the same: records of predict, accuracies of eval, a Classifier's logits."""

import json
import pathlib
import sys

import numpy as np
import openvino
import pytest
from tiny import TINY, images, scatter

import mindvit
from mindvit.cli import main
from mindvit.device import Device
from mindvit.exporting import backends
from mindvit.exporting.onnx_file import threads
from mindvit.inference import evaluation
from mindvit.inference.classifier import open_classifier

OTHERS = ["onnxruntime", "openvino"]


def weights(run):
    return ["--checkpoint", str(run / "best.ckpt")]


def predicted(capsys, folder, run, *words):
    assert main(["predict", str(folder / "val"), *weights(run), "--json", "p.json", *words]) == 0
    records = json.loads(open("p.json").read())
    return [(record["path"], record["predictions"]) for record in records], capsys.readouterr().out


@pytest.fixture
def no_compile(monkeypatch):
    """MindSpore must compute nothing."""
    def refuse(*arguments, **options):
        raise AssertionError("MindSpore computes")

    monkeypatch.setattr("mindspore.nn.Cell.__call__", refuse)
    monkeypatch.setattr("mindspore.nn.Cell.compile", refuse)


@pytest.mark.parametrize("name", OTHERS)
def test_predict_and_eval_are_mindspores(name, digit_folder, digit_run, capsys, request, monkeypatch):
    expected, _ = predicted(capsys, digit_folder, digit_run)
    measured = ["eval", "--data.root", str(digit_folder), *weights(digit_run), "--batch_size", "12", "--json"]
    assert main([*measured, "mindspore.json"]) == 0
    request.getfixturevalue("no_compile")
    found, printed = predicted(capsys, digit_folder, digit_run, "--backend", name)
    computed, = (line for line in printed.splitlines() if line.startswith(f"backend {name} "))
    assert computed.endswith(f", CPU, {threads()} threads, float32")
    for (path, first), (other, second) in zip(expected, found, strict=True):
        assert path == other and [p["index"] for p in first] == [p["index"] for p in second]
        assert [p["probability"] for p in first] == pytest.approx([p["probability"] for p in second], abs=1e-5)
    monkeypatch.setattr(evaluation, "explainer_of", lambda network: None)
    assert main([*measured, "other.json", "--backend", name, "--report", "page"]) == 0
    assert computed in pathlib.Path("page/report.html").read_text("utf-8")
    first, second = (json.loads(open(file).read()) for file in ("mindspore.json", "other.json"))
    assert second["val_loss"] == pytest.approx(first.pop("val_loss"), abs=1e-5)
    assert {**second, **first} == second and first["images"] == 40


def test_bfloat16_is_near_and_not_equal(digit_run):
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    path = str(digit_run / "best.ckpt")
    network = mindvit.from_checkpoint(path)
    batch = images(4, 3, 32, 32)
    exact, near = (backends.BACKENDS["openvino"](network, Device("CPU", "O0", False), precision)(batch)
                   for precision in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


def test_a_classifier_takes_any_number_of_images(digit_run, no_compile, capsys):
    job = mindvit.PredictJob(checkpoint=str(digit_run / "best.ckpt"), backend="onnxruntime")
    classifier = open_classifier(job)
    assert [classifier.logits(images(number, 3, 32, 32)).shape for number in (1, 5)] == [(1, 10), (5, 10)]


@pytest.mark.parametrize("words, told", [
    (["--backend", "onnxruntime", "--amp_level", "O2"], "amp_level is O2, which the backend onnxruntime does"),
    (["--backend", "openvino", "--mode", "graph"], "mode is graph, which the backend openvino does not have"),
    (["--backend", "openvino", "--device_target", "Ascend"], "device_target is Ascend, but the backend openvino runs"),
    (["--backend", "onnxruntime", "--backend_precision", "bfloat16"], "the backend onnxruntime does not compute in"),
    (["--backend_precision", "bfloat16"], "but the backend is MindSpore, whose precision --amp_level says"),
    (["--backend", "onnx"], "onnxruntime"),
])
@pytest.mark.parametrize("command", ["predict", "eval"])
def test_what_a_backend_does_not_have_is_told_in_one_line(command, words, told, digit_run, digit_folder, capsys):
    given = [str(digit_folder)] if command == "predict" else ["--data.root", str(digit_folder)]
    assert main([command, *given, *weights(digit_run), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mindvit {command}: ") and told in error and error.count("\n") == 1


@pytest.mark.parametrize("name, library, extra", [
    ("onnxruntime", "onnxruntime", "export"), ("openvino", "openvino", "openvino"), ("openvino", "onnx", "openvino")])
def test_a_library_that_lacks_is_named(name, library, extra, digit_run, digit_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["eval", "--data.root", str(digit_folder), *weights(digit_run), "--backend", name]) == 2
    told = capsys.readouterr().err
    assert f"this needs {library}, which is not installed" in told and f"pip install '.[{extra}]'" in told


def test_bfloat16_is_refused_where_the_processor_lacks_it(digit_run, digit_folder, monkeypatch, capsys):
    monkeypatch.setattr(openvino.Core, "get_property", lambda *arguments: ["FP32"])
    assert main(["eval", "--data.root", str(digit_folder), *weights(digit_run), "--backend", "openvino",
                 "--backend_precision", "bfloat16"]) == 2
    assert "backend_precision is bfloat16, which this processor does not have" in capsys.readouterr().err


@pytest.mark.parametrize("asked, expected", [("3", 3), ("", None), ("0", None), ("many", None)])
def test_threads(asked, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads() == expected or expected is None and 1 <= threads() <= 1024


def test_a_long_evaluation_says_what_would_be_faster(digit_run, digit_folder, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "LONG", 0)
    words = ["eval", "--data.root", str(digit_folder), *weights(digit_run)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(backends.FASTER)
    assert main([*words, "--backend", "openvino"]) == 0
    assert backends.FASTER not in capsys.readouterr().out


def test_every_kind_of_head_goes_to_every_backend():
    network = mindvit.ViT(**TINY, distilled=True).set_train(False)
    scatter(network)
    batch, device = images(2, 3, 32, 32), Device("CPU", "O0", False)
    first, *others = (compute(network, device, "float32")(batch) for compute in backends.BACKENDS.values())
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-5 * np.abs(first).max())
