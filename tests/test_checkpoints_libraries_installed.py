"""Checkpoints of the real libraries at full size, in both directions; run with -m libraries where those are."""

import json
import shutil

import mindspore as ms
import numpy as np
import pytest

from mindvit.checkpoints import from_checkpoint, load_weights, save_weights
from mindvit.checkpoints.resize import adapt_channels, resize_kernel, resize_pos_embedding
from mindvit.models import ViT

pytestmark = pytest.mark.libraries
torch = pytest.importorskip("torch")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
         "image_size": 32, "patch_size": 8, "num_labels": 5}


def shaken(model):
    """The model in evaluation mode with random numbers added everywhere, also where it starts at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def images(size):
    height, width = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)


def check(network, model, size, output=lambda result: result):
    """Same outputs within 1e-5 of their spread."""
    with torch.no_grad():
        expected = output(model(torch.from_numpy(images(size)))).numpy()
    height, width = network.arguments["image_size"]
    found = network(ms.Tensor(images(size)[:, :, :height, :width])).asnumpy()
    assert np.abs(found - expected).max() / np.ptp(expected) < 1e-5


def same_state(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items()) and first.keys() == second.keys()


def logits(result):
    return result.logits


def test_transformers_vit_base(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = shaken(transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000)))
    model.save_pretrained(tmp_path)
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 224, logits)

    with pytest.raises(FileExistsError, match="config.json is there"):
        save_weights(network, str(tmp_path / "model.safetensors"), "huggingface")
    save_weights(network, str(tmp_path / "back"), "huggingface")
    again, info = transformers.ViTForImageClassification.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values()) and same_state(model.state_dict(), again.state_dict())


@pytest.mark.parametrize("name", ["DeiTForImageClassificationWithTeacher", "DeiTForImageClassification", "ViTModel",
                                  "DeiTModel"])
def test_transformers_relatives(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DeiTConfig if name.startswith("DeiT") else transformers.ViTConfig
    cls = getattr(transformers, name)
    model = shaken(cls(config(**SMALL)))
    model.save_pretrained(tmp_path)
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 32, (lambda result: result.pooler_output) if name.endswith("Model") else logits)

    save_weights(network, str(tmp_path / "back"), "huggingface")
    again, info = cls.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values()) and same_state(model.state_dict(), again.state_dict())


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_base_patch16_224_miil",
                                  "deit_tiny_distilled_patch16_224"])
def test_timm(name, tmp_path):
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    model = shaken(timm.create_model(name))
    safetensors.save_model(model, str(tmp_path / "model.safetensors"))
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "model.pth")
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, 224)
    assert not load_weights(network, str(tmp_path / "model.pth")).unused

    save_weights(network, str(tmp_path / "back.safetensors"), "timm")
    again = timm.create_model(name)
    again.load_state_dict(safetensors.load_file(str(tmp_path / "back.safetensors")), strict=True)
    assert same_state(model.state_dict(), again.state_dict())


def test_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import load_file
    model = shaken(torchvision.models.vit_b_16())
    torch.save(model.state_dict(), tmp_path / "vit_b_16.pth")
    network = from_checkpoint(str(tmp_path / "vit_b_16.pth"))
    check(network, model, 224)
    save_weights(network, str(tmp_path / "back.safetensors"), "torchvision")
    again = torchvision.models.vit_b_16()
    again.load_state_dict(load_file(str(tmp_path / "back.safetensors")), strict=True)
    assert same_state(model.state_dict(), again.state_dict())


def test_bfloat16_pth_is_exact(tmp_path):
    timm = pytest.importorskip("timm")
    model = shaken(timm.create_model("vit_tiny_patch16_224", depth=1)).bfloat16()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    network = from_checkpoint(str(tmp_path / "model.pt"))
    assert np.array_equal(network.dense.weight.asnumpy(), model.head.weight.detach().float().numpy())


@pytest.mark.parametrize("size", [(24, 24), (10, 10), (14, 14), (7, 30), (16, 20)])
def test_resizing_equals_timm(size):
    timm = pytest.importorskip("timm")
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(1, 198, 16)).astype(np.float32)
    expected = timm.layers.resample_abs_pos_embed(torch.from_numpy(embedding), size, num_prefix_tokens=2)
    np.testing.assert_allclose(resize_pos_embedding(embedding, 2, (14, 14), size), expected.numpy(), atol=1e-5)
    kernel = rng.normal(size=(4, 3, 12, 8)).astype(np.float32)
    expected = timm.layers.resample_patch_embed(torch.from_numpy(kernel), size).numpy()
    np.testing.assert_allclose(resize_kernel(kernel, size), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_channels_equal_timm(channels):
    timm = pytest.importorskip("timm")
    kernel = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    expected = timm.models.adapt_input_conv(channels, torch.from_numpy(kernel)).numpy()
    np.testing.assert_allclose(adapt_channels(kernel, channels), expected, rtol=1e-5, atol=1e-6)


SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 72,
         "num_classes": 5, "init": "timm"}  # timm's start has no zero head, behind which all networks are equal
NETWORKS = {  # what ViT can build beside its defaults
    "plain": {}, "erf": {"activation": "gelu", "norm_eps": 1e-6},
    "clip": {"activation": "quick_gelu", "norm_eps": 1e-5},
    "relu": {"activation": "relu", "norm_eps": 1e-12}, "mean": {"pool": "mean"}, "odd mlp": {"mlp_dim": 77},
    "norm after": {"pool": "mean", "norm_after_pool": True}, "no class token": {"pool": "mean", "class_token": False},
    "neither": {"pool": "mean", "class_token": False, "norm_after_pool": True}, "one class": {"num_classes": 1},
    "no positions": {"pos_embedding": "none"}, "sincos": {"pos_embedding": "sincos2d"}, "wide heads": {"head_dim": 16},
    "rectangle": {"image_size": (16, 64), "patch_size": (8, 4)}, "gray": {"input_channels": 1},
    "no qkv bias": {"qkv_bias": False}, "representation": {"representation_size": 24, "activation": "gelu"},
    "pooler": {"representation_size": 24, "num_classes": 0}, "headless": {"num_classes": 0},
    "distilled": {"distilled": True}, "one head": {"distilled": True, "distillation_head": False},
    "distilled, headless": {"distilled": True, "num_classes": 0}, "mean of all": {"pool": "mean_all"},
    "mean of all, norm after": {"pool": "mean_all", "norm_after_pool": True}, "any size": {"dynamic_image_size": True},
    "patch norms": {"patch_norm": True}, "no projection": {"num_heads": 1, "out_projection": False},
    "no norms": {"norm": None}}
REFUSED = {
    "timm": {"wide heads", "representation", "pooler", "one head", "patch norms", "no projection", "no norms"},
    "huggingface": {"mean of all", "mean of all, norm after", "patch norms", "no projection", "no norms", "mean",
                    "norm after", "no class token", "neither", "no positions", "wide heads", "representation"},
    "torchvision": NETWORKS.keys() - {"erf", "representation"}}


def open_timm(folder, arguments):
    timm = pytest.importorskip("timm")
    return timm.create_model(f"local-dir:{folder}", pretrained=True), lambda result: result


def open_hugging_face(folder, arguments):
    transformers = pytest.importorskip("transformers")
    cls = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    if arguments["num_classes"]:
        assert model.config.id2label == dict(enumerate(names_of(arguments)))
    return model, lambda result: result.logits if "logits" in result else result.pooler_output


def open_torchvision(folder, arguments):
    models = pytest.importorskip("torchvision").models
    a = arguments
    model = models.VisionTransformer(a["image_size"][0], a["patch_size"][0], a["num_layers"], a["num_heads"],
                                     a["embed_dim"], a["mlp_dim"], num_classes=a["num_classes"],
                                     representation_size=a["representation_size"])
    load_file = pytest.importorskip("safetensors.torch").load_file
    model.load_state_dict(load_file(str(folder / "model.safetensors")), strict=True)
    return model, lambda result: result


OPEN = {"timm": open_timm, "huggingface": open_hugging_face, "torchvision": open_torchvision}


def names_of(arguments):
    return [f"class é {index}" for index in range(arguments["num_classes"])]


@pytest.mark.parametrize("format", OPEN)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_written_folder_opens_as_the_same_network_or_is_refused(name, format, tmp_path):
    rng = np.random.default_rng(0)
    network = ViT(**SIZES | NETWORKS[name]).set_train(False)
    for parameter in network.get_parameters():
        noise = rng.normal(0, 0.15, parameter.shape).astype(np.float32)
        parameter.set_data(ms.Tensor(parameter.asnumpy() + noise))
    network.class_names = names_of(network.arguments) or None
    if name in REFUSED[format]:
        with pytest.raises(ValueError, match=f"format '{format}' has no place for"):
            save_weights(network, str(tmp_path / "model.safetensors"), format)
        assert not list(tmp_path.iterdir())
        return
    save_weights(network, str(tmp_path / "model.safetensors"), format)
    images = rng.normal(0, 1, (3, network.arguments["input_channels"], *network.arguments["image_size"]))
    expected = network(ms.Tensor(images, ms.float32)).asnumpy()
    model, output = OPEN[format](tmp_path, network.arguments)
    with torch.no_grad():
        result = output(model.eval()(torch.from_numpy(images).float())).numpy()
    assert np.abs(result - expected).max() < 5e-6 * np.ptp(expected)
    if format != "torchvision":
        back = from_checkpoint(str(tmp_path / "model.safetensors"))
        assert not back.load_report.assumed and back.class_names == network.class_names
        assert np.abs(back(ms.Tensor(images, ms.float32)).asnumpy() - expected).max() < 5e-6 * np.ptp(expected)


TIMM = {  # arguments of timm's VisionTransformer: what ViT must build, or the word of the refusal
    "token": ({}, None), "avg": ({"global_pool": "avg"}, None),
    "avg, norm before": ({"global_pool": "avg", "fc_norm": False}, None),
    "token, fc_norm": ({"fc_norm": True}, None), "max": ({"global_pool": "max"}, "global_pool 'max'"),
    "avgmax": ({"global_pool": "avgmax"}, "global_pool 'avgmax'"), "map": ({"global_pool": "map"}, "map"),
    "tanh": ({"act_layer": "gelu_tanh"}, None), "quick": ({"act_layer": "quick_gelu"}, None),
    "relu": ({"act_layer": "relu"}, None), "silu": ({"act_layer": "silu"}, "act_layer 'silu'"),
    "no class token": ({"class_token": False, "global_pool": "avg"}, None),
    "no_embed_class": ({"no_embed_class": True}, None), "rms": ({"norm_layer": "rmsnorm"}, "norm_layer 'rmsnorm'"),
    "registers": ({"reg_tokens": 2}, "reg_tokens 2"), "layer scale": ({"init_values": 0.1}, "init_values 0.1"),
    "qk_norm": ({"qk_norm": True}, "qk_norm True"), "heads": ({"num_heads": 6}, None),
    "no positions": ({"pos_embed": "none"}, None), "rectangle": ({"img_size": [16, 48]}, None),
    "prefix": ({"global_pool": "avg", "pool_include_prefix": True}, None),
    "prefix, norm before": ({"global_pool": "avg", "pool_include_prefix": True, "fc_norm": False}, None),
    "any size": ({"dynamic_img_size": True}, None),
    "no_embed_class, rectangle": ({"no_embed_class": True, "img_size": [16, 48]}, None)}


@pytest.mark.parametrize("name", TIMM)
def test_timms_config(name, tmp_path):
    timm = pytest.importorskip("timm")
    arguments, refusal = TIMM[name]
    arguments = {"img_size": 32, "patch_size": 8, "depth": 2, "num_classes": 7, **arguments}
    model = shaken(timm.create_model("vit_tiny_patch16_224", **arguments))
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True,
                            model_config={"label_names": [f"n{index}" for index in range(7)]})
    path = str(tmp_path / "model.safetensors")
    if refusal:
        with pytest.raises(ValueError, match=refusal):
            from_checkpoint(path)
        return
    network = from_checkpoint(path)
    check(network, model, arguments["img_size"])
    assert network.class_names[3] == "n3"
    expected = {"position embedding"} if "no_embed_class" in name else set()
    if name == "any size":
        x = images(48)
        logits = model(torch.from_numpy(x)).detach().numpy()
        assert np.abs(network(ms.Tensor(x)).asnumpy() - logits).max() < 1e-5 * np.ptp(logits)
    assert {sentence.rsplit(" the class", 1)[0] for sentence in network.load_report.assumed} == expected


@pytest.mark.parametrize("name", ["test_vit", "vit_base_patch16_gap_224", "vit_base_patch32_siglip_gap_256",
                                  "vit_so400m_patch14_siglip_gap_384", "flexivit_small",
                                  "deit_tiny_distilled_patch16_224", "eva_large_patch14_196"])
def test_timms_architectures(name, tmp_path):
    """With its config.json, and without one by the name of the file or its folder."""
    timm = pytest.importorskip("timm")
    arguments = {} if name == "test_vit" else {"depth": 1}
    model = shaken(timm.create_model(name, num_classes=5, **arguments))
    with_config, without = tmp_path / "with", tmp_path / f"models--timm--{name}.some_tag" / "snapshots" / "1a2b"
    timm.models.save_for_hf(model, with_config, safe_serialization=True)
    without.mkdir(parents=True)
    shutil.copy(with_config / "model.safetensors", without)
    check(from_checkpoint(str(with_config / "model.safetensors")), model, model.patch_embed.img_size[0])
    network = from_checkpoint(str(without / "model.safetensors"))
    check(network, model, model.patch_embed.img_size[0])
    assert any(sentence.startswith("norm placement") for sentence in network.load_report.assumed)


def test_timms_post_norm_is_refused_by_name(tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_base_patch16_rpn_224", depth=1)
    timm.models.save_for_hf(model, tmp_path / "with", safe_serialization=True)
    shutil.copy(tmp_path / "with" / "model.safetensors", tmp_path / "vit_base_patch16_rpn_224.sw_in1k.safetensors")
    for path in ("with/model.safetensors", "vit_base_patch16_rpn_224.sw_in1k.safetensors"):
        with pytest.raises(ValueError, match="vit_base_patch16_rpn_224 is not built"):
            from_checkpoint(str(tmp_path / path))


@pytest.mark.parametrize("activation", ["gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu",
                                        "gelu_accurate", "gelu_python", "gelu_python_tanh", "silu", "gelu_10"])
def test_transformers_activations(activation, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = shaken(transformers.ViTForImageClassification(transformers.ViTConfig(
        **SMALL | {"hidden_act": activation, "image_size": [16, 64], "num_attention_heads": 2})))
    model.save_pretrained(tmp_path)
    if activation in ("silu", "gelu_10"):
        with pytest.raises(ValueError, match=f"hidden_act '{activation}'"):
            from_checkpoint(str(tmp_path / "model.safetensors"))
        return
    network = from_checkpoint(str(tmp_path / "model.safetensors"))
    check(network, model, (16, 64), logits)
    assert [line.split(" ")[0] for line in network.load_report.assumed] == ["preprocessing"]  # no processor was saved


def test_transformers_pooler_and_other_models(tmp_path):
    transformers = pytest.importorskip("transformers")
    shaken(transformers.ViTModel(transformers.ViTConfig(**SMALL | {"pooler_act": "gelu"}))).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pooler_act 'gelu'"):
        from_checkpoint(str(tmp_path / "model.safetensors"))
    model = shaken(transformers.ViTMSNForImageClassification(transformers.ViTMSNConfig(**SMALL)))
    model.save_pretrained(tmp_path / "msn")
    check(from_checkpoint(str(tmp_path / "msn" / "model.safetensors")), model, 32, logits)
    config = tmp_path / "msn" / "config.json"
    config.write_text(config.read_text().replace('"vit_msn"', '"ijepa"'))
    with pytest.raises(ValueError, match="model_type 'ijepa'"):
        from_checkpoint(str(tmp_path / "msn" / "model.safetensors"))
