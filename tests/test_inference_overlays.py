"""`mindvit attention`: pages, overlays, arrays and records."""

import json
import pathlib
import shutil
from unittest import mock

import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image
from tiny import TINY

from mindvit import (
    AttentionJob,
    ModelConfig,
    ViT,
    attention_maps,
    create_model,
    draw_attention,
    faithfulness,
    prepare_image,
    save_weights,
)
from mindvit.cli import main
from mindvit.inference import overlays

DIGITS = ["--model.name", "digits", "--model.pretrained", "true"]


@pytest.fixture
def digit(digit_folder):
    shutil.copy(min((digit_folder / "val" / "class 3").iterdir()), "three.png")
    return "three.png"


def test_an_image_gets_a_page_overlays_and_arrays(digit, graph_mode, capsys):
    pathlib.Path("broken.jpg").write_bytes(b"no image")
    pathlib.Path("attention").mkdir()
    pathlib.Path("attention/three_rollout.jpg").write_bytes(b"mine")
    words = ["attention", digit, "broken.jpg", *DIGITS, "--steps", "4", "--layers", "[0,-1]", "--json", "a.json",
             "--methods", '[rollout, {attention: {layer: 0, head: 1}}, grad_cam]']
    assert main(words) == 1  # one image is broken
    record, broken = json.loads(pathlib.Path("a.json").read_text())
    assert "cannot read the image broken.jpg" in broken["error"]
    assert record["target"] == record["predictions"][0] and record["target"]["label"] == "3"
    assert record["page"] == "attention/three-2.png"  # beside somebody's three_rollout.jpg
    assert pathlib.Path("attention/three_rollout.jpg").read_bytes() == b"mine"
    labels = ["rollout", "attention layer 0 head 1", "grad_cam"]
    assert list(record["overlays"]) == labels and list(record["faithfulness"]) == [*labels, "random"]
    assert record["overlays"][labels[1]] == "attention/three-2_attention_layer_0_head_1.jpg"
    for path in ("attention/figure7.png", record["page"], *record["overlays"].values()):
        assert min(Image.open(path).size) >= 400
    arrays = np.load(record["arrays"])
    network = create_model("digits", pretrained=True).set_train(False)
    image = prepare_image(digit, 28, network.preprocessing.for_prediction())
    weights = attention_maps(network, image[None])[0]
    np.testing.assert_allclose(arrays["weights"], weights[[0, -1]], atol=1e-6)
    np.testing.assert_allclose(arrays["weights"].sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays[labels[1]].ravel(), weights[0, 1, 1:, 1:].mean(0), atol=1e-6)  # mean pool
    assert arrays["rollout"].shape == arrays["grad_cam"].shape == network.patch_embedding.grid
    logits = network(Tensor(image[None])).asnumpy()[0].astype(float)
    assert abs(record["target"]["probability"] - np.exp(logits[3]) / np.exp(logits).sum()) < 1e-5
    assert all(0 < figure < 1 for figures in record["faithfulness"].values() for figure in figures.values())
    printed = capsys.readouterr().out
    assert f"rollout: deletion {record['faithfulness']['rollout']['deletion']:.3f}" in printed


def test_a_map_that_says_nothing_is_called_so(digit, graph_mode, monkeypatch):
    """A head of zeros, with which a network begins, sends no gradient."""
    save_weights(ViT(**TINY | {"init": "flax"}), "new.ckpt")
    monkeypatch.setattr(overlays, "save_sheet", sheet := mock.Mock(wraps=overlays.save_sheet))
    assert main(["attention", digit, "--checkpoint", "new.ckpt", "--model.overrides", "{num_heads: 4}", "--steps", "0",
                 "--json", "a.json"]) == 0
    captions = [lines[0] for _, lines in sheet.call_args[0][0][0][1:]]
    assert captions == ["attention", "rollout", "relevance: the same everywhere", "grad_cam: the same everywhere"]


def test_an_image_that_is_not_done_leaves_nothing(digit, graph_mode, monkeypatch):
    for stopped, status in ((OSError("no space"), 1), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(overlays, "save_sheet", mock.Mock(side_effect=stopped))
        assert main(["attention", digit, *DIGITS, "--steps", "0"]) == status
        assert not list(pathlib.Path("attention").iterdir())


def test_another_class_can_be_asked_about(digit, graph_mode):
    job = {"paths": digit, "model": ModelConfig("digits", pretrained=True), "steps": 0, "methods": ["relevance"]}
    (own,), (other,) = draw_attention(AttentionJob(**job)), draw_attention(AttentionJob(**job, target="8"))
    assert other["target"]["index"] == 8 and "faithfulness" not in other and other["page"] == "attention/three-2.png"
    assert np.abs(np.load(own["arrays"])["relevance"] - np.load(other["arrays"])["relevance"]).max() > 1e-3


def test_a_runs_config_gives_the_weights(digit_run, digit, graph_mode):
    assert main(["attention", digit, "--config", str(digit_run / "config.yaml"), "--steps", "0", "--out", "out"]) == 0
    assert np.load("out/three.npz")["weights"].shape[0] == 1


@pytest.mark.parametrize("words, message", [
    (["three.png"], "there are no weights to ask; give --checkpoint FILE or --model.pretrained true"),
    (DIGITS, "there are no images; give some, or folders"),
    (["three.png", *DIGITS, "--methods", "[rolout]"], "methods is 'rolout'; did you mean rollout?"),
    (["three.png", *DIGITS, "--methods", "[rollout, rollout]"], "methods has one of rollout twice; leave one out"),
    (["three.png", *DIGITS, "--methods", "[{attention: {head: 9}}]"], "head is 9; each layer has 3, from 0 to 2; -1"),
    (["three.png", *DIGITS, "--methods", "[{relevance: {layer: 1}}]"], "relevance has no option 'layer'; it has none"),
    (["three.png", *DIGITS, "--methods", "[]"], "methods is empty; name one of attention, rollout, relevance"),
    (["three.png", *DIGITS, "--layers", "[6]"], "layer is 6; the network has 4, from 0 to 3, or from -1"),
    (["three.png", *DIGITS, "--target", "ten"], "target 'ten' is no class of the checkpoint, by name or by index from"),
    (["three.png", *DIGITS, "--steps", "-1"], "steps is -1; it is a whole number of at least 0"),
])
def test_what_is_wrong_is_one_sentence(words, message, digit, capsys):
    assert main(["attention", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert not pathlib.Path("attention").exists() or not list(pathlib.Path("attention").iterdir())


def test_a_name_of_two_classes_asks_for_an_index():
    from mindvit.inference.overlays import find_target

    with pytest.raises(ValueError, match="'crane' is the name of the classes 0, 2; give one of these"):
        find_target("crane", ["crane", "cat", "crane"])
    assert find_target("2", ["crane", "cat", "crane"]) == 2 and find_target("cat", ["crane", "cat"]) == 1


def test_many_steps_go_through_the_network_in_small_batches(monkeypatch):
    sizes = set()

    class Measured:
        def logits(self, images):
            sizes.add(len(images))
            return np.stack([images.mean((1, 2, 3)), 0 * images[:, 0, 0, 0]], 1)

    image = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    saliency = image[0, ::2, ::2]
    found = overlays.measured(Measured(), image, {"own": saliency}, 0, steps=10**9)["own"]  # but 16 patches
    assert sizes == {16}
    direct = faithfulness(Measured().logits, image, saliency, 0, steps=16)
    assert found == pytest.approx({"deletion": direct.deletion_area, "insertion": direct.insertion_area})
    assert sizes == {16, 17}  # the second is of the direct call
