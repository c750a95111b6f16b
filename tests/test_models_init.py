"""How parameters start, beside scipy's distributions and, in the group `libraries`, beside the libraries' networks."""

import functools
import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from scipy import stats

from mindvit import Attention, FeedForward, PatchEmbedding, TransformerEncoder, ViT, create_model
from mindvit.checkpoints import from_checkpoint, save_weights
from mindvit.models import init

# Attention is narrower than the tokens, so that fans of query, key, value and out differ from each other and D.
SIZES = {"image_size": 32, "patch_size": (8, 4), "embed_dim": 192, "num_layers": 2, "num_heads": 3, "head_dim": 32,
         "mlp_dim": 320, "num_classes": 500}
PATCH_FAN = 3 * 8 * 4
BLOCK = "transformer.layers.1."
KINDS = {"conv": "patch_embedding.conv.", "qkv": BLOCK + "0.cell.1.qkv.", "out": BLOCK + "0.cell.1.out.",
         "dense1": BLOCK + "1.cell.1.dense1.", "dense2": BLOCK + "1.cell.1.dense2.", "dense": "dense.",
         "dense_dist": "dense_dist.", "representation": "representation."}


def normal(sigma):
    return stats.norm(0, sigma)


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


def lecun(fan_in):
    """Truncated at two deviations, with variance 1 / fan_in after it."""
    return stats.truncnorm(-2, 2, scale=fan_in**-0.5 / stats.truncnorm(-2, 2).std())


def xavier(fan_in, fan_out):
    return uniform(math.sqrt(6 / (fan_in + fan_out)))


# name -> distribution, None for zeros; D is 192, heads * Dh 96, the MLP's width 320
TORCH = {"conv.weight": uniform(PATCH_FAN**-0.5), "conv.bias": uniform(PATCH_FAN**-0.5), "pos_embedding": normal(0.02),
         "dist": normal(0.02), **{f"{kind}.weight": normal(0.02) for kind in KINDS if kind != "conv"},
         **{f"{kind}.bias": None for kind in KINDS if kind != "conv"}}
EXPECTED = {
    "timm": {**TORCH, "cls": normal(1e-6)},
    "deit": {**TORCH, "cls": normal(0.02)},
    "flax": {"conv.weight": lecun(PATCH_FAN), "conv.bias": None, "cls": None, "dist": None,
             "pos_embedding": normal(0.02), "qkv.weight": xavier(192, 96), "qkv.bias": None,
             "out.weight": xavier(96, 192), "out.bias": None, "dense1.weight": xavier(192, 320),
             "dense1.bias": normal(1e-6), "dense2.weight": xavier(320, 192), "dense2.bias": normal(1e-6),
             "representation.weight": lecun(192), "representation.bias": None, "dense.weight": None,
             "dense.bias": None, "dense_dist.weight": None, "dense_dist.bias": None},
}


def check(values, distribution):
    """The values are drawn from the distribution: kind, mean, deviation and bounds."""
    values = values.astype(np.float64).ravel()
    if distribution is None:
        assert not values.any()
        return
    sigma, root = distribution.std(), math.sqrt(values.size)
    assert stats.kstest(values, distribution.cdf).pvalue > 1e-3
    assert abs(values.mean()) < 4 * sigma / root
    # four standard errors of the deviation of a normal, which has the heaviest tails of the three
    assert abs(values.std() / sigma - 1) < 4 / math.sqrt(2) / root
    low, high = distribution.support()
    assert low * (1 + 1e-6) <= values.min() and values.max() <= high * (1 + 1e-6)
    tail = min(20 / values.size, 0.5)  # that none of the values lies there has a chance of e^-20
    assert values.min() <= distribution.ppf(tail) and distribution.ppf(1 - tail) <= values.max()


def parameters(cell):
    return {parameter.name: parameter.asnumpy() for parameter in cell.get_parameters()}


