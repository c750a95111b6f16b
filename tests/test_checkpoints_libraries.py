"""Stored checkpoints against the logits of the libraries that made them, in every spelling."""

import json
import re
import shutil

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from stored import CASES, DATA, case_arguments, case_file, logits_error, same
from tiny import TINY

from mindvit import (
    ViT,
    from_checkpoint,
    load_weights,
    read_checkpoint,
    save_weights,
)
from mindvit.preprocessing import IMAGENET_MEAN


@pytest.mark.parametrize("case", CASES)
def test_logits_of_each_library(case):
    assert logits_error(from_checkpoint(case_file(case), **case_arguments(case)), case) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_logits_of_each_library_in_graph_mode(case, graph_mode):
    assert logits_error(from_checkpoint(case_file(case), **case_arguments(case)), case) < 1e-5


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("token", ["cls", "cls_token"])
@pytest.mark.parametrize("head", ["dense", "head.dense", "head.classifier", "classifier"])
def test_every_spelling_of_the_suite(prefix, token, head, tmp_path):
    arrays = {name: array.asnumpy() for name, array in ms.load_checkpoint(case_file("mindvision_tiny")).items()}
    spelled = {re.sub(r"^head\.dense", head, re.sub("^backbone.cls_token", f"backbone.{token}", name)
                      ).replace("backbone.", prefix): ms.Tensor(array) for name, array in arrays.items()}
    path = str(tmp_path / "spelled.ckpt")
    ms.save_checkpoint([{"name": name, "data": array} for name, array in spelled.items()], path)
    network = ViT(**TINY)
    load_weights(network, path)
    assert logits_error(network.set_train(False), "mindvision_tiny") < 1e-5


def rename(case, path, pairs, change=lambda arrays: arrays):
    arrays = load_file(case_file(case))
    for pattern, replacement in pairs:
        arrays = {re.sub(pattern, replacement, name): array for name, array in arrays.items()}
    save_file(change(arrays), path)
    return str(path)


