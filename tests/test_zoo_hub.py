"""mindspore_hub_conf.py, called as `mindspore_hub.load` of MindSpore Hub 1.9 calls it."""

import importlib.util
import os
import pathlib

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import mindvit

ROOT = pathlib.Path(__file__).parents[1]


def load(name, *args, checkpoint=None, **kwargs):
    """The name in small letters, in the folder of the repository; the weights by MindSpore's own functions."""
    spec = importlib.util.spec_from_file_location("mindspore_hub_conf.py", ROOT / "mindspore_hub_conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        network = module.create_network(name.lower(), *args, **kwargs)
    finally:
        os.chdir(here)
    assert isinstance(network, nn.Cell)
    if checkpoint:
        assert ms.load_param_into_net(network, ms.load_checkpoint(checkpoint)) == ([], [])
    return network.set_train(False)


def test_the_hub_gets_the_network_of_a_checkpoint():
    mindvit.save_weights(mindvit.vit_t_16(10, 32), "vit.ckpt", "suite")
    images = ms.Tensor(np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32))
    expected = mindvit.from_checkpoint("vit.ckpt").set_train(False)(images).asnumpy()
    mindvit.save_weights(mindvit.from_checkpoint("vit.ckpt"), "flat.ckpt")
    np.testing.assert_array_equal(load("ViT_T_16", 10, 32, checkpoint="flat.ckpt")(images).asnumpy(), expected)


def test_every_variant_is_there_and_others_are_refused():
    assert load("digits", pretrained=True).class_names == list("0123456789")
    assert load("deit_t_16_distilled", num_classes=3).dense.weight.shape == (3, 192)
    with pytest.raises(TypeError, match="digits takes its arguments by name, as in num_classes=5"):
        load("digits", 5)
    with pytest.raises(NotImplementedError, match="resnet50 is not a network of mindvit; there are vit_t_16, "):
        load("resnet50")
