"""The Vision Transformer's formulas in numpy float64, written from the papers; the tests compare with these."""

import numpy as np
from scipy.special import erf, softmax


def layer_norm(x, gamma, beta, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * gamma + beta


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def cross_entropy(logits, targets):
    """Per-image cross entropy (B,) of logits (B, K) against target distributions (B, K)."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    return -(targets * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))).sum(1)


def vit(weights, images, *, patch, heads, pool="cls", eps=1e-7, gelu=gelu_tanh, norm_after_pool=False, added=None,
        attention=None):
    """Logits from `weights` (native name -> array) and images (B, C, H, W): equations 1 to 8 of the ViT paper.

    `added` has what is added to the normed tokens ("tokens", layer) or attention weights ("attention", layer);
    `attention` is a list to which the weights (B, H, N, N) of each layer are appended.
    """
    p = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(x, name):
        return x @ p[name + ".weight"].T + p.get(name + ".bias", 0)

    def norm(x, name):
        return layer_norm(x, p[name + ".gamma"], p[name + ".beta"], eps) if name + ".gamma" in p else x

    b, c, height, width = images.shape
    kernel = p["patch_embedding.conv.weight"]  # (D, C, ph, pw)
    tokens = []
    for top in range(0, height, patch[0]):
        for left in range(0, width, patch[1]):
            window = images[:, :, top:top + patch[0], left:left + patch[1]].reshape(b, -1).astype(np.float64)
            window = norm(window, "patch_embedding.norm1")
            token = window @ kernel.reshape(len(kernel), -1).T + p["patch_embedding.conv.bias"]
            tokens.append(norm(token, "patch_embedding.norm2"))
    x = np.stack(tokens, 1)  # (B, N, D)
    prefix = [np.broadcast_to(p[name], (b, 1, x.shape[2])) for name in ("cls", "dist") if name in p]
    x = np.concatenate([*prefix, x], 1) + p.get("pos_embedding", 0)
    layers = 1 + max(int(name.split(".")[2]) for name in p if name.startswith("transformer"))
    for i in range(layers):
        name = f"transformer.layers.{i}.0.cell"
        y = norm(x, name + ".0") + (added or {}).get(("tokens", i), 0)
        y = linear(y, name + ".1.qkv")
        q, k, v = np.moveaxis(y.reshape(b, x.shape[1], 3, heads, -1), (2, 3), (0, 2))  # (B, H, N, Dh) each
        a = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -1)
        if attention is not None:
            attention.append(a)
        a = a + (added or {}).get(("attention", i), 0)
        y = np.moveaxis(a @ v, 1, 2).reshape(b, x.shape[1], -1)
        x = x + (linear(y, name + ".1.out") if name + ".1.out.weight" in p else y)
        name = f"transformer.layers.{i}.1.cell"
        x = x + linear(gelu(linear(norm(x, name + ".0"), name + ".1.dense1")), name + ".1.dense2")
    if not norm_after_pool:
        x = norm(x, "norm")
    if "dist" in p:
        return (linear(x[:, 0], "dense") + linear(x[:, 1], "dense_dist")) / 2
    x = x[:, 0] if pool == "cls" else x[:, len(prefix) if pool == "mean" else 0:].mean(1)
    if norm_after_pool:
        x = norm(x, "norm")
    if "representation.weight" in p:
        x = np.tanh(linear(x, "representation"))
    return linear(x, "dense") if "dense.weight" in p else x


# Networks that differ from `TINY`, and what `vit` above is told of them.
CASES = {
    "suite": ({}, {}),
    "erf": ({"activation": "gelu", "norm_eps": 1e-6}, {"gelu": gelu_erf, "eps": 1e-6}),
    "rectangular": ({"image_size": (32, 48), "patch_size": (8, 4), "input_channels": 1}, {"patch": (8, 4)}),
    "no qkv bias, wide heads": ({"qkv_bias": False, "head_dim": 12}, {}),
    "mean pool": ({"pool": "mean"}, {"pool": "mean"}),
    "mean pool, no class token": ({"pool": "mean", "class_token": False, "pos_embedding": "none"}, {"pool": "mean"}),
    "norm after mean pool": ({"pool": "mean", "norm_after_pool": True}, {"pool": "mean", "norm_after_pool": True}),
    "representation": ({"representation_size": 24}, {}),
    "distilled": ({"distilled": True}, {}),
    "features": ({"num_classes": 0}, {}),
    "mean of all tokens": ({"pool": "mean_all", "norm_after_pool": True}, {"pool": "all", "norm_after_pool": True}),
    "norms around the patch product": ({"patch_norm": True, "patch_size": (8, 4), "input_channels": 2},
                                       {"patch": (8, 4)}),
    "no output projection": ({"num_heads": 1, "out_projection": False}, {"heads": 1}),
    "no norms": ({"norm": None}, {}),
}
