"""Checkpoints of lucidrains' vit-pytorch, in the form of its first releases and in today's."""

import math
import pathlib

import mindspore as ms
import numpy as np
import pytest
import reference
from scipy.special import softmax

from mindvit import ViT, from_checkpoint, load_weights, save_weights
from mindvit.cli import main

SIZES = {"dim": 32, "depth": 2, "heads": 2, "dim_head": 64, "mlp_dim": 48, "classes": 5, "patch": 4, "channels": 3}


def names(form, block):
    """What the file calls (norm, qkv, out, norm of the MLP, its two layers) of a block."""
    layer = f"transformer.layers.{block}"
    if form == "today":
        return [f"{layer}.{end}" for end in ("0.norm", "0.to_qkv", "0.to_out.0", "1.net.0", "1.net.1", "1.net.4")]
    fn = f"{layer}.{{}}.fn" if form == "first" else f"{layer}.{{}}"  # Residual(PreNorm(...)), PreNorm(...)
    ends = ("norm", "fn.to_qkv", "fn.to_out.0", "norm", "fn.net.0", "fn.net.3")
    return [f"{fn.format(0 if k < 3 else 1)}.{end}" for k, end in enumerate(ends)]


def written(form, pool="cls", seed=0, **changes):
    """The arrays of a random network as that code saves them."""
    s = {**SIZES, **changes}
    rng = np.random.default_rng(seed)
    arrays = {}

    def add(name, *shape, bias=True):
        arrays[f"{name}.weight"] = rng.normal(0, 0.2, shape).astype(np.float32)
        if bias:
            arrays[f"{name}.bias"] = rng.normal(0, 0.2, shape[:1]).astype(np.float32)

    dim, inner, values = s["dim"], s["heads"] * s["dim_head"], s["patch"] ** 2 * s["channels"]
    tokens = 9 + (form != "today" or pool == "cls")
    positions = rng.normal(0, 0.2, (tokens, dim)).astype(np.float32)
    class_token = rng.normal(0, 1, (tokens - 9, dim)).astype(np.float32)
    if form == "today":
        arrays |= {"pos_embedding": positions, "cls_token": class_token}
        add("to_patch_embedding.1", values)
        add("to_patch_embedding.2", dim, values)
        add("to_patch_embedding.3", dim)
        add("transformer.norm", dim)
        add("mlp_head", s["classes"], dim)
    else:
        arrays |= {"pos_embedding": positions[None], "cls_token": class_token[None]}
        add("patch_to_embedding" if form == "first" else "to_patch_embedding.1", dim, values)
        add("mlp_head.0", dim)
        add("mlp_head.1", s["classes"], dim)
    for block in range(s["depth"]):
        norm, qkv, out, mlp_norm, first, second = names(form, block)
        add(norm, dim)
        add(qkv, 3 * inner, dim, bias=False)
        if not (s["heads"] == 1 and s["dim_head"] == dim):
            add(out, dim, inner)
        add(mlp_norm, dim)
        add(first, s["mlp_dim"], dim)
        add(second, dim, s["mlp_dim"])
    return arrays


def computed(arrays, form, images, pool="cls", **changes):
    """Logits as that code is described: patches channels last, the mean over every token, the class token too."""
    s, p = {**SIZES, **changes}, {name: array.astype(np.float64) for name, array in arrays.items()}

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0)

    def norm(x, name):
        return reference.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)

    b, c, height, width = images.shape
    side = s["patch"]
    x = np.stack([images[:, :, top:top + side, left:left + side].transpose(0, 2, 3, 1).reshape(b, -1)
                  for top in range(0, height, side) for left in range(0, width, side)], 1).astype(np.float64)
    if form == "today":
        x = norm(linear(norm(x, "to_patch_embedding.1"), "to_patch_embedding.2"), "to_patch_embedding.3")
    else:
        x = linear(x, "patch_to_embedding" if form == "first" else "to_patch_embedding.1")
    token = p["cls_token"].reshape(-1, s["dim"])
    x = np.concatenate([np.broadcast_to(token, (b, *token.shape)), x], 1) + p["pos_embedding"]
    for block in range(s["depth"]):
        attention_norm, qkv, out, mlp_norm, first, second = names(form, block)
        y = linear(norm(x, attention_norm), qkv).reshape(b, x.shape[1], 3, s["heads"], s["dim_head"])
        q, k, v = np.moveaxis(y, (2, 3), (0, 2))
        y = softmax(q @ np.swapaxes(k, -1, -2) / math.sqrt(s["dim_head"]), -1) @ v
        y = np.moveaxis(y, 1, 2).reshape(b, x.shape[1], -1)
        x = x + (linear(y, out) if f"{out}.weight" in p else y)
        x = x + linear(reference.gelu_erf(linear(norm(x, mlp_norm), first)), second)
    if form == "today":
        x = norm(x, "transformer.norm")
    x = x.mean(1) if pool == "mean" else x[:, 0]
    return linear(x, "mlp_head") if form == "today" else linear(norm(x, "mlp_head.0"), "mlp_head.1")


