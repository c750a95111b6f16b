"""Each operation's two forms, composed and native, are equal, forward and gradient; the extremes."""


import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import images, scatter

from mindvit import (
    Attention,
    PatchEmbedding,
    TransformerEncoder,
    kernels,
)

RAMP = np.concatenate([np.linspace(-12, 12, 1999), [-60, -30, 30, 60]])


def make_softmax():
    return kernels.kernel("softmax")()


def make_norm(**options):
    return kernels.kernel("layer_norm")((24,), **options)


# name: (makes the cell, input, tolerance relative to the largest value)
FORMS = {
    "tanh GELU": (kernels.GELU, RAMP, 4e-6),
    "erf GELU": (lambda: kernels.GELU(approximate=False), RAMP, 1e-6),
    "LayerNorm": (lambda: make_norm(epsilon=1e-6), images(3, 5, 24), 2e-6),
    "LayerNorm of rows far from zero": (make_norm, images(3, 5, 24) + 300, 1e-4),
    "LayerNorm of small rows": (lambda: make_norm(epsilon=1e-6), 1e-4 * images(3, 5, 24), 2e-6),
    "softmax": (make_softmax, 3 * images(2, 3, 7, 9), 2e-6),
    "softmax of large scores": (make_softmax, 1e3 * images(2, 3, 7, 9), 2e-6),
    "dense": (lambda: kernels.kernel("dense")(8, 5, "normal", "ones"), images(2, 9, 8), 2e-6),
    "dense without bias": (lambda: kernels.kernel("dense")(8, 5, "normal", "ones", False), images(2, 9, 8), 2e-6),
    "split heads": (lambda: kernels.kernel("split_heads")(6), images(2, 5, 24), 0),
    "merge heads": (lambda: kernels.kernel("merge_heads")(6), images(2, 6, 5, 4), 0),
    "patches": (lambda: PatchEmbedding((8, 12), 4, 16, 3), images(2, 3, 8, 12), 2e-6),
    "patches with norms": (lambda: PatchEmbedding((8, 12), 4, 16, 3, nn.LayerNorm), images(2, 3, 8, 12), 1e-5),
    "attention": (lambda: Attention(24, 6), images(2, 5, 24), 4e-6),
    "attention without projection": (lambda: Attention(24, 1, out_projection=False), images(2, 5, 24), 4e-6),
    "encoder": (lambda: TransformerEncoder(24, 2, 6, 48), images(2, 5, 24), 4e-6),
}


def output_and_gradients(make, x, dtype):
    """The output, and the gradients of its product with fixed weights by the input and every parameter, in float64."""
    cell = make()
    scatter(cell)
    if dtype == ms.float16 and not isinstance(cell, nn.LayerNorm):  # which O2 leaves in float32
        cell = ms.amp.auto_mixed_precision(cell, "O2", dtype)
    weight = Tensor(np.cos(np.arange(cell(Tensor(x, dtype)).size)), ms.float32)

    def weighted_sum(inputs):
        output = cell(inputs)
        return (output.astype(ms.float32).reshape(-1) * weight).sum(), output

    gradient = ms.value_and_grad(weighted_sum, 0, cell.trainable_params() or None, has_aux=True)
    x = Tensor(x, ms.float32 if isinstance(cell, nn.LayerNorm) else dtype)
    (_, output), gradients = gradient(x)
    by_input, by_parameters = gradients if cell.trainable_params() else (gradients, ())
    return [value.asnumpy().astype(np.float64) for value in (output, by_input, *by_parameters)]


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
@pytest.mark.parametrize("form", FORMS)
def test_composed_and_native_forms_are_equal_forward_and_gradient(form, dtype, mode, monkeypatch):
    make, x, tolerance = FORMS[form]
    if dtype == ms.float16:
        tolerance = 1e-2  # float16 has a precision of 1e-3
    results = []
    for composed in (True, False):
        monkeypatch.setattr(kernels, "on_cpu", lambda composed=composed: composed)
        results.append(output_and_gradients(make, x, dtype))
    for fast, native in zip(*results, strict=True):
        assert fast.shape == native.shape and np.abs(fast - native).max() <= tolerance * np.abs(native).max()


@pytest.mark.parametrize("dtype, largest", [(ms.float32, 1e4), (ms.float16, 6e4)])
@pytest.mark.parametrize("approximate", [True, False])
def test_gelu_of_the_largest_numbers_is_the_number_or_zero(approximate, dtype, largest, mode):
    x = np.array([-largest, -largest / 100, 0, largest / 100, largest])
    output, gradient = output_and_gradients(lambda: kernels.GELU(approximate), x, dtype)
    np.testing.assert_allclose(output, np.maximum(x, 0), rtol=1e-3)
    np.testing.assert_allclose(gradient, np.cos(np.arange(5)) * (np.sign(x) + 1) / 2, rtol=1e-3)


def test_tanh_is_precise():
    x = np.concatenate([np.linspace(-20, 20, 20001), [-1e4, 1e4]]).astype(np.float32)
    np.testing.assert_allclose(kernels.tanh(Tensor(x)).asnumpy(), np.tanh(x.astype(np.float64)), atol=3e-6)


@pytest.mark.parametrize("make", [lambda: kernels.kernel("dropout")(p=0.5), lambda: nn.Dropout(p=0.5)],
                         ids=["composed", "native"])
def test_dropouts_of_workers_differ(make):
    """The composed one's state is the same in all of them, and the first worker draws as one alone does."""
    kept, states = [], []
    for worker in (None, 0, 1, 2):
        ms.set_seed(3)
        network = nn.SequentialCell(make(), make())
        if worker is not None:
            kernels.separate_dropouts(network, worker)
        network.set_train()
        kept.append(tuple(tuple((cell(Tensor(np.ones(4096, np.float32))).asnumpy() > 0).tolist()) for cell in network))
        states.append([int(state.asnumpy()) for state in kernels.dropout_states(network)])
    assert kept[0] == kept[1] and len({mask for masks in kept[1:] for mask in masks}) == 6
    assert all(state == states[0] for state in states)
    assert all(0.45 < np.mean(mask) < 0.55 for masks in kept for mask in masks)