def kinds(network):
    """{kind: values} of a network's second block and what is outside the blocks."""
    values = parameters(network)
    found = {f"{kind}.{end}": values[prefix + end] for kind, prefix in KINDS.items() for end in ("weight", "bias")
             if prefix + end in values}
    return found | {name: values[name] for name in ("cls", "dist", "pos_embedding") if name in values}


@functools.cache
def started(scheme):
    """The kinds of a distilled network and of one with a representation layer."""
    ms.set_seed(1)
    return kinds(ViT(**SIZES, representation_size=256, init=scheme)) | kinds(ViT(**SIZES, distilled=True, init=scheme))


@pytest.mark.parametrize("kind", EXPECTED["flax"])
@pytest.mark.parametrize("scheme", EXPECTED)
def test_each_kind_of_parameter_starts_as_its_scheme_says(scheme, kind):
    check(started(scheme)[kind], EXPECTED[scheme][kind])


def test_query_key_and_value_start_alike():
    for third in np.split(started("flax")["qkv.weight"], 3):
        check(third, xavier(192, 96))


def test_cells_of_their_own_start_as_the_default_network():
    ms.set_seed(2)
    cells = [PatchEmbedding(32, (8, 4), 192), Attention(192, 3, head_dim=32), FeedForward(192, 320)]
    found = {name: values for cell in cells for name, values in parameters(cell).items()}
    assert len(found) == 10
    encoder = parameters(TransformerEncoder(192, 2, 3, 320, head_dim=32))
    for kind, values in found.items():
        layer, end = kind.split(".")
        check(values, EXPECTED[init.DEFAULT][kind])
        if layer != "conv":
            check(encoder[KINDS[layer].removeprefix("transformer.") + end], EXPECTED[init.DEFAULT][kind])
    for kind, values in kinds(ViT(**SIZES, distilled=True)).items():
        check(values, EXPECTED[init.DEFAULT][kind])


@pytest.mark.parametrize("scheme", init.SCHEMES)
def test_the_seed_decides_all_values(scheme):
    def values(seed):
        ms.set_seed(seed)
        return parameters(create_model("vit_t_16", num_layers=1, init=scheme))

    first, again, other = values(5), values(5), values(6)
    assert all((first[name] == again[name]).all() for name in first)
    drawn = [name for name in first if first[name].std() > 0]
    assert len(drawn) > 5 and not any(np.array_equal(first[name], other[name]) for name in drawn)


def test_what_is_fixed_or_no_layer_of_the_network_stays():
    class Scaled(nn.Cell):
        """A norm whose parameters have a layer's names."""

        def __init__(self, shape):
            super().__init__()
            self.weight, self.bias = Parameter(Tensor(np.full(shape, 3, np.float32))), Parameter(Tensor([2.0]))

        def construct(self, x):
            return x * self.weight + self.bias

    for scheme in init.SCHEMES:
        network = ViT(**SIZES, pos_embedding="sincos2d", norm=Scaled, init=scheme)
        assert (network.norm.weight.asnumpy() == 3).all() and (network.norm.bias.asnumpy() == 2).all()
        assert np.array_equal(network.pos_embedding.asnumpy(), ViT(**SIZES, pos_embedding="sincos2d").pos_embedding)


def test_a_network_starts_anew():
    network = ViT(**SIZES, distilled=True)
    for scheme, expected in EXPECTED.items():
        ms.set_seed(3)
        init.initialise(network, scheme)
        for kind, values in kinds(network).items():
            check(values, expected[kind])


@pytest.mark.parametrize("scheme", init.SCHEMES)
def test_no_value_is_drawn_that_a_checkpoint_replaces(scheme, tmp_path, monkeypatch):
    path, told = str(tmp_path / "a.ckpt"), {"num_heads": 3, "head_dim": 32, "image_size": 32}
    network = ViT(**{**SIZES, "num_classes": 7})
    save_weights(network, path)
    ms.set_seed(4)
    replaced = parameters(from_checkpoint(path, num_classes=500, init=scheme, **told))
    check(replaced.pop("dense.weight"), EXPECTED[scheme]["dense.weight"])
    check(replaced.pop("dense.bias"), EXPECTED[scheme]["dense.bias"])
    assert all((replaced[name] == value).all() for name, value in parameters(network).items() if name in replaced)

    for drawn in (init.Normal, init.Uniform, init.TruncatedNormal):
        monkeypatch.setattr(drawn, "_initialize", lambda *_: pytest.fail("a value was drawn"))
    found = parameters(from_checkpoint(path, init=scheme, **told))
    assert all((found[name] == value).all() for name, value in parameters(network).items())


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="init is 'xavier'; choose one of 'flax', 'timm', 'deit'"):
        ViT(init="xavier")


