"""Attention weights, their gradients and the maps made from them, against the papers' formulas in float64."""

import copy

import mindspore as ms
import numpy as np
import pytest
import reference
from mindspore import Tensor, nn
from tiny import TINY, images, scatter

from mindvit import ViT, attention_maps, create_model, prepare_image, saliency_map, write_digits
from mindvit.attention.capture import Explainer
from mindvit.attention.faithfulness import faithfulness
from mindvit.attention.methods import METHODS, head_maps

# Every network in PyNative mode, where errors are found sooner; what differs in a graph as graphs too.
MODES = [(case, "pynative") for case in reference.CASES] + [(case, "graph") for case in ("suite", "distilled")]


def network_and_images(case):
    """The network, its weights, three images, and what the reference is told."""
    arguments, options = reference.CASES[case]
    network = ViT(**{**TINY, **arguments})
    weights, embedding = scatter(network), network.patch_embedding
    return (network, weights, images(3, embedding.input_channels, *embedding.image_size),
            {"patch": embedding.patch_size, "heads": 4, **options})


@pytest.mark.parametrize("case, mode", MODES, indirect=["mode"])
def test_weights_equal_the_formula(case, mode):
    network, weights, x, options = network_and_images(case)
    expected = []
    reference.vit(weights, x, **options, attention=expected)
    found = attention_maps(network, x)
    assert network.training is False and found.shape == np.stack(expected, 1).shape
    limit = 2e-5 if case == "no norms" else 1e-6  # whose products are in the thousands, before the softmax
    assert np.abs(found - np.stack(expected, 1)).max() < limit
    assert np.abs(found.sum(-1) - 1).max() < 1e-6
    np.testing.assert_array_equal(attention_maps(network.set_train(), x, layers=[-1, 0]), found[:, ::-1])
    assert network.training


@pytest.mark.parametrize("case, mode", [pair for pair in MODES if pair[0] != "features"], indirect=["mode"])
def test_evidence_equals_finite_differences(case, mode):
    """Central differences, in float64, of the class's logit by what is added to single values."""
    network, weights, x, options = network_and_images(case)
    evidence = Explainer(network)(x[1], target=3)
    expected = []
    logits = reference.vit(weights, x[1:2], **options, attention=expected)
    assert np.abs(evidence.logits - logits[0]).max() < 1e-5 * np.ptp(logits)
    rng = np.random.default_rng(0)
    for kind, gradients in (("attention", evidence.attention_gradients), ("tokens", evidence.token_gradients)):
        for layer in range(2):
            place = tuple(rng.integers(gradients.shape[1:]))
            added = np.zeros(gradients.shape[1:])
            added[place] = 1e-5
            up, down = (reference.vit(weights, x[1:2], **options, added={(kind, layer): sign * added})[0, 3]
                        for sign in (1, -1))
            assert abs(gradients[layer][place] - (up - down) / 2e-5) < 1e-4 * np.abs(gradients).max()


def test_the_likeliest_class_is_the_target_and_a_batch_of_none_is_needed():
    network, _, x, _ = network_and_images("suite")
    explainer = Explainer(network)
    evidence = explainer(x[0])
    assert evidence.target == evidence.logits.argmax() == network.set_train(False)(Tensor(x)).asnumpy()[0].argmax()


def by_hand(evidence):
    """The methods as their papers write them: products of matrices, from the first layer to the last."""
    rolled, relevant = np.eye(len(evidence.reading)), np.eye(len(evidence.reading))
    for weights, gradients in zip(evidence.attention.astype(float), evidence.attention_gradients.astype(float)):
        rolled = (0.5 * weights.mean(0) + 0.5 * np.eye(len(rolled))) @ rolled
        relevant = relevant + (weights * gradients).clip(0).mean(0) @ relevant
    patches = len(evidence.reading) - evidence.grid[0] * evidence.grid[1]
    alphas = evidence.token_gradients[-1, patches:].astype(float).mean(0)
    rows = np.flatnonzero(evidence.reading)
    return {"attention": evidence.attention[-1].mean(0)[rows].mean(0), "rollout": rolled[rows].mean(0),
            "relevance": (relevant - np.eye(len(relevant)))[rows].mean(0),
            "grad_cam": (evidence.tokens[-1] @ alphas).clip(0)}, patches


