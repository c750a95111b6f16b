"""A network's attention weights and their gradients, taken from outside: its cells are called one by one.

Shapes: B images, L layers, H heads, N tokens, D embedding width, K classes.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from mindvit.models import ViT


class Walk(nn.Cell):
    """A network's evaluation that also gives what lies between its cells, and takes what is added there.

    Args:
        network (ViT): in evaluation mode.
        layers (tuple[int]): whose weights are given.

    Inputs: images (B, C, height, width); or these, a tensor for each layer to add to its normed tokens, (B, N, D), and
    one to add to its weights, (B, H, N, N).
    Outputs: logits (B, K), the weights of the layers, and where something is added the normed tokens of all.
    """

    def __init__(self, network, layers):
        super().__init__(auto_prefix=False)
        self.network, self.layers = network, layers

    def construct(self, images, *added):
        x, kept, normed = self.network.embed(images), (), ()
        for i, block in enumerate(self.network.transformer.layers):
            attention, tokens = block.attention, block.norm1(x)
            if added:
                tokens = tokens + added[2 * i].astype(tokens.dtype)
                normed += (tokens,)
            q, k, v = attention.split_qkv(attention.qkv(tokens))
            weights = attention.weights(q, k)
            if i in self.layers:
                kept += (weights,)
            if added:
                weights = weights + added[2 * i + 1].astype(weights.dtype)
            x = x + attention.project(attention.average(weights, v))
            x = x + block.mlp(block.norm2(x))
        x = x if self.network.norm_after_pool else self.network.norm(x)
        return self.network.forward_head(x), kept, normed


@contextlib.contextmanager
def evaluating(network: ViT) -> Iterator[None]:
    """The network in evaluation mode, afterwards as it was.

    Raises:
        TypeError: it is no ViT.
    """
    if not isinstance(network, ViT):
        raise TypeError(f"attention is that of a ViT of mindvit, not of {type(network).__name__}; give the network "
                        "itself, not a Model or a cell around it")
    training = network.training
    network.set_train(False)
    try:
        yield
    finally:
        network.set_train(training)


def array(tensor):
    return tensor.astype(ms.float32).asnumpy()


def check_layer(layer: int, num_layers: int) -> int:
    """The layer counted from 0, of one that may be counted from the last, -1.

    Raises:
        ValueError: there is no such layer.
    """
    if not -num_layers <= layer < num_layers:
        raise ValueError(f"layer is {layer}; the network has {num_layers}, from 0 to {num_layers - 1}, or from -1, the "
                         f"last, to {-num_layers}")
    return layer % num_layers


def attention_maps(network: ViT, images: Tensor | NDArray[np.float32],
                   layers: Sequence[int] | None = None) -> NDArray[np.float32]:
    """The attention weights softmax(Q K^T / sqrt(Dh)) of every head (ViT paper, equation 6).

    Args:
        network (ViT): in training or evaluation; its dropouts are left out.
        images (array): (B, C, height, width), prepared as the network takes them.
        layers (list[int], optional): which; -1 is the last. By default all.

    Returns:
        array: (B, layers, heads, N, N): of each token, what it takes from each. Rows sum to 1. The first tokens are the
        class token and the distillation token, where there are any (`network.num_prefix_tokens`); then the patches, row
        by row.

    Raises:
        TypeError: it is no ViT.
        ValueError: there is no such layer, or the images have another shape.

    Example:
        >>> network = create_model("vit_t_16", num_layers=2)
        >>> attention_maps(network, np.zeros((1, 3, 224, 224), "float32")).shape
        (1, 2, 3, 197, 197)
    """
    with evaluating(network):
        count = len(network.transformer.layers)
        layers = [check_layer(layer, count) for layer in (range(count) if layers is None else layers)]
        _, kept, _ = Walk(network, tuple(sorted(set(layers))))(Tensor(images, ms.float32))
    by_layer = dict(zip(sorted(set(layers)), map(array, kept)))
    return np.stack([by_layer[layer] for layer in layers], 1)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What one image did in a network, from which maps are made.

    Args:
        logits (array): (K,).
        target (int): the class whose logit the gradients are of.
        attention (array): (L, H, N, N), rows sum to 1.
        attention_gradients (array): of the target's logit, likewise.
        tokens (array): the normed tokens that enter each attention, (L, N, D).
        token_gradients (array): likewise.
        reading (array): (N,), the share of each token in what the head reads: 1 of the class token, or 1 / patches of
            each patch.
        grid (int, int): rows and columns of patches.

    Example:
        >>> network = create_model("vit_t_16", num_layers=2)
        >>> evidence = Explainer(network)(np.zeros((3, 224, 224), "float32"))
        >>> evidence.tokens.shape, evidence.reading[:3].tolist()
        ((2, 197, 192), [1.0, 0.0, 0.0])
    """

    logits: NDArray[np.float32]
    target: int
    attention: NDArray[np.float32]
    attention_gradients: NDArray[np.float32]
    tokens: NDArray[np.float32]
    token_gradients: NDArray[np.float32]
    reading: NDArray[np.float64]
    grid: tuple[int, int]