def test_hugging_face_4_names_and_config(tmp_path):
    path = rename("hf_vit", tmp_path / "model.safetensors", [
        (r"^vit\.layers\.", "vit.encoder.layer."), (r"attention\.q_proj", "attention.attention.query"),
        (r"attention\.k_proj", "attention.attention.key"), (r"attention\.v_proj", "attention.attention.value"),
        (r"attention\.o_proj", "attention.output.dense"), (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense")])
    assert logits_error(from_checkpoint(path, num_heads=4), "hf_vit") < 1e-5
    config = {"model_type": "vit", "num_attention_heads": 4, "layer_norm_eps": 0.5, "hidden_act": "gelu_new"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = from_checkpoint(path)
    activation = network.transformer.layers[0][1].cell[1].activation
    assert network.norm.epsilon == 0.5
    assert activation(ms.Tensor([1.0])).asnumpy() == pytest.approx(0.841192, abs=2e-6)  # tanh form; erf: 0.841345
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "swish"}))
    with pytest.raises(ValueError, match="swish"):
        from_checkpoint(path)


def test_hugging_face_deit_and_headless(tmp_path):
    network = from_checkpoint(case_file("timm_deit_distilled"), num_heads=4)
    teacher = str(tmp_path / "teacher.safetensors")
    save_weights(network, teacher, "huggingface")
    assert {"deit.embeddings.distillation_token", "cls_classifier.weight", "distillation_classifier.bias"} <= \
        load_file(teacher).keys()
    again = from_checkpoint(teacher, num_heads=4, norm_eps=1e-6)
    assert logits_error(again, "timm_deit_distilled") < 1e-5
    assert again.preprocessing.mean == IMAGENET_MEAN and int(32 / again.preprocessing.crop_fraction) == 35

    student = {re.sub("^cls_", "", name): array for name, array in load_file(teacher).items()
               if not name.startswith("distillation_classifier")}
    save_file(student, tmp_path / "student.safetensors")  # DeiTForImageClassification: the class token's head alone
    images = ms.Tensor(np.load(DATA / "timm_deit_distilled.io.npz")["input"])
    alone = from_checkpoint(str(tmp_path / "student.safetensors"), num_heads=4, norm_eps=1e-6)
    np.testing.assert_allclose(alone(images).asnumpy(), network.set_train(True)(images)[0].asnumpy(), atol=1e-5)

    (tmp_path / "config.json").unlink()
    bare = rename("hf_vit", tmp_path / "bare.safetensors", [(r"^vit\.", "")], lambda arrays: {
        name: array for name, array in arrays.items() if not name.startswith("classifier")} | {
        "pooler.dense.weight": np.eye(32, dtype=np.float32), "pooler.dense.bias": np.zeros(32, np.float32)})
    pooled = from_checkpoint(bare, num_heads=4)  # ViTModel: tanh of a dense layer on the class token
    features = from_checkpoint(case_file("hf_vit"), num_heads=4).forward_features(images)[:, 0].asnumpy()
    np.testing.assert_allclose(pooled(images).asnumpy(), np.tanh(features), atol=1e-5)
    save_weights(pooled, str(tmp_path / "again.safetensors"), "huggingface")
    assert same(load_file(bare), load_file(tmp_path / "again.safetensors"))
    assert load_weights(ViT(**TINY), bare).replaced == [
        "dense.bias", "dense.weight", "representation.bias", "representation.weight"]


def test_google_with_representation_layer(tmp_path):
    arrays = dict(np.load(case_file("google_vit")))
    rng = np.random.default_rng(0)
    arrays["pre_logits/kernel"] = kernel = rng.normal(size=(32, 24)).astype(np.float32)
    arrays["pre_logits/bias"] = bias = rng.normal(size=24).astype(np.float32)
    arrays["head/kernel"] = rng.normal(size=(24, 10)).astype(np.float32)
    path = str(tmp_path / "in21k.npz")
    np.savez(path, **arrays)
    images = ms.Tensor(np.load(DATA / "google_vit.io.npz")["input"])
    features = from_checkpoint(case_file("google_vit")).forward_features(images)[:, 0].asnumpy()
    expected = np.tanh(features @ kernel + bias) @ arrays["head/kernel"] + arrays["head/bias"]
    np.testing.assert_allclose(from_checkpoint(path)(images).asnumpy(), expected, atol=1e-4)
    assert load_weights(ViT(**TINY | {"num_classes": 3}), path).replaced == [
        "dense.bias", "dense.weight", "representation.bias", "representation.weight"]


def test_mindcv_names_epsilon_and_gelu(tmp_path):
    native = {name.removeprefix("backbone.").replace("cls_token", "cls").replace("head.dense", "dense"): array
              for name, array in ms.load_checkpoint(case_file("mindvision_tiny")).items()}
    pairs = [("^cls$", "cls_token"), ("^pos_embedding", "pos_embed"), (r"patch_embedding\.conv", "patch_embed.proj"),
             (r"^transformer\.layers", "blocks"), (r"(s\.\d)\.0\.cell\.0", r"\1.norm1"),
             (r"(s\.\d)\.1\.cell\.0", r"\1.norm2"), (r"0\.cell\.1\.qkv", "attn.qkv"),
             (r"0\.cell\.1\.out", "attn.proj"), (r"1\.cell\.1\.dense", "mlp.fc"), ("^dense", "head")]
    for pattern, replacement in pairs:
        native = {re.sub(pattern, replacement, name): array for name, array in native.items()}
    path = str(tmp_path / "mindcv.ckpt")
    ms.save_checkpoint([{"name": name, "data": array} for name, array in native.items()], path)
    assert "blocks.1.norm2.gamma" in native and read_checkpoint(path)[1] == "mindcv"
    assert logits_error(from_checkpoint(path, num_heads=4), "mindvision_tiny") < 1e-5  # mindcv: 1e-7 and tanh, too


def test_preprocessing_is_the_librarys(tmp_path):
    expected = {"timm_vit": (0.5, 0.9, "bicubic", "pillow"), "timm_deit_distilled": (0.485, 0.9, "bicubic", "pillow"),
                "hf_vit": (0.5, 1.0, "bilinear", "torch"), "google_vit": (0.5, 1.0, "bilinear", "tensorflow"),
                "torchvision_vit": (0.485, 0.875, "bilinear", "pillow"),
                "mindvision_tiny": (0.485, 0.875, "bilinear", "mindspore")}
    for case, row in expected.items():
        network = from_checkpoint(case_file(case), num_heads=4)
        found = network.preprocessing
        assert (found.mean[0], found.crop_fraction, found.interpolation, found.resizer) == row
        assert found.predict_squash == (case == "mindvision_tiny")
        assert [line for line in network.load_report.assumed if found.describe(32) in line]
    path = shutil.copy(case_file("timm_vit"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224", "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95, "interpolation": "bilinear"}}))
    found = from_checkpoint(path, num_heads=4).preprocessing
    assert found.std == (0.5, 0.5, 0.5) and found.crop_fraction == 0.95 and found.interpolation == "bilinear"
    assert from_checkpoint(path, num_heads=4, preprocessing=found).preprocessing is found
    network = from_checkpoint(case_file("mindvision_tiny"), num_heads=4)
    assert network.arguments["activation"] == "gelu_tanh" and network.norm.epsilon == 1e-7