@pytest.mark.parametrize("case", ["suite", "mean pool", "mean of all tokens", "distilled", "rectangular"])
def test_methods_equal_their_papers_formulas(case):
    network, _, x, _ = network_and_images(case)
    evidence = Explainer(network)(x[2])
    expected, patches = by_hand(evidence)
    assert set(expected) == set(METHODS)
    for method, values in expected.items():
        found = saliency_map(evidence, method)
        assert found.shape == network.patch_embedding.grid and found.min() >= 0
        np.testing.assert_allclose(found.ravel(), values[patches:], rtol=1e-5, atol=1e-6 * values.max())
    np.testing.assert_allclose(head_maps(evidence).mean(0), saliency_map(evidence, "attention"), rtol=1e-5)
    first = saliency_map(evidence, {"rollout": {"layer": 0}})
    np.testing.assert_allclose(first, 0.5 * saliency_map(evidence, {"attention": {"layer": 0}}) +
                               0.5 * evidence.reading[patches:].reshape(first.shape), rtol=1e-5)


def test_the_first_tokens_that_the_head_reads_are_those_of_the_classes():
    for case, read in (("suite", [0]), ("distilled", [0, 1]), ("mean pool", range(1, 17)),
                       ("mean of all tokens", range(17))):
        network, _, x, _ = network_and_images(case)
        shares = Explainer(network)(x[0]).reading
        assert list(np.flatnonzero(shares)) == list(read) and abs(shares.sum() - 1) < 1e-12


def test_half_precision_as_on_ascend(graph_mode):
    network, _, x, _ = network_and_images("suite")
    network.set_train(False)
    wide = attention_maps(network, x), Explainer(network)(x[0], 3)
    half = copy.deepcopy(network)
    ms.amp.auto_mixed_precision(half, "O2")
    narrow = attention_maps(half, x), Explainer(half)(x[0], 3)
    assert 0 < np.abs(wide[0] - narrow[0]).max() < 0.01
    scale = np.abs(wide[1].attention_gradients).max()
    assert 0 < np.abs(wide[1].attention_gradients - narrow[1].attention_gradients).max() < 0.05 * scale


def test_it_asks_native_forms_and_flash_attention_too(monkeypatch, graph_mode):
    """Flash attention, of which the CPU has none, is gone around: the weights come from queries and keys."""
    from mindvit import kernels

    network, weights, x, options = network_and_images("suite")
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    monkeypatch.setattr(kernels, "flash_attention", True)
    other = ViT(**TINY)
    assert type(other.patch_embedding.conv) is not type(network.patch_embedding.conv)
    assert other.transformer.layers[0].attention.flash is not None
    for name, parameter in other.parameters_dict().items():
        parameter.set_data(Tensor(weights[name]))
    np.testing.assert_allclose(attention_maps(other, x), attention_maps(network, x), atol=1e-6)


def test_images_of_another_size():
    network = ViT(**{**TINY, "dynamic_image_size": True})
    scatter(network)
    assert attention_maps(network, images(1, 3, 16, 48)).shape == (1, 2, 4, 13, 13)
    assert saliency_map(Explainer(network)(images(3, 16, 48))).shape == (2, 6)


def test_images_in_double_precision_are_taken():
    """As numpy makes them of pixels, a mean and a deviation."""
    network, _, x, _ = network_and_images("suite")
    np.testing.assert_array_equal(attention_maps(network, x.astype(float)), attention_maps(network, x))
    double, single = (Explainer(network)(image, 3) for image in (x[0].astype(float), x[0]))
    np.testing.assert_array_equal(double.attention_gradients, single.attention_gradients)


