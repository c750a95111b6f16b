"""The layers of the Vision Transformer.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021 (arXiv 2010.11929), cited below as "ViT".
Shapes: B images, N tokens, D embedding width, H heads, Dh width of one head.
"""

import functools
import warnings
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from mindvit import kernels
from mindvit.kernels import TABLE, SplitQKV, fast, kernel, patches
from mindvit.kernels.native import FlashAttention
from mindvit.models.init import start
from mindvit.preprocessing import Size

Activation = str | Callable[[], nn.Cell]  # a name in ACTIVATIONS, or what makes the cell
Norm = str | Callable[..., nn.Cell] | None  # a name in NORMS, or what makes the cell of a shape (and epsilon=)


class QuickGELU(nn.Cell):
    """x sigmoid(1.702 x), the approximation of GELU that CLIP uses (Hendrycks and Gimpel, 2016, section 2).

    Inputs and outputs: a float tensor of any shape.
    """

    def construct(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(1.702 * x)


ACTIVATIONS = {"gelu": functools.partial(nn.GELU, approximate=False), "gelu_tanh": nn.GELU, "quick_gelu": QuickGELU,
               "relu": nn.ReLU}
NORMS = {"layer_norm": nn.LayerNorm, "none": lambda shape: nn.Identity()}


def check_probability(**probabilities):
    for name, value in probabilities.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} is {value}; it is the probability of keeping a value and lies in (0, 1], "
                             "for example 0.9 to drop one in ten")


def check_positive(**sizes):
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")


def pair(value, name):
    """(height, width) from one number or a pair."""
    height, width = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
    check_positive(**{name: height})
    check_positive(**{name: width})
    return int(height), int(width)


def named(name, table, value):
    """What the table has under the name, or the value itself where it is no name."""
    if not isinstance(value, str):
        return value
    if value not in table:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, table))}, or give a callable that "
                         "makes the cell")
    return table[value]


def dense(name: str, in_features: int, out_features: int, has_bias: bool = True) -> nn.Dense:
    """The dense layer that a cell keeps under this name, which decides how it starts."""
    fans = in_features, out_features
    return kernel("dense")(*fans, start(f"{name}.weight", *fans), start(f"{name}.bias", *fans), has_bias)


def make_activation(activation: Activation) -> nn.Cell:
    """The activation cell of a name in ACTIVATIONS, or of a callable that makes one."""
    return fast(named("activation", ACTIVATIONS, activation))()


def activation_name(cell):
    """The name in ACTIVATIONS of an activation cell, None for one that has none there."""
    if type(cell) in TABLE["gelu"]:
        return "gelu" if cell.approximate in (False, "none") else "gelu_tanh"
    return {QuickGELU: "quick_gelu", nn.ReLU: "relu"}.get(type(cell))


def make_norm(norm: Norm, width: int) -> nn.Cell:
    """The norm cell over the last axis: of a name in NORMS, of a callable that makes one, or none at all."""
    return fast(named("norm", NORMS, "none" if norm is None else norm))((width,))


def norm_name(cell):
    """The name in NORMS of a norm cell, None for one that has none there."""
    return "layer_norm" if type(cell) in TABLE["layer_norm"] else {nn.Identity: "none"}.get(type(cell))


@ms.ops.constexpr(check=False)
def check_images(shape, channels, height, width):
    if len(shape) != 4 or tuple(shape[1:]) != (channels, height, width):
        raise ValueError(f"images have shape {tuple(shape)}; this network takes (batch, {channels}, {height}, {width})"
                         ". Resize the images, build the network with their image_size and input_channels, or with "
                         "dynamic_image_size=True for images of any size")


@ms.ops.constexpr(check=False)
def check_whole_patches(shape, channels, patch_size):
    if len(shape) != 4 or shape[1] != channels or shape[2] % patch_size[0] or shape[3] % patch_size[1]:
        raise ValueError(f"images have shape {tuple(shape)}; this network takes (batch, {channels}, a multiple of "
                         f"{patch_size[0]}, a multiple of {patch_size[1]})")


@ms.ops.constexpr(check=False)
def check_tokens(shape, dim):
    if len(shape) != 3 or shape[2] != dim:
        raise ValueError(f"tokens have shape {tuple(shape)}; this cell takes (batch, tokens, {dim})")