class Explainer:
    """Gathers the evidence of images, one by one, by one compiled graph.

    Args:
        network (ViT): what is asked.

    Raises:
        TypeError: it is no ViT.

    Example:
        >>> explainer = Explainer(create_model("vit_t_16", num_layers=2))
        >>> explainer(np.zeros((3, 224, 224), "float32"), target=281).attention.shape
        (2, 3, 197, 197)
    """

    def __init__(self, network: ViT) -> None:
        with evaluating(network):
            self.network, self.layers = network, len(network.transformer.layers)
            walk = Walk(network, tuple(range(self.layers)))

        def score(images, chosen, *added):
            logits, weights, tokens = walk(images, *added)
            return (logits.astype(ms.float32) * chosen).sum(), logits, weights, tokens

        self.gradient = ms.value_and_grad(score, tuple(range(2, 2 + 2 * self.layers)), has_aux=True)

    def __call__(self, image: NDArray[np.float32], target: int | None = None) -> Evidence:
        """The evidence of an image (C, height, width) for a class, by default the likeliest.

        Raises:
            ValueError: there is no such class, or the image has another shape.
        """
        network = self.network
        if not network.num_classes:
            raise ValueError("the network has no head, so that no class has a reason; give one with num_classes")
        with evaluating(network):
            images = Tensor(image[None], ms.float32)
            if target is None:
                target = int(array(network(images))[0].argmax())
            if not 0 <= target < network.num_classes:
                raise ValueError(f"target is {target}; the network has {network.num_classes} classes, from 0 to "
                                 f"{network.num_classes - 1}")
            chosen = np.zeros((1, network.num_classes), np.float32)
            chosen[0, target] = 1
            (_, logits, weights, tokens), gradients = self.gradient(images, Tensor(chosen), *self.zeros(image.shape))
        attention, attention_gradients, tokens, token_gradients = (
            np.stack([array(part)[0] for part in parts])
            for parts in (weights, gradients[1::2], tokens, gradients[::2]))
        return Evidence(array(logits)[0], target, attention, attention_gradients, tokens, token_gradients,
                        reading(network, tokens.shape[1]), grid(network, image.shape))

    def zeros(self, shape: tuple[int, ...]) -> list[Tensor]:
        """What is added to the normed tokens and the weights of each layer for an image of that shape: nothing."""
        attention = self.network.transformer.layers[0].attention
        tokens = self.network.num_prefix_tokens + int(np.prod(grid(self.network, shape)))
        shapes = ((1, tokens, attention.dim), (1, attention.num_heads, tokens, tokens)) * self.layers
        return [ops.zeros(shape, ms.float32) for shape in shapes]  # each its own, to which PyNative adds up gradients


def grid(network, shape):
    """(rows, columns) of patches of an image of shape (C, height, width)."""
    return tuple(side // patch for side, patch in zip(shape[1:], network.patch_embedding.patch_size))


def reading(network, tokens):
    """The share (N,) of each token in what the head reads."""
    shares = np.zeros(tokens)
    if network.pool != "cls":
        shares[network.first_pooled:] = 1
    else:
        shares[:1 + network.distillation_head] = 1
    return shares / shares.sum()