@pytest.mark.parametrize("shape", [(5, 5), (64, 64), (16,), (4, 4, 1)])
def test_a_map_of_no_patches_of_the_image_is_told(shape):
    with pytest.raises(ValueError, match=r"saliency has shape .*; it is \(rows, columns\) of patches of 32 x 32"):
        faithfulness(lambda batch: batch.mean((2, 3)), images(3, 32, 32), np.zeros(shape), 0)


@pytest.mark.parametrize("wrong, message", [
    (lambda n, x: attention_maps(n, x, [2]), "layer is 2; the network has 2, from 0 to 1, or from -1"),
    (lambda n, x: attention_maps(nn.Dense(2, 2), x), "attention is that of a ViT of mindvit, not of Dense"),
    (lambda n, x: Explainer(n)(x[0], 10), "target is 10; the network has 10 classes, from 0 to 9"),
    (lambda n, x: Explainer(n)(x[0, :, :16]), r"images have shape \(1, 3, 16, 32\); this network takes"),
    (lambda n, x: saliency_map(Explainer(n)(x[0]), "rolout"), "method is 'rolout'; did you mean rollout?"),
    (lambda n, x: saliency_map(Explainer(n)(x[0]), {"attention": {"head": 4}}), "head is 4; each layer has 4, from 0"),
    (lambda n, x: saliency_map(Explainer(n)(x[0]), {"rollout": {"layer": -3}}), "layer is -3; the network has 2"),
    (lambda n, x: Explainer(ViT(**{**TINY, "num_classes": 0}))(x[0]), "the network has no head"),
])
def test_what_is_wrong_is_said(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        wrong(ViT(**TINY), images(1, 3, 32, 32))


def test_deletion_and_insertion_by_hand():
    """A class whose probability is the share of its patches in the image: the curves and areas are known."""
    image = np.zeros((1, 4, 4), np.float32)
    image[0, :2, :2] = 2.0  # one patch of four, all that the class has

    def logits(batch):
        seen = 1e-9 + batch[:, 0, :2, :2].mean((1, 2)) / 2 * (1 - 2e-9)
        return np.log(np.stack([seen, 1 - seen], 1).clip(1e-12))

    best, worst = np.array([[3, 2], [1, 0]]), np.array([[0, 1], [2, 3]])
    found = faithfulness(logits, image, best, 0, steps=4)
    np.testing.assert_allclose(found.deletion, [1, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.insertion[1:], [1, 1, 1, 1], atol=1e-6)
    assert abs(found.deletion_area - 0.125) < 1e-6 and 0.3 < found.insertion[0] < 0.8  # spread by a patch's width
    found = faithfulness(logits, image, worst, 0, steps=4)
    np.testing.assert_allclose(found.deletion, [1, 1, 1, 1, 0], atol=1e-6)
    assert abs(found.deletion_area - 0.875) < 1e-6


def test_maps_are_more_faithful_than_chance(graph_mode):
    """On the packaged digits, whose network is right in 99 of 100."""
    network = create_model("digits", pretrained=True).set_train(False)
    files = sorted(write_digits("digits").glob("val/*/*.png"))[::18]
    rng, explainer, found = np.random.default_rng(0), Explainer(network), {}
    for file in files:
        image = prepare_image(file, 28, network.preprocessing.for_prediction())
        evidence = explainer(image)
        assert evidence.target == int(file.parent.name)
        maps = {method: saliency_map(evidence, method) for method in METHODS} | {"chance": rng.random(evidence.grid)}
        for name, values in maps.items():
            measured = faithfulness(lambda batch: network(Tensor(batch)).asnumpy(), image, values, evidence.target, 8)
            found.setdefault(name, []).append((measured.deletion_area, measured.insertion_area))
    found = {name: np.mean(values, 0) for name, values in found.items()}
    for name in ("relevance", "rollout", "grad_cam"):
        assert found[name][0] < found["chance"][0] and found[name][1] > found["chance"][1], found