class DropPath(nn.Cell):
    """Stochastic depth: in training, drops a whole residual branch per sample and scales the rest by 1 / keep_prob.

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3. The mean over draws is the input.

    Args:
        keep_prob (float): probability of keeping a sample's branch, in (0, 1].

    Inputs and outputs: a float tensor (B, ...).

    Raises:
        ValueError: keep_prob is outside (0, 1].

    Example:
        >>> DropPath(0.9).set_train(False)(mindspore.ops.ones((2, 3))).shape
        (2, 3)
    """

    def __init__(self, keep_prob: float = 1.0) -> None:
        super().__init__()
        check_probability(keep_prob=keep_prob)
        self.dropout = kernel("dropout")(p=1.0 - keep_prob)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        draws = self.dropout(ops.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype))  # one a sample
        return x * ops.tile(draws, (1,) + x.shape[1:])


class Attention(nn.Cell):
    """Multi-head self-attention (ViT, appendix A, equations 5 to 8).

    Args:
        dim (int): width D of a token.
        num_heads (int): heads H.
        keep_prob (float): probability of keeping a value of the output in training.
        attention_keep_prob (float): probability of keeping an attention weight in training.
        qkv_bias (bool): whether query, key and value have a bias.
        head_dim (int, optional): width Dh of one head; dim / num_heads by default.
        out_projection (bool): False leaves out equation 8, as lucidrains' ViT does with one head of full width.

    Inputs and outputs: tokens (B, N, D).

    Raises:
        ValueError: dim is not divisible by num_heads and no head_dim is given, the heads without a projection do not
            make dim, or a probability is outside (0, 1].

    Example:
        >>> Attention(64, num_heads=4)(mindspore.ops.ones((1, 17, 64))).shape
        (1, 17, 64)
    """

    def __init__(self, dim: int, num_heads: int = 8, keep_prob: float = 1.0, attention_keep_prob: float = 1.0,
                 qkv_bias: bool = True, head_dim: int | None = None, out_projection: bool = True) -> None:
        super().__init__()
        check_positive(dim=dim, num_heads=num_heads)
        check_probability(keep_prob=keep_prob, attention_keep_prob=attention_keep_prob)
        if head_dim is None:
            if dim % num_heads:
                raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}; "
                                 "change one of them, or give head_dim")
            head_dim = dim // num_heads
        check_positive(head_dim=head_dim)
        self.dim, self.num_heads, self.head_dim = dim, num_heads, head_dim
        self.scale = self.head_dim**-0.5
        self.qkv = dense("qkv", dim, 3 * num_heads * self.head_dim, qkv_bias)
        self.split_qkv, self.merge_heads = SplitQKV(num_heads), kernel("merge_heads")(num_heads)
        self.softmax = kernel("softmax")()
        self.scores, self.average = ops.BatchMatMul(transpose_b=True), ops.BatchMatMul()
        self.attn_drop = kernel("dropout")(p=1.0 - attention_keep_prob)
        if not out_projection and num_heads * head_dim != dim:
            raise ValueError(f"out_projection=False needs heads that make dim {dim}; {num_heads} of head_dim "
                             f"{head_dim} make {num_heads * head_dim}")
        self.out = dense("out", num_heads * self.head_dim, dim) if out_projection else None
        self.out_drop = kernel("dropout")(p=1.0 - keep_prob)
        self.flash = None
        if kernels.flash_attention:
            if attention_keep_prob < 1:
                raise ValueError(f"attention_keep_prob is {attention_keep_prob}, and flash attention drops no weights; "
                                 "give 1.0, or leave flash_attention out")
            self.flash = FlashAttention(num_heads, head_dim)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """The attention weights (B, H, N, N) of queries and keys (B, H, N, Dh), whose rows sum to 1; eq. 6."""
        return self.softmax(self.scores(q * self.scale, k))

    def project(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) from what the heads found, (B, H, N, Dh); eq. 7 and 8."""
        x = self.merge_heads(x)  # (B, N, H * Dh)
        return x if self.out is None else self.out_drop(self.out(x))

    def construct(self, x: Tensor) -> Tensor:
        check_tokens(x.shape, self.dim)
        q, k, v = self.split_qkv(self.qkv(x))  # (B, H, N, Dh) each; eq. 5
        if self.flash is None:
            x = self.average(self.attn_drop(self.weights(q, k)), v)
        else:
            x = self.flash(q, k, v)
        return self.project(x)


class FeedForward(nn.Cell):
    """The MLP of a block: dense, activation, dropout, dense, dropout (ViT, section 3.1).

    Args:
        in_features (int): width of the input.
        hidden_features (int, optional): width of the hidden layer; in_features by default.
        out_features (int, optional): width of the output; in_features by default.
        activation (str or callable): "gelu" (the exact form: timm, torchvision, Hugging Face), "gelu_tanh" (the Vision
            suite), "quick_gelu" (CLIP) or "relu"; or what makes the cell: `nn.GELU` is the tanh form and
            `functools.partial(nn.GELU, approximate=False)` the exact form, each computed as is fast on the device.
        keep_prob (float): probability of keeping a value in training.

    Inputs: (..., in_features). Outputs: (..., out_features).

    Raises:
        ValueError: keep_prob is outside (0, 1].

    Example:
        >>> FeedForward(64, 256, activation="gelu")(mindspore.ops.ones((1, 17, 64))).shape
        (1, 17, 64)
    """

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 activation: Activation = nn.GELU, keep_prob: float = 1.0) -> None:
        super().__init__()
        hidden_features, out_features = hidden_features or in_features, out_features or in_features
        check_positive(in_features=in_features, hidden_features=hidden_features, out_features=out_features)
        check_probability(keep_prob=keep_prob)
        self.dense1 = dense("dense1", in_features, hidden_features)
        self.activation = make_activation(activation)
        self.dense2 = dense("dense2", hidden_features, out_features)
        self.dropout = kernel("dropout")(p=1.0 - keep_prob)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(self.activation(self.dense1(x)))  # (..., hidden_features)
        return self.dropout(self.dense2(x))  # (..., out_features)


class ResidualCell(nn.Cell):
    """cell(x) + x (He et al., 2016; ViT, equations 2 and 3).

    Args:
        cell (nn.Cell): a cell whose output has its input's shape.

    Example:
        >>> ResidualCell(mindspore.nn.ReLU())(mindspore.Tensor([-1.0, 2.0])).asnumpy().tolist()
        [-1.0, 4.0]
    """

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__()
        self.cell = cell

    def construct(self, x: Tensor) -> Tensor:
        return self.cell(x) + x


class PatchEmbedding(nn.Cell):
    """Cuts an image into patches and projects each to a token (ViT, equation 1).

    Args:
        image_size (int or (int, int)): image size in pixels, a number or (height, width).
        patch_size (int or (int, int)): patch size in pixels, a number or (height, width).
        embed_dim (int): width D of a token.
        input_channels (int): channels C of the image.
        norm (callable or str, optional): norms before and after the projection (Kumar et al., "Dual PatchNorm", 2023,
            section 3); see `TransformerEncoder`.
        dynamic_image_size (bool): images of any whole number of patches are taken.

    Inputs: images (B, C, height, width). Outputs: tokens (B, num_patches, D), row by row.

    Raises:
        ValueError: the image size is not divisible by the patch size; or, when called, images of another shape.

    Example:
        >>> PatchEmbedding(image_size=32, patch_size=8, embed_dim=64)(mindspore.ops.ones((2, 3, 32, 32))).shape
        (2, 16, 64)
    """

    MIN_NUM_PATCHES = 4  # the suite's limit; below it is a warning here

    def __init__(self, image_size: Size = 224, patch_size: Size = 16, embed_dim: int = 768, input_channels: int = 3,
                 norm: Norm = None, dynamic_image_size: bool = False) -> None:
        super().__init__()
        self.image_size, self.patch_size = pair(image_size, "image_size"), pair(patch_size, "patch_size")
        check_positive(embed_dim=embed_dim, input_channels=input_channels)
        for side, image, patch in zip(("height", "width"), self.image_size, self.patch_size):
            if image % patch:
                low = image // patch * patch
                advice = f"{low} or {low + patch}" if low else patch
                raise ValueError(f"image {side} {image} is not divisible by patch {side} {patch}; use {advice}")
        self.grid = self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]
        self.num_patches = self.grid[0] * self.grid[1]
        if self.num_patches < self.MIN_NUM_PATCHES:
            warnings.warn(f"images of {self.image_size} in patches of {self.patch_size} are {self.num_patches} "
                          f"patches, fewer than the {self.MIN_NUM_PATCHES} that the Vision suite asked for; attention "
                          "has little to relate", stacklevel=2)
        self.input_channels, self.dynamic_image_size = input_channels, dynamic_image_size
        fans = input_channels * self.patch_size[0] * self.patch_size[1], embed_dim
        self.conv = kernel("patch_product")(input_channels, embed_dim, self.patch_size, start("conv.weight", *fans),
                                 start("conv.bias", *fans))
        self.norm1 = None if norm is None else make_norm(norm, fans[0])
        self.norm2 = None if norm is None else make_norm(norm, embed_dim)

    def construct(self, x: Tensor) -> Tensor:
        if self.dynamic_image_size:
            check_whole_patches(x.shape, self.input_channels, self.patch_size)
        else:
            check_images(x.shape, self.input_channels, self.image_size[0], self.image_size[1])
        if self.norm1 is None or self.norm2 is None:
            return self.conv(x)
        x = self.norm1(patches(x, self.patch_size))  # (B, N, C * ph * pw)
        return self.norm2(self.conv.product(x))  # (B, N, D)
