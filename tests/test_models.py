"""Networks against the papers' formulas in float64, and what is refused."""

import warnings

import mindspore as ms
import numpy as np
import pytest
import reference
from mindspore import Tensor, nn
from PIL import Image
from tiny import TINY, images, scatter

from mindvit import (
    VARIANTS,
    Attention,
    DropPath,
    FeedForward,
    PatchEmbedding,
    TransformerEncoder,
    ViT,
    create_model,
)


@pytest.mark.parametrize("case", reference.CASES)
def test_logits_equal_the_formulas_in_float64(case, mode):
    arguments, options = reference.CASES[case]
    network = ViT(**{**TINY, **arguments}).set_train(False)
    weights = scatter(network)
    embedding = network.patch_embedding
    x = images(3, embedding.input_channels, *embedding.image_size)
    expected = reference.vit(weights, x, **{"patch": embedding.patch_size, "heads": 4, **options})
    logits = network(Tensor(x)).asnumpy()
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() / np.ptp(expected) < 1e-5


def test_native_names_are_the_tutorials():
    names = [parameter.name for parameter in ViT(**{**TINY, "num_layers": 1}).get_parameters()]
    block = "transformer.layers.0."
    assert set(names) == {
        "cls", "pos_embedding", "patch_embedding.conv.weight", "patch_embedding.conv.bias", "norm.gamma", "norm.beta",
        "dense.weight", "dense.bias", block + "0.cell.0.gamma", block + "0.cell.0.beta", block + "0.cell.1.qkv.weight",
        block + "0.cell.1.qkv.bias", block + "0.cell.1.out.weight", block + "0.cell.1.out.bias",
        block + "1.cell.0.gamma", block + "1.cell.0.beta", block + "1.cell.1.dense1.weight",
        block + "1.cell.1.dense1.bias", block + "1.cell.1.dense2.weight", block + "1.cell.1.dense2.bias"}


# Published: ViT-B/16 of the Vision suite (design), torchvision's and DeiT's model tables, in numbers of parameters.
PUBLISHED = {"vit_b_16": 86_567_656, "vit_b_32": 88_224_232, "vit_l_16": 304_326_632, "vit_l_32": 306_535_400,
             "vit_t_16": 5_717_416, "vit_s_16": 22_050_664, "deit_t_16_distilled": 5_910_800,
             "deit_s_16_distilled": 22_436_432, "deit_b_16_distilled": 87_338_192, "vit_h_14": 632_045_800}


def test_parameter_counts_of_the_table_are_the_published():
    assert {name: VARIANTS[name].parameters for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("name", ["vit_b_16", "vit_s_32", "deit_t_16_distilled", "digits"])
def test_networks_have_the_parameters_of_the_table(name):
    assert sum(parameter.size for parameter in create_model(name).get_parameters()) == VARIANTS[name].parameters


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    ms.set_seed(3)
    cell, x = DropPath(0.7), np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3)
    x = np.repeat(x, 20000, 0)
    y = cell.set_train()(Tensor(x)).asnumpy()
    ratio = (y / x).round(4)
    assert (ratio == ratio[:, :1, :1]).all() and set(np.unique(ratio)) == {0, np.float32(1 / 0.7).round(4)}
    assert abs(ratio[:, 0, 0].mean() - 1) < 1e-4 + 4 * np.sqrt(0.3 / 0.7 / 20000)  # four standard errors
    assert (cell.set_train(False)(Tensor(x)).asnumpy() == x).all()