def images(channels=3):
    return np.random.default_rng(1).normal(0, 1, (3, channels, 12, 12)).astype(np.float32)


def save(arrays, path="model.safetensors"):
    from safetensors.numpy import save_file
    save_file(arrays, path)
    return path


def spread(network, expected, x):
    logits = network(ms.Tensor(x)).asnumpy()
    assert logits.shape == expected.shape
    return np.abs(logits - expected).max() / np.ptp(expected)


ONE_HEAD = {"heads": 1, "dim_head": 32}


@pytest.mark.parametrize("changes", [{}, ONE_HEAD, {"channels": 1}], ids=["heads of 64", "one head", "gray"])
@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("form", ["first", "seed", "today"])
def test_logits_of_every_form(form, pool, changes):
    arrays = written(form, pool, **changes)
    x = images(changes.get("channels", 3))
    expected = computed(arrays, form, x, pool, **changes)
    given = {"pool": "mean_all"} if pool == "mean" and form != "today" else {}  # no file of that form tells it
    network = from_checkpoint(save(arrays), **given)
    assert network.load_report.format == "vit_pytorch" and not network.load_report.unused
    assert spread(network, expected, x) < 1e-5
    save_weights(network, "own.ckpt")
    assert spread(from_checkpoint("own.ckpt"), expected, x) < 1e-5
    again = ViT(**network.arguments)
    load_weights(again, "model.safetensors")
    assert spread(again.set_train(False), expected, x) < 1e-5


def test_the_mean_without_the_class_token_is_another_number():
    """What mindvit's own pool='mean' gave for such a file; timm's means that."""
    arrays = written("seed")
    expected = computed(arrays, "seed", images(), "mean")
    assert spread(from_checkpoint(save(arrays), pool="mean"), expected, images()) > 0.01


def test_what_such_a_file_does_not_tell_is_said_or_asked():
    assumed = "\n".join(from_checkpoint(save(written("seed"))).load_report.assumed)
    assert "num_heads 2, vit-pytorch's usual heads of 64" in assumed
    assert "vit-pytorch's pool='mean' is pool='mean_all' here" in assumed
    assert "patches 4 x 4 with 3 channels" in assumed and "norm_eps 1e-05" in assumed
    assert "vit-pytorch prepares no images" in assumed
    assert "attention scale head_dim ** -0.5, as in vit-pytorch since 0.6.7; before, dim ** -0.5" in assumed
    assert "attention scale" not in "".join(from_checkpoint(save(written("today"))).load_report.assumed)
    other = {"heads": 2, "dim_head": 24}
    arrays = written("today", **other)
    with pytest.raises(ValueError, match="does not tell num_heads"):
        from_checkpoint(save(arrays))
    expected = computed(arrays, "today", images(), **other)
    assert spread(from_checkpoint("model.safetensors", num_heads=2), expected, images()) < 1e-5


def test_patches_that_are_not_square():
    arrays = written("today")
    for name in ("1.weight", "1.bias"):
        arrays[f"to_patch_embedding.{name}"] = np.ones(24, np.float32)
    arrays["to_patch_embedding.2.weight"] = np.ones((32, 24), np.float32)
    with pytest.raises(ValueError, match="its patches have 24 values.*give patch_size and input_channels"):
        from_checkpoint(save(arrays))
    network = from_checkpoint("model.safetensors", patch_size=(2, 4), image_size=(6, 12))
    assert network.arguments["patch_size"] == (2, 4) and network.arguments["input_channels"] == 3


