"""Loading into a network: other heads, missing and unused names, what a training left in the file."""

import functools

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint
from stored import case_file, logits_error, same, values
from tiny import TINY

from mindvit import (
    GELU,
    ViT,
    from_checkpoint,
    load_weights,
)


def test_loading_into_a_network_that_already_ran(graph_mode):
    network = ViT(**TINY, norm_eps=1e-6, activation=functools.partial(GELU, approximate=False)).set_train(False)
    assert logits_error(network, "timm_vit") > 0.1
    load_weights(network, case_file("timm_vit"))
    assert logits_error(network, "timm_vit") < 1e-5


def test_head_of_another_size(tmp_path):
    network = ViT(**TINY | {"num_classes": 3})
    before = values(network)
    with pytest.raises(ValueError, match=r"keep.*\(10, 32\).*\(3, 32\)"):
        load_weights(network, case_file("timm_vit"), head="keep")
    assert same(before, values(network))
    report = load_weights(network, case_file("timm_vit"))
    assert report.replaced == ["dense.bias", "dense.weight"] and not report.missing and not report.unused
    assert report.format == "timm" and "replaced     2" in str(report)
    assert np.array_equal(network.dense.weight.asnumpy(), before["dense.weight"])
    assert not np.array_equal(network.norm.gamma.asnumpy(), before["norm.gamma"])
    fresh = from_checkpoint(case_file("torchvision_vit_representation"), num_heads=4, num_classes=3, init="timm")
    assert fresh.dense.weight.shape == (3, 64) and 0 < fresh.dense.weight.asnumpy().std() < 0.1
    with pytest.raises(ValueError, match="head is 'drop'"):
        load_weights(network, case_file("timm_vit"), head="drop")


def test_what_is_missing_or_unused_is_named():
    network = ViT(**TINY | {"num_layers": 1})
    with pytest.raises(ValueError, match=r"timm_vit.safetensors.*unused: blocks\.1\..* and 4 more"):
        load_weights(network, case_file("timm_vit"))
    assert len(load_weights(network, case_file("timm_vit"), strict=False).unused) == 12
    deeper = ViT(**TINY | {"num_layers": 3})
    with pytest.raises(ValueError, match=r"missing: transformer\.layers\.2\.0\.cell\.0\.gamma.* and 4 more"):
        load_weights(deeper, case_file("timm_vit"))
    assert len(load_weights(deeper, case_file("timm_vit"), strict=False).missing) == 12
    with pytest.raises(ValueError, match="norm.gamma.*fc_norm.weight"):  # the same norm at another place
        load_weights(ViT(**TINY), case_file("timm_vit_mean_pool"))


def optimizers(parameters):
    return {"Adam": functools.partial(nn.Adam, parameters, nn.cosine_decay_lr(0.0, 1e-3, 2, 2, 1)),
            "AdamWeightDecay": functools.partial(nn.AdamWeightDecay, parameters),
            "Momentum": functools.partial(nn.Momentum, parameters, 0.1, 0.9),
            "RMSProp": functools.partial(nn.RMSProp, parameters), "Ftrl": functools.partial(nn.FTRL, parameters),
            "SGD": functools.partial(nn.SGD, parameters),
            "groups": lambda: nn.Adam([{"params": parameters[:4], "lr": 0.1}, {"params": parameters[4:]}], 0.01)}


@pytest.mark.parametrize("optimizer", ["Adam", "AdamWeightDecay", "Momentum", "RMSProp", "Ftrl", "SGD", "groups"])
def test_training_state_is_known(optimizer, tmp_path):
    network = ViT(**TINY | {"num_layers": 1})
    columns = {"image": np.zeros((2, 3, 32, 32), np.float32), "label": np.zeros(2, np.int32)}
    data = ms.dataset.NumpySlicesDataset(columns, num_parallel_workers=1).batch(2)
    model = Model(network, nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean"),
                  optimizers(network.trainable_params())[optimizer]())
    keep = CheckpointConfig(save_checkpoint_steps=1, append_info=["epoch_num", "step_num", {"note": "text"}])
    model.train(1, data, callbacks=[ModelCheckpoint("net", str(tmp_path), keep)], dataset_sink_mode=False)
    path = next(str(path) for path in tmp_path.glob("*.ckpt"))
    assert len(ms.load_checkpoint(path)) > len(values(network))
    report = load_weights(ViT(**TINY | {"num_layers": 1}), path)
    assert not report.unused and not report.missing and len(report.loaded) == len(values(network))
