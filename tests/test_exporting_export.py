"""`mindvit export`: files that others run, checked before they get their names."""

import json
import os
import pathlib
import subprocess
import sys

import mindspore
import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import nn
from mindspore.train.mind_ir_pb2 import ModelProto
from PIL import Image
from tiny import TINY, scatter

import mindvit
from mindvit.cli import main
from mindvit.exporting import export
from mindvit.exporting.export import compare
from mindvit.files import sha256


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network with class names and a preparation of its own."""
    network = mindvit.ViT(**TINY)
    scatter(network)
    network.preprocessing = mindvit.Preprocessing((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 0.9, "bicubic", "crop", "pillow")
    network.class_names = [f"класс {i}" for i in range(10)]
    path = tmp_path_factory.mktemp("vit") / "vit.ckpt"
    mindvit.save_weights(network, path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for i, size in enumerate([(90, 60), (40, 77), (200, 150)]):
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(size).save(folder / f"{i}.png")
    return folder


def logits_of(checkpoint, images):
    network = mindvit.from_checkpoint(checkpoint)
    return network(mindspore.Tensor(images)).asnumpy(), network


def prepared(checkpoint, photographs):
    """Of each photograph: its pixels, and what `predict` makes of it."""
    preprocessing = mindvit.from_checkpoint(checkpoint).preprocessing.for_prediction()
    return [(np.asarray(Image.open(file)), mindvit.prepare_image(file, 32, preprocessing))
            for file in sorted(photographs.iterdir())]


def test_onnx_runs_in_a_program_without_mindvit(checkpoint, photographs, capsys):
    assert main(["export", "--checkpoint", str(checkpoint), "--images", str(photographs), "--out", "大 vit.onnx"]) == 0
    printed = capsys.readouterr().out
    assert f"run on 3 of {photographs}, in batches of 1, 3, 8: the logits differ by" in printed
    assert "it takes images float32 (batch, 3, 32, 32), prepared as above, and gives logits (batch, 10)" in printed
    images = np.stack([image for _, image in prepared(checkpoint, photographs)])
    expected, network = logits_of(checkpoint, images)
    np.save("images.npy", images)
    program = ("import numpy, onnxruntime, sys\n"
               "session = onnxruntime.InferenceSession('大 vit.onnx')\n"
               "numpy.save('logits.npy', session.run(None, {'images': numpy.load('images.npy')})[0])\n"
               "assert 'mindspore' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True)
    np.testing.assert_allclose(np.load("logits.npy"), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    told = {entry.key: entry.value for entry in onnx.load("大 vit.onnx").metadata_props}
    assert json.loads(told["class_names"]) == network.class_names and json.loads(told["image_size"]) == 32
    assert mindvit.Preprocessing(**json.loads(told["preprocessing"])) == network.preprocessing
    assert told["mindvit"] == mindvit.__version__ and told["checkpoint_sha256"] == sha256(checkpoint)
    assert sorted(os.listdir()) == ["images.npy", "logits.npy", "大 vit.onnx"]


def test_onnx_that_prepares_pictures_itself(checkpoint, photographs):
    written = mindvit.export(mindvit.ExportJob(checkpoint=str(checkpoint), with_preprocess=True, out="v.onnx"))
    assert written["files"] == ["v.onnx"] and 0 <= written["largest_difference"] < 1e-4
    session = onnxruntime.InferenceSession("v.onnx")
    for pixels, image in prepared(checkpoint, photographs):
        expected, _ = logits_of(checkpoint, image[None])
        found = session.run(None, {"pixels": np.stack([pixels, pixels[:, ::-1]])})[0]
        np.testing.assert_allclose(found[:1], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("with_preprocess", [False, True])
def test_mindir_runs_in_mindspore_in_any_batch(checkpoint, photographs, with_preprocess, graph_mode, capsys):
    assert main(["export", "--checkpoint", str(checkpoint), "--format", "mindir", "--with_preprocess",
                 str(with_preprocess)]) == 0
    assert ("of the above it holds mean and std alone" in capsys.readouterr().out) == with_preprocess
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
    images = (pixels / np.float32(255) - np.float32((0.4, 0.5, 0.6))) / np.float32((0.1, 0.2, 0.3))
    images = images.transpose(0, 3, 1, 2)
    expected, _ = logits_of(checkpoint, images)
    cell = nn.GraphCell(mindspore.load("vit.mindir"))
    for number in (5, 1, 2):
        given = mindspore.Tensor((pixels if with_preprocess else images)[:number])
        np.testing.assert_allclose(cell(given).asnumpy(), expected[:number], rtol=0, atol=1e-5 * np.abs(expected).max())
    model = ModelProto.FromString(pathlib.Path("vit.mindir").read_bytes())
    info = model.user_info if hasattr(model.user_info, "update") else {e.key: e.value for e in model.user_info}
    assert json.loads(info["class_names"])[9] == "класс 9"
    kinds = {node.op_type.split(":")[2] for node in model.graph.node if "::" in node.op_type}
    assert {"Conv2D", "LayerNorm", "GeLU"} <= kinds  # MindSpore's own operators, not those composed for the CPU


@pytest.mark.parametrize("format, place", [("onnx", "cells.parameter"), ("mindir", "mindir_file.in_native_forms")])
def test_a_file_with_other_weights_is_not_left(format, place, checkpoint, monkeypatch, capsys):
    """A writer that gets one of 30,000 weights wrong."""
    module, name = place.split(".")
    right = getattr(sys.modules[f"mindvit.exporting.{module}"], name)

    def wrong_parameter(graph, parameter, array=None):
        array = (parameter.asnumpy() if array is None else array).copy()
        if parameter.name == "transformer.layers.1.1.cell.1.dense1.weight":
            array[3, 5] += 1
        return right(graph, parameter, array)

    def wrong_network(network):
        copy = right(network)
        weight = copy.transformer.layers[1].mlp.dense1.weight
        weight.set_data(weight + mindspore.Tensor(np.eye(*weight.shape, 3, dtype=np.float32)))
        return copy

    monkeypatch.setattr(f"mindvit.exporting.{place}", wrong_parameter if format == "onnx" else wrong_network)
    assert main(["export", "--checkpoint", str(checkpoint), "--format", format]) == 2
    told = capsys.readouterr().err
    assert "the file that was written gives other logits than the network: the largest difference is" in told
    assert told.count("\n") == 1 and not os.listdir()


def test_other_ranks_are_noticed():
    expected = np.array([[9.0, 3.0, 2.0, 1.0, 0.5, 0.4999]])
    assert compare(expected + 5e-4, expected) == pytest.approx(5e-4)
    with pytest.raises(ValueError, match="another top-5"):
        compare(expected + [[0, 0, 0, 0, -1e-4, 1e-4]], expected)
    for wrong in (expected * np.nan, expected[:, :5], expected + 1e-3):
        with pytest.raises(ValueError, match="other logits"):
            compare(wrong, expected)


@pytest.mark.parametrize("words, told", [
    (["--format", "air"], "air is written by MindSpore on an Ascend alone, and the device is CPU; take mindir"),
    (["--amp_level", "O2"], "amp_level is O2, but files are written in float32"),
    (["--out", "vit.mindir"], "vit.mindir does not end in .onnx, which format onnx needs"),
    (["--out", "there.onnx"], "there.onnx is there already; name another file with --out, or remove it"),
    (["--out", "half.onnx"], "half.onnx.data is there already"),
    (["--batch_size", "0"], "batch_size is 0; it is a whole number of at least 1"),
    (["--format", "mindir", "--out", "a b.mindir"], "MindSpore writes no file called 'a b.mindir'; take letters"),
    (["--images", "nowhere"], "nowhere does not exist"),
    (["--out", "/proc/vit.onnx"], "/proc/vit.onnx cannot be written"),
])
def test_what_cannot_be_written_is_told_in_one_line(words, told, checkpoint, capsys):
    for name in ("there.onnx", "half.onnx.data"):
        pathlib.Path(name).write_text("mine")
    assert main(["export", "--checkpoint", str(checkpoint), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mindvit export: ") and told in error and error.count("\n") == 1
    assert sorted(os.listdir()) == ["half.onnx.data", "there.onnx"] and pathlib.Path("there.onnx").read_text() == "mine"


def test_broken_weights_are_called_so(checkpoint, capsys):
    network = mindvit.from_checkpoint(checkpoint)
    network.patch_embedding.conv.weight.set_data(network.patch_embedding.conv.weight * 1e38)
    mindvit.save_weights(network, "broken.ckpt")
    assert main(["export", "--checkpoint", "broken.ckpt"]) == 2
    assert "its weights are broken" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_named(checkpoint, capsys):
    pathlib.Path("half.png").write_bytes(b"\x89PNG")
    assert main(["export", "--checkpoint", str(checkpoint), "--images", "half.png"]) == 2
    assert "cannot read the image half.png" in capsys.readouterr().err


def test_air_is_refused_before_anything_is_read(capsys):
    assert main(["export", "--checkpoint", "nowhere.ckpt", "--format", "air"]) == 2
    assert "air is written by MindSpore on an Ascend alone" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_a_library_that_lacks_is_named_before_anything_is_read(library, checkpoint, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["export", "--checkpoint", str(checkpoint)]) == 2
    assert f"this needs {library}, which is not installed" in capsys.readouterr().err


def test_a_resize_without_a_form_is_refused(checkpoint, capsys):
    network = mindvit.ViT(**TINY)
    mindvit.save_weights(network, "suite.ckpt")
    assert main(["export", "--checkpoint", "suite.ckpt", "--model.overrides.num_heads", "4", "--with_preprocess",
                 "true", "--data.interpolation", "bicubic"]) == 2
    assert "the bicubic resize of 'mindspore' cannot be written pixel for pixel" in capsys.readouterr().err
    assert os.listdir() == ["suite.ckpt"]


def test_weights_of_more_than_a_file_holds(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr("mindvit.exporting.graph.MOST_BYTES", 1000)
    written = mindvit.export(mindvit.ExportJob(checkpoint=str(checkpoint), out="vit.onnx"))
    assert written["files"] == ["vit.onnx.data", "vit.onnx"] == sorted(os.listdir(), reverse=True)
    assert "vit.onnx.data: " in capsys.readouterr().out
    assert onnxruntime.InferenceSession("vit.onnx").get_inputs()[0].shape == ["batch", 3, 32, 32]


def test_mindir_of_a_fixed_batch_whose_weights_mindspore_puts_beside_it(checkpoint, monkeypatch, graph_mode):
    monkeypatch.setattr(mindspore.train.serialization, "TOTAL_SAVE", 1)
    written = mindvit.export(mindvit.ExportJob(checkpoint=str(checkpoint), format="mindir", out="vit.mindir",
                                               batch_size=2))
    assert written["files"] == ["vit_variables", "vit.mindir"] and written["largest_difference"] < 1e-4
    assert nn.GraphCell(mindspore.load("vit.mindir"))(mindspore.ops.ones((2, 3, 32, 32))).shape == (2, 10)


def test_a_file_that_came_while_this_one_was_made_stays(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(export, "checked", lambda *arguments: pathlib.Path("vit.onnx").write_text("another's"))
    assert main(["export", "--checkpoint", str(checkpoint), "--out", "vit.onnx"]) == 2
    assert "vit.onnx is there already; name another file" in capsys.readouterr().err
    assert pathlib.Path("vit.onnx").read_text() == "another's" and os.listdir() == ["vit.onnx"]