def same_distributions(mine, theirs):
    """Each parameter's values are draws from one distribution: two-sample test, mean, deviation."""
    assert mine.keys() == theirs.keys()
    for name, values in theirs.items():
        a, b = mine[name].astype(np.float64).ravel(), values.astype(np.float64).ravel()
        assert a.shape == b.shape, name
        if b.std() == 0:
            assert (a == b).all(), name
            continue
        assert stats.ks_2samp(a, b).pvalue > 1e-4, name
        error = b.std() * math.sqrt(2 / b.size)
        assert abs(a.mean() - b.mean()) < 5 * error and abs(a.std() - b.std()) < 5 * error, name


@pytest.mark.libraries
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_timm(name, tmp_path):
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    safetensors.save_model(timm.create_model(name), str(tmp_path / "model.safetensors"))
    theirs = parameters(from_checkpoint(str(tmp_path / "model.safetensors")))
    ms.set_seed(0)
    same_distributions(parameters(create_model(name, init="timm")), theirs)
    # DeiT's own code gave the class token what timm gives the distillation token
    mine = parameters(create_model(name, init="deit"))
    check(mine.pop("cls"), normal(0.02))
    del theirs["cls"]
    same_distributions(mine, theirs)


@pytest.mark.libraries
def test_flax():
    """The layers of the paper's code, with the initialisers it gives them, made by Flax itself."""
    jax, linen = pytest.importorskip("jax"), pytest.importorskip("flax.linen")
    xavier, keys = linen.initializers.xavier_uniform(), iter(jax.random.split(jax.random.key(0), 9))
    tokens = np.zeros((1, 4, 192), np.float32)

    def values(layer, x):
        return jax.tree.map(np.asarray, layer.init(next(keys), x)["params"])

    def matrix(array):
        return array.reshape(-1, array.shape[-1]).T

    patch = values(linen.Conv(192, (8, 4), strides=(8, 4), padding="VALID"), np.zeros((1, 32, 32, 3), np.float32))
    attention = values(linen.MultiHeadDotProductAttention(3, qkv_features=96, kernel_init=xavier), tokens)
    mlp = {name: values(linen.Dense(width, kernel_init=xavier, bias_init=linen.initializers.normal(1e-6)),
                        np.zeros((1, fan_in), np.float32))
           for name, width, fan_in in (("dense1", 320, 192), ("dense2", 192, 320))}
    representation = values(linen.Dense(256), tokens)
    thirds = [attention[name] for name in ("query", "key", "value")]
    theirs = {
        "conv.weight": patch["kernel"].transpose(3, 2, 0, 1), "conv.bias": patch["bias"],
        "qkv.weight": np.concatenate([third["kernel"].reshape(192, 96).T for third in thirds]),
        "qkv.bias": np.concatenate([third["bias"].reshape(-1) for third in thirds]),
        "out.weight": matrix(attention["out"]["kernel"]), "out.bias": attention["out"]["bias"],
        **{f"{name}.{mine}": f(layer[end]) for name, layer in {**mlp, "representation": representation}.items()
           for mine, end, f in (("weight", "kernel", matrix), ("bias", "bias", np.asarray))},
        "pos_embedding": np.asarray(linen.initializers.normal(0.02)(next(keys), (1, 2 + 4 * 8, 192))),
    }
    same_distributions({kind: started("flax")[kind] for kind in theirs}, theirs)
