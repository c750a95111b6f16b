"""Networks as ONNX: right by onnx, run by onnxruntime, equal to MindSpore and to the libraries of the stored files."""

import functools
import pathlib

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import nn
from stored import CASES, DATA, case_arguments, case_file
from tiny import TINY, images, scatter

import mindvit
from mindvit.exporting import graph
from mindvit.exporting.backends import BACKENDS
from mindvit.exporting.onnx_file import network_graph, onnxruntime_session
from mindvit.models.variants import VARIANTS

OPTIONS = [{}, {"pool": "mean"}, {"pool": "mean_all"}, {"pool": "mean", "norm_after_pool": True},
           {"pool": "mean", "class_token": False}, {"distilled": True},
           {"distilled": True, "distillation_head": False}, {"representation_size": 16}, {"patch_norm": True},
           {"pos_embedding": "sincos2d"}, {"pos_embedding": "none"}, {"head_dim": 12},
           {"num_heads": 1, "out_projection": False}, {"qkv_bias": False}, {"activation": "gelu"},
           {"activation": "quick_gelu"}, {"activation": "relu"}, {"norm": None}, {"norm_eps": 1e-2}, {"num_classes": 0},
           {"num_classes": 0, "distilled": True}, {"image_size": (16, 32), "patch_size": (8, 4)}, {"input_channels": 1},
           {"dynamic_image_size": True}]


def computed(network, batch):
    """The logits of a network by onnxruntime, of a file that onnx finds right."""
    content = network_graph(network).in_one()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    return onnxruntime_session(content)(batch)


def assert_level(first, second, share=1e-5):
    assert first.shape == second.shape and np.abs(first - second).max() <= share * np.abs(second).max()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_of_a_network(options):
    network = mindvit.ViT(**{**TINY, **options}).set_train(False)
    scatter(network)
    size, channels = network.arguments["image_size"], network.arguments["input_channels"]
    compute = onnxruntime_session(network_graph(network).in_one())
    for number in (1, 3):
        batch = images(number, channels, *size)
        assert_level(compute(batch), network(ms.Tensor(batch)).asnumpy())
    computed(network, batch)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_the_table(name):
    side = VARIANTS[name].patch_size * 2
    network = mindvit.create_model(name, num_layers=1, image_size=side, num_classes=7, init="timm").set_train(False)
    batch = images(2, 3, side, side)
    assert_level(onnxruntime_session(network_graph(network).in_one())(batch), network(ms.Tensor(batch)).asnumpy())


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_logits_of_the_library_that_a_file_comes_from(case):
    network = mindvit.from_checkpoint(case_file(case), **case_arguments(case))
    example = np.load(DATA / f"{case}.io.npz")
    error = np.abs(computed(network, example["input"]) - example["logits"]).max() / np.ptp(example["logits"])
    assert error < 1e-5


class Sine(nn.Cell):
    def construct(self, x):
        return ms.ops.sin(x)


class Scaled(nn.LayerNorm):
    def construct(self, x):
        return 2 * super().construct(x)


@pytest.mark.parametrize("options, name", [({"activation": Sine}, "Sine"), ({"norm": Scaled}, "Scaled"),
                                           ({"activation": functools.partial(nn.ELU, 0.5)}, "ELU")])
def test_a_cell_without_a_form_is_refused_by_name(options, name):
    with pytest.raises(ValueError, match=rf"^{name} has no ONNX form here; there are forms of Attention, Block"):
        network_graph(mindvit.ViT(**{**TINY, **options}))


def test_weights_that_are_too_many_for_one_file_lie_beside_it(monkeypatch):
    network = mindvit.ViT(**TINY).set_train(False)
    scatter(network)
    graph_of_it, path, batch = network_graph(network), pathlib.Path("大 vit.onnx"), images(2, 3, 32, 32)
    expected = onnxruntime_session(graph_of_it.in_one())(batch)
    monkeypatch.setattr(graph, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="more than one ONNX file holds"):
        graph_of_it.in_one()
    assert [file.name for file in graph_of_it.write(path)] == ["大 vit.onnx.data", "大 vit.onnx"]
    assert path.stat().st_size < 30_000
    onnx.checker.check_model(str(path), full_check=True)
    assert np.array_equal(onnxruntime_session(str(path))(batch), expected)
    monkeypatch.setattr("mindvit.exporting.backends.MOST_BYTES", 1000)
    for compute in (BACKENDS["onnxruntime"], BACKENDS["openvino"]):
        found = compute(network, None, "float32")(batch)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_file_is_one_that_runs_elsewhere():
    """Operators of opset 20 alone, a batch with a name, weights under the network's names."""
    model = onnx.load_from_string(network_graph(mindvit.ViT(**TINY)).in_one())
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)] and model.ir_version == 9
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    names = {tensor.name for tensor in model.graph.initializer}
    assert {"cls", "transformer.layers.1.1.cell.1.dense2.bias"} <= names
    assert onnxruntime.InferenceSession(model.SerializeToString()).get_outputs()[0].shape == ["batch", 10]
