"""Who decays, who is trained, and how fast each depth learns."""

import numpy as np
import pytest

from mindvit import ViT, create_model, save_weights
from mindvit.config import TRAINABLE
from mindvit.optim.groups import freeze, parameter_groups

SIZES = {"image_size": 32, "patch_size": 16, "embed_dim": 32, "num_layers": 3, "num_heads": 1, "mlp_dim": 32}


def rates(groups):
    return {parameter.name: (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}


def test_rates_fall_towards_the_image():
    network = ViT(**SIZES, distilled=True)
    found = rates(parameter_groups(network.trainable_params(), 0.3, 8.0, 0.5, 3))
    assert found.keys() == {parameter.name for parameter in network.trainable_params()}
    assert {found[name] for name in ("cls", "dist", "pos_embedding", "patch_embedding.conv.bias")} == {(0.5, 0.0)}
    assert found["patch_embedding.conv.weight"] == (0.5, 0.3)
    for block, rate in enumerate((1.0, 2.0, 4.0)):
        assert found[f"transformer.layers.{block}.0.cell.1.qkv.weight"] == (rate, 0.3)
        assert found[f"transformer.layers.{block}.1.cell.0.gamma"] == (rate, 0.0)
    assert found["norm.gamma"] == (4.0, 0.0) and found["dense.bias"] == (8.0, 0.0)
    assert found["dense.weight"] == (8.0, 0.3)
    lists = rates(parameter_groups(network.trainable_params(), 0.3, [8.0, 4.0], 0.5, 3))
    assert lists["cls"] == ([0.5, 0.25], 0.0)


@pytest.mark.libraries
@pytest.mark.parametrize("distilled", [False, True])
def test_rates_are_those_of_timm(distilled, tmp_path):
    import timm
    from safetensors.numpy import load_file
    from timm.optim import param_groups_layer_decay

    name = "deit_tiny_distilled_patch16_224" if distilled else "vit_tiny_patch16_224"
    model = timm.create_model(name)
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.75)
    theirs = {id(weight): (group["lr_scale"], group["weight_decay"]) for group in groups for weight in group["params"]}
    theirs = {name: theirs[id(weight)] for name, weight in model.named_parameters()}
    network = create_model("deit_t_16_distilled" if distilled else "vit_t_16", norm_eps=1e-6)
    for i, parameter in enumerate(network.trainable_params()):
        parameter.set_data(parameter * 0 + i)  # tells under which name timm has it
    save_weights(network, tmp_path / "a.safetensors", "timm")
    names = {int(np.ravel(values)[0]): name for name, values in load_file(tmp_path / "a.safetensors").items()}
    ours = rates(parameter_groups(network.trainable_params(), 0.05, 1.0, 0.75, 12))
    assert len(names) == len(ours) == len(theirs)
    for i, parameter in enumerate(network.trainable_params()):
        assert ours[parameter.name] == pytest.approx(theirs[names[i]]), (parameter.name, names[i])


@pytest.mark.parametrize("choice, trained", [
    ("all", 4 + 3 * 12 + 2 + 2), ("head", 2), ({"later_blocks": 2}, 12 + 2 + 2), ({"later_blocks": 3}, 2),
    ({"later_blocks": 0}, 3 * 12 + 2 + 2),
    ({"later_blocks": 9}, 0), ("biases", 1 + 3 * 6 + 1 + 2),
])
def test_what_is_trained(choice, trained):
    network = ViT(**SIZES)
    if not trained:
        with pytest.raises(ValueError, match="leaves nothing to train in 3 blocks"):
            freeze(network, choice)
        return
    freeze(network, choice)
    names = {parameter.name for parameter in network.trainable_params()}
    assert len(names) == trained and "dense.bias" in names
    with pytest.raises(ValueError, match="first of later_blocks is -1; it is 0 at least"):
        freeze(network, {"later_blocks": -1})
    assert set(TRAINABLE) == {"all", "head", "later_blocks", "biases"}