@pytest.mark.parametrize("damage, message", [
    (lambda arrays: arrays.pop("transformer.layers.1.0.to_out.0.weight"), "its blocks differ"),
    (lambda arrays: [arrays.pop(f"transformer.layers.{i}.0.to_out.0.{p}") for i in (0, 1) for p in ("weight", "bias")],
     "it has no transformer.layers.0.0.to_out.0.weight"),
    (lambda arrays: arrays.update({"to_patch_embedding.2.weight": np.ones(4, np.float32)}), "it needs 2 dimensions"),
    (lambda arrays: arrays.update({"pos_embedding": np.ones((2, 5, 32), np.float32)}), "pos_embedding has shape"),
])
def test_damage_is_refused(damage, message):
    arrays = written("today")
    damage(arrays)
    with pytest.raises(ValueError, match=message):
        from_checkpoint(save(arrays))


def test_what_other_libraries_cannot_hold_is_refused_by_name():
    network = from_checkpoint(save(written("today", **ONE_HEAD)))
    for format in ("suite", "timm", "huggingface", "torchvision"):
        with pytest.raises(ValueError, match="patch_norm=True, out_projection=False"):
            save_weights(network, "out.ckpt" if format == "suite" else "out.safetensors", format)


def test_images_of_one_channel_are_refused_before_a_run_has_a_folder(digit_folder, capsys):
    save(written("today", channels=1))
    for command in (["train", "--data.root", str(digit_folder)], ["eval", "--data.root", str(digit_folder)],
                    ["predict", str(next(digit_folder.glob("*/*/*")))]):
        assert main([*command, "--checkpoint", "model.safetensors", "--model.image_size", "12"]) == 2
        error = capsys.readouterr().err
        assert "model.safetensors is for images of 1 channels, and images are prepared as RGB" in error
    assert not pathlib.Path("runs").exists()


@pytest.mark.libraries
def test_relatives_of_the_installed_library_are_right_or_refused_with_a_reason():
    """Positions for the patches alone, and classes that share only some names."""
    torch = pytest.importorskip("torch")
    from vit_pytorch import vit_for_small_dataset, vit_with_patch_dropout
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 1, "heads": 2, "mlp_dim": 48}
    model = vit_with_patch_dropout.ViT(**sizes).eval()
    torch.save(model.state_dict(), "model.pth")
    x = torch.randn(2, 3, 32, 32)
    assert spread(from_checkpoint("model.pth"), model(x).detach().numpy(), x.numpy()) < 1e-5
    torch.save(vit_for_small_dataset.ViT(**sizes).state_dict(), "model.pth")
    with pytest.raises(ValueError, match="it is not vit-pytorch's ViT"):
        from_checkpoint("model.pth")
    torch.save(model, "module.pth")
    with pytest.raises(ValueError, match=r"is not executed; save model.state_dict\(\) instead"):
        from_checkpoint("module.pth")
    torch.save({"net": model.state_dict()}, "nested.pth")
    with pytest.raises(ValueError, match=r"it holds no arrays, but net; save model.state_dict\(\) alone"):
        from_checkpoint("nested.pth")


@pytest.mark.libraries
@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("heads", [{"heads": 3, "dim_head": 64}, {"heads": 1, "dim_head": 48}, {"heads": 1}])
def test_the_installed_library(heads, pool):
    """`torch.save(model.state_dict())`, alone and under the key of a training checkpoint."""
    torch = pytest.importorskip("torch")
    vit_pytorch = pytest.importorskip("vit_pytorch")
    torch.manual_seed(0)
    model = vit_pytorch.ViT(image_size=(24, 36), patch_size=6, num_classes=7, dim=48, depth=3, mlp_dim=64, pool=pool,
                            **heads).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        x = torch.randn(2, 3, 24, 36)
        expected = model(x).numpy()
    torch.save(model.state_dict(), "plain.pth")
    torch.save({"epoch": 3, "model_state_dict": model.state_dict(), "val_acc": 0.5}, "training.pth")
    for path in ("plain.pth", "training.pth"):
        network = from_checkpoint(path, image_size=(24, 36))
        assert spread(network, expected, x.numpy()) < 1e-5
