"""The benchmarks in small, in real processes, and what they compare with."""

import concurrent.futures
import importlib
import json
import pathlib
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

import mindvit
from mindvit.models import init

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # benchmarks/ is not part of the installed package
measure = importlib.import_module("benchmarks.measure")
tutorial_vit = importlib.import_module("benchmarks.tutorial_vit")

pytestmark = pytest.mark.long  # a minute and a half

RUNS = {
    "throughput": ["--peers", "tutorial", "--batch", "2", "--train"],
    "kernels": [],
    "startup": ["--batch", "1"],
    "memory": ["--batch", "1"],
    "input_pipeline": [],
    "scaling": ["--plot", "scaling.png"],
    "initialisation": ["--sets", "digits"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{benchmark: (its folder, its stdout, what it wrote as JSON)}; two run at a time, as no time is looked at."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RUNS}

    def run(name):
        folder = folders[name]
        command = [sys.executable, "-m", f"benchmarks.{name}", "--smoke", "--json", "record.json", *RUNS[name]]
        done = subprocess.run(command, cwd=folder, env=measure.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder, done.stdout, json.loads((folder / "record.json").read_text())

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(RUNS, pool.map(run, RUNS)))


@pytest.mark.parametrize("name", RUNS)
def test_record_says_when_where_and_with_what(runs, name):
    _, stdout, record = runs[name]
    assert record["date"].startswith("20") and record["machine"]["cores"] and record["versions"]["mindspore"]
    assert record["results"] and "wrote record.json" in stdout and "---" in stdout


def test_throughput_compares_forward_and_training(runs):
    _, stdout, record = runs["throughput"]
    assert [(row["step"], row["batch"]) for row in record["results"]] == [("forward", 2), ("training step", 2)]
    for row in record["results"]:
        mine, peer = row["networks"]["mindvit"], row["networks"]["tutorial"]
        assert mine["images_per_second"] == pytest.approx(2 / mine["seconds"])
        assert peer["mindvit_ratio"] == pytest.approx(mine["images_per_second"] / peer["images_per_second"])
        assert row["gemm_gflops"] > 0 and peer["peak_mib"] > 50 and peer["first_call_seconds"] > peer["seconds"]
    assert stdout.count("tutorial") == 2


def test_kernels_time_every_form_forward_and_with_gradient(runs):
    rows = runs["kernels"][2]["results"]
    assert {row["operation"] for row in rows} >= {"product qkv", "bias of dense1", "LayerNorm", "GELU, erf", "softmax",
                                                  "attention", "patches", "split heads"}
    assert all(row["forward_ms"] > 0 and row["first_ms"] > 0 and row["gradient_ms"] > 0 for row in rows)


def test_startup_times_import_compile_and_prediction(runs):
    results = runs["startup"][2]["results"]
    twice = {"compile forward", "first forward", "compile training step", "first training step", "predict one picture"}
    assert set(results) == {"import", *twice, *(f"{what}, second process" for what in twice)}
    assert {"mindvit", "tutorial"} == set(results["compile training step"])


def test_memory_and_input_pipeline_name_everyone(runs):
    assert {name: row["peak_mib"] > 50 for name, row in runs["memory"][2]["results"].items()} == {
        "mindvit": True, "tutorial": True}
    assert {name for name, row in runs["input_pipeline"][2]["results"].items() if row["images_per_second"] > 0} == {
        "mindvit", "pillow_threads", "pillow_processes"}


def test_scaling_writes_its_plot(runs):
    folder, _, record = runs["scaling"]
    assert [row["batch"] for row in record["results"]["by_batch"]] == [1, 2]
    assert Image.open(folder / "scaling.png").size == (1200, 480)


def test_initialisation_compares_the_default_with_what_was_before(runs):
    digits = runs["initialisation"][2]["results"]["digits"]
    assert set(digits) == {"before", init.DEFAULT}
    for run, in digits.values():
        assert run["seed"] == 42 and 0.05 < run["last"] <= run["best"] < 1


def test_a_peer_that_is_not_installed_is_missing_and_a_fault_is_not(tmp_path, monkeypatch):
    (tmp_path / "tasks.py").write_text("def absent():\n    import timm\n\n\ndef faulty():\n    import no_such\n")
    (tmp_path / "timm.py").write_text("raise ModuleNotFoundError(\"No module named 'timm'\", name='timm')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = measure.measure_in_turn({"timm": {"task": "tasks:absent", "threads": 1}}, 1)
    assert result == {"timm": {"skipped": "No module named 'timm'"}}
    with pytest.raises(RuntimeError, match="No module named 'no_such'"):
        measure.Worker("tasks:faulty", 1)


def test_arguments_that_cannot_be_measured_are_refused(capsys):
    for words, message in ((["--peers", "keras"], "no peer is called 'keras'; choose from tutorial, mindcv"),
                           (["--peer-python", "timm=nowhere"], "timm=nowhere is not a program"),
                           (["--repeats", "0"], "must be at least 1")):
        parser = measure.parser("A benchmark.")
        measure.add_peers(parser, measure.PEERS)
        with pytest.raises(SystemExit):
            measure.parse(parser, words)
        assert message in capsys.readouterr().err


def test_tutorial_baseline_computes_what_mindvit_does():
    tutorial, network = tutorial_vit.ViT(**measure.SMOKE_SIZES), mindvit.ViT(**measure.SMOKE_SIZES)
    assert ms.load_param_into_net(network, tutorial.parameters_dict()) == ([], [])
    images = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32))
    expected = tutorial.set_train(False)(images).asnumpy()
    # `nn.Conv2d` and `ops.tanh` of the CPU are good to 2e-4
    np.testing.assert_allclose(network.set_train(False)(images).asnumpy(), expected, atol=1e-3)


@pytest.mark.parametrize("model, giga", [("vit_b_16", 17.56), ("vit_b_32", 4.41), ("vit_l_16", 61.55)])
def test_arithmetic_is_what_torchvision_publishes(model, giga):
    arguments = measure.parser("A benchmark.").parse_args(["--model", model])
    # torchvision's table counts a multiplication and an addition as one
    assert measure.forward_flops(measure.model_sizes(arguments)) / 2e9 == pytest.approx(giga, rel=0.005)


def test_readme_names_every_benchmark():
    folder = pathlib.Path(measure.__file__).parent
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in RUNS if f"benchmarks.{name}" not in readme] == []