def test_drop_path_falls_linearly_with_depth():
    encoder = TransformerEncoder(8, 5, 2, 8, drop_path_keep_prob=0.8)
    first, *others = (block.drop_path for block in encoder.layers)
    assert type(first) is nn.Identity  # the first block keeps everything
    assert [cell.dropout.p for cell in others] == pytest.approx([0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("argument", ["keep_prob", "attention_keep_prob", "drop_path_keep_prob", "embed_keep_prob"])
def test_every_dropout_acts_in_training_only(argument, mode):
    network = ViT(**{**TINY, argument: 0.5})
    scatter(network)
    x = Tensor(images(4, 3, 32, 32))
    still = network.set_train(False)(x).asnumpy()
    assert (network(x).asnumpy() == still).all()
    network.set_train()
    assert np.abs(network(x).asnumpy() - still).max() > 1e-3
    assert np.abs(network(x).asnumpy() - network(x).asnumpy()).max() > 1e-3


def test_distilled_gives_a_pair_in_training_and_its_mean_in_evaluation(mode):
    network = ViT(**TINY, distilled=True)
    scatter(network)
    x = Tensor(images(2, 3, 32, 32))
    pair = network.set_train()(x)
    mean = network.set_train(False)(x).asnumpy()
    assert np.abs(pair[0].asnumpy() - pair[1].asnumpy()).max() > 0.1
    np.testing.assert_allclose((pair[0].asnumpy() + pair[1].asnumpy()) / 2, mean, atol=1e-5)


def test_forward_features_and_head_compose_to_the_logits():
    network = ViT(**TINY).set_train(False)
    scatter(network)
    x = Tensor(images(2, 3, 32, 32))
    tokens = network.forward_features(x)
    assert tokens.shape == (2, 17, 32)
    np.testing.assert_allclose(network.forward_head(tokens).asnumpy(), network(x).asnumpy(), atol=1e-6)


def test_sine_cosine_positions():
    network = ViT(**{**TINY, "image_size": (16, 32)}, pos_embedding="sincos2d")
    assert "pos_embedding" not in [parameter.name for parameter in network.trainable_params()]
    values = network.pos_embedding.asnumpy()[0]  # (1 + 2 * 4, 32)
    assert (values[0] == 0).all()
    omega = 1 / 10000 ** (np.arange(8) / 7)
    row, column = 1, 2
    expected = np.concatenate([f(place * omega) for place in (column, row) for f in (np.sin, np.cos)])
    np.testing.assert_allclose(values[1 + row * 4 + column], expected, atol=1e-6)


def resized(positions, old, new):
    """Positions (1, N, D) of a grid brought to another by Pillow's bicubic resize, channel by channel."""
    channels = positions[0].reshape(*old, -1).transpose(2, 0, 1)
    channels = [np.asarray(Image.fromarray(channel).resize(new[::-1], Image.Resampling.BICUBIC))
                for channel in channels]
    return np.stack(channels, 2).reshape(1, -1, len(channels))


@pytest.mark.parametrize("size", [(32, 32), (48, 24), (16, 72)])
@pytest.mark.parametrize("changes", [{}, {"pool": "mean", "class_token": False}, {"distilled": True}])
def test_images_of_another_size_where_they_are_asked_for(changes, size, mode):
    network = ViT(**TINY, dynamic_image_size=True, **changes).set_train(False)
    weights, prefix = scatter(network), network.num_prefix_tokens
    x = images(2, 3, *size)
    logits = network(Tensor(x)).asnumpy()
    patches = resized(weights["pos_embedding"][:, prefix:], (4, 4), (size[0] // 8, size[1] // 8))
    weights["pos_embedding"] = np.concatenate([weights["pos_embedding"][:, :prefix], patches], 1)
    expected = reference.vit(weights, x, patch=(8, 8), heads=4, pool=changes.get("pool", "cls"))
    assert np.abs(logits - expected).max() / np.ptp(expected) < 1e-5
    with pytest.raises(ValueError, match=r"\(2, 3, 36, 32\).*a multiple of 8"):
        network(Tensor(images(2, 3, 36, 32)))


def test_fixed_positions_of_another_size_are_computed_and_it_trains(mode):
    sizes = {**TINY, "pos_embedding": "sincos2d", "embed_dim": 16}
    network, larger = (ViT(**{**sizes, **changes}) for changes in ({"dynamic_image_size": True},
                                                                   {"image_size": (24, 48)}))
    weights = scatter(network)
    for parameter in larger.trainable_params():
        parameter.set_data(Tensor(weights[parameter.name]))
    network.pos_embedding.set_data(ViT(**sizes).pos_embedding)
    x = Tensor(images(2, 3, 24, 48))
    np.testing.assert_allclose(network(x).asnumpy(), larger(x).asnumpy(), atol=2e-5)
    learned = ViT(**TINY, dynamic_image_size=True)
    scatter(learned)

    def squares(x):
        return (learned(x) ** 2).sum()

    gradient, = ms.grad(squares, None, [learned.pos_embedding])(x)
    assert gradient.shape == (1, 17, 32) and (np.abs(gradient.asnumpy()).max((0, 2)) > 0).all()


def test_half_precision_of_the_options(mode):
    """O2, as on Ascend, in graph mode and out of it."""
    changes = {"patch_norm": True, "dynamic_image_size": True, "pool": "mean_all", "num_heads": 1,
               "out_projection": False}
    network = ViT(**{**TINY, **changes}).set_train(False)
    x = images(2, 3, 40, 32)
    whole = network(Tensor(x)).asnumpy()
    half = ms.amp.auto_mixed_precision(network, "O2")(Tensor(x, ms.float16))
    assert half.dtype in (ms.float16, ms.float32) and np.abs(half.asnumpy() - whole).max() <= 2e-2 * np.abs(whole).max()


def test_the_suites_backbone():
    """`mindvision.classification.models.backbones.ViT`: its thirteen arguments in their order, and no head."""
    network = ViT.backbone(32, 3, 8, 32, 2, 4, 64, 1.0, 1.0, 1.0, nn.GELU, nn.LayerNorm, "cls")
    scatter(network)
    x = Tensor(images(2, 3, 32, 32))
    features = network(x).asnumpy()
    assert features.shape == (2, 32)
    np.testing.assert_allclose(features, network.forward_features(x).asnumpy()[:, 0], atol=1e-6)
    names = [parameter.name for parameter in ViT.backbone(pool="mean", num_layers=1).get_parameters()]
    assert "cls" not in names and "dense.weight" not in names
    assert ViT.backbone(num_layers=1)(Tensor(images(1, 3, 224, 224))).shape == (1, 768)  # its documented example


def test_fewer_patches_than_the_suite_took_are_a_warning():
    assert PatchEmbedding.MIN_NUM_PATCHES == 4
    with pytest.warns(UserWarning, match=r"\(16, 48\) in patches of \(16, 16\) are 3 patches, fewer than the 4"):
        PatchEmbedding((16, 48), 16, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PatchEmbedding(32, 16, 8)


def test_a_printed_network_shows_no_addresses():
    text = str(ViT(**TINY, patch_norm=True))
    assert " at 0x" not in text and " object" not in text and "Parameter (" not in text
    assert "kernel_size=(8, 8)" in text and "epsilon=1e-07" in text and "approximate=True" in text


@pytest.mark.parametrize("build, message", [
    (lambda: ViT(image_size=225), "image height 225 is not divisible by patch height 16; use 224 or 240"),
    (lambda: ViT(image_size=(224, 100)), "image width 100 is not divisible by patch width 16; use 96 or 112"),
    (lambda: ViT(image_size=8), "image height 8 is not divisible by patch height 16; use 16"),
    (lambda: ViT(image_size=0), "image_size is 0; give a whole number of at least 1"),
    (lambda: ViT(embed_dim=100, num_heads=12), "dim 100 is not divisible by num_heads 12"),
    (lambda: ViT(pool="max"), "pool is 'max'; choose one of 'cls', 'mean'"),
    (lambda: ViT(pos_embedding="rope"), "pos_embedding is 'rope'; choose one of 'learned', 'sincos2d', 'none'"),
    (lambda: ViT(keep_prob=0.0), r"keep_prob is 0.0; .* \(0, 1\]"),
    (lambda: Attention(8, 2, attention_keep_prob=1.5), r"attention_keep_prob is 1.5; .* \(0, 1\]"),
    (lambda: FeedForward(8, keep_prob=-1), r"keep_prob is -1; .* \(0, 1\]"),
    (lambda: DropPath(2), r"keep_prob is 2; .* \(0, 1\]"),
    (lambda: ViT(num_classes=-3), "num_classes is -3"),
    (lambda: ViT(num_layers=0), "num_layers is 0"),
    (lambda: ViT(norm=None, norm_eps=1e-6), "norm_eps is 1e-06, but there is no norm"),
    (lambda: ViT(norm="batch"), "norm is 'batch'; choose one of 'layer_norm', 'none'"),
    (lambda: ViT(num_heads=2, head_dim=8, out_projection=False), "2 of head_dim 8 make 16"),
    (lambda: ViT(class_token=False), "class_token=False needs pool='mean'"),
    (lambda: ViT(distilled=True, pool="mean"), "distilled=True needs pool='cls'"),
    (lambda: ViT(embed_dim=30, num_heads=5, pos_embedding="sincos2d"), "embed_dim 30 is not divisible by 4"),
])
def test_wrong_arguments_are_refused_with_the_numbers(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_wrong_inputs_are_refused_with_the_numbers(mode):
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 40\); this network takes \(batch, 3, 32, 32\)"):
        ViT(**TINY)(Tensor(images(2, 3, 32, 40)))
    with pytest.raises(ValueError, match=r"\(2, 5, 16\); this cell takes \(batch, tokens, 8\)"):
        Attention(8, 2)(Tensor(images(2, 5, 16)))
