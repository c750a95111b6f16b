"""Maps of what an image's patches did for the decision: one table, a function a method.

A method makes values (N,) of the tokens, or (H, N) of each head's, from `Evidence`; options stand behind the star.
"""

import numpy as np
from numpy.typing import NDArray

from mindvit.attention.capture import Evidence, check_layer
from mindvit.choices import Choice, Table, choose, entry

METHODS: Table = {}


@entry(METHODS)
def attention(evidence: Evidence, *, layer: int = -1, head: int = -1) -> NDArray[np.float64]:
    """What the head's token takes from each in one layer (ViT paper, equation 6), the mean of the heads, or one."""
    weights = evidence.attention[check_layer(layer, len(evidence.attention))]  # (H, N, N)
    if not -1 <= head < len(weights):
        raise ValueError(f"head is {head}; each layer has {len(weights)}, from 0 to {len(weights) - 1}; -1 is their "
                         "mean")
    return evidence.reading @ (weights.mean(0) if head == -1 else weights[head])


@entry(METHODS)
def rollout(evidence: Evidence, *, layer: int = -1) -> NDArray[np.float64]:
    """The weights of the layers up to this one, multiplied, half of each being the residual connection (Abnar and
    Zuidema, "Quantifying Attention Flow in Transformers", 2020, section 3)."""
    product = evidence.reading
    for weights in evidence.attention[check_layer(layer, len(evidence.attention))::-1]:
        product = 0.5 * product + 0.5 * product @ weights.mean(0)
    return product


@entry(METHODS)
def relevance(evidence: Evidence) -> NDArray[np.float64]:
    """The weights of all layers, each times its gradient where that speaks for the class (Chefer et al., "Generic
    Attention-model Explainability", 2021, equations 5 and 6)."""
    product = evidence.reading
    for weights, gradients in zip(evidence.attention[::-1], evidence.attention_gradients[::-1]):
        product = product + product @ np.maximum(weights * gradients, 0).mean(0, dtype=np.float64)
    return product - evidence.reading  # not what a token is to itself, by which the patches would be equal


@entry(METHODS)
def grad_cam(evidence: Evidence, *, layer: int = -1) -> NDArray[np.float64]:
    """The tokens that enter the attention of one layer, along the mean of their gradients, where that speaks for the
    class (Selvaraju et al., "Grad-CAM", 2017, equations 1 and 2, whose pixels are the patches)."""
    at = check_layer(layer, len(evidence.tokens))
    patches = len(evidence.reading) - evidence.grid[0] * evidence.grid[1]
    gradient = evidence.token_gradients[at, patches:].mean(0, dtype=np.float64)  # (D,)
    return np.maximum(evidence.tokens[at] @ gradient, 0)


def saliency_map(evidence: Evidence, method: Choice = "relevance") -> NDArray[np.float64]:
    """How much each patch of an image did for the decision, by one method.

    Args:
        evidence (Evidence): of the image, from an `Explainer`.
        method: a name of `METHODS`: attention, rollout, relevance or grad_cam; or {name: {option: value}}.

    Returns:
        array: (rows, columns) of patches, not negative; attention's and rollout's are shares of 1, which the class
        token has a part of too.

    Raises:
        ValueError: there is no such method, option, layer or head.

    Example:
        >>> evidence = Explainer(create_model("vit_t_16", num_layers=2))(np.zeros((3, 224, 224), "float32"))
        >>> saliency_map(evidence, {"attention": {"layer": 0}}).shape
        (14, 14)
    """
    values = choose(method, METHODS, "method")(evidence)
    return values[len(values) - evidence.grid[0] * evidence.grid[1]:].reshape(evidence.grid)


def head_maps(evidence: Evidence, layer: int = -1) -> NDArray[np.float64]:
    """What the head's token takes from each patch in every head of a layer.

    Args:
        evidence (Evidence): of an image.
        layer (int): which; -1 is the last.

    Returns:
        array: (heads, rows, columns).

    Raises:
        ValueError: there is no such layer.

    Example:
        >>> evidence = Explainer(create_model("vit_t_16", num_layers=2))(np.zeros((3, 224, 224), "float32"))
        >>> head_maps(evidence).shape
        (3, 14, 14)
    """
    heads = evidence.attention.shape[1]
    return np.stack([saliency_map(evidence, {"attention": {"layer": layer, "head": head}}) for head in range(heads)])
