"""The Vision Transformer as cells, with the names and arguments of the MindSpore Vision suite.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021 (arXiv 2010.11929), cited below as "ViT".
Shapes: B images, N tokens, D embedding width, H heads, Dh width of one head.
"""

import difflib
import functools
import inspect
import warnings

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from mindvit.kernels import (
    GELU,
    Dense,
    LayerNorm,
    MergeHeads,
    PatchProduct,
    QuickGELU,
    SplitHeads,
    fast,
    patches,
    softmax,
    tanh,
)
from mindvit.models.init import DEFAULT, SCHEMES, initialise, start
from mindvit.models.positions import bicubic_matrix, sincos2d
from mindvit.preprocessing import SUITE

POOLS = ("cls", "mean", "mean_all")
POSITION_EMBEDDINGS = ("learned", "sincos2d", "none")
ACTIVATIONS = {"gelu": functools.partial(GELU, approximate=False), "gelu_tanh": GELU, "quick_gelu": QuickGELU,
               "relu": nn.ReLU}
NORMS = {"layer_norm": nn.LayerNorm, "none": lambda shape: nn.Identity()}


def dense(name, in_features, out_features, has_bias=True):
    """The dense layer that a cell keeps under this name, which decides how it starts."""
    fans = in_features, out_features
    return Dense(*fans, start(f"{name}.weight", *fans), start(f"{name}.bias", *fans), has_bias)


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


def make_activation(activation):
    """The activation cell of a name in ACTIVATIONS, or of a callable that makes one."""
    return fast(named("activation", ACTIVATIONS, activation))()


def activation_name(cell):
    """The name in ACTIVATIONS of an activation cell, None for one that has none there."""
    if type(cell) in (GELU, nn.GELU):
        return "gelu" if cell.approximate in (False, "none") else "gelu_tanh"
    return {QuickGELU: "quick_gelu", nn.ReLU: "relu"}.get(type(cell))


def named(name, table, value):
    """What the table has under the name, or the value itself where it is no name."""
    if not isinstance(value, str):
        return value
    if value not in table:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, table))}, or give a callable that "
                         "makes the cell")
    return table[value]


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
def resize_matrix(old, new):
    """The bicubic resize of a grid of patches as a constant Tensor (new patches, old patches)."""
    return Tensor(np.kron(*(bicubic_matrix(*sides) for sides in zip(old, new))).astype(np.float32))


@ms.ops.constexpr(check=False)
def fixed_positions(grid, dim):
    """The fixed position embedding of a grid of patches as a constant Tensor (1, patches, D)."""
    return Tensor(sincos2d(grid, dim)[None].astype(np.float32))


def make_norm(norm, width):
    """The norm cell over the last axis: of a name in NORMS, of a callable that makes one, or none at all."""
    return fast(named("norm", NORMS, "none" if norm is None else norm))((width,))


def norm_name(cell):
    """The name in NORMS of a norm cell, None for one that has none there."""
    return {LayerNorm: "layer_norm", nn.LayerNorm: "layer_norm", nn.Identity: "none"}.get(type(cell))


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

    def __init__(self, keep_prob=1.0):
        super().__init__()
        check_probability(keep_prob=keep_prob)
        self.dropout = nn.Dropout(p=1.0 - keep_prob)

    def construct(self, x):
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

    def __init__(self, dim, num_heads=8, keep_prob=1.0, attention_keep_prob=1.0, qkv_bias=True, head_dim=None,
                 out_projection=True):
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
        self.split_heads, self.merge_heads = SplitHeads(3 * num_heads), MergeHeads(num_heads)
        self.thirds, self.softmax = ops.Split(1, 3), softmax()
        self.scores, self.average = ops.BatchMatMul(transpose_b=True), ops.BatchMatMul()
        self.attn_drop = nn.Dropout(p=1.0 - attention_keep_prob)
        if not out_projection and num_heads * head_dim != dim:
            raise ValueError(f"out_projection=False needs heads that make dim {dim}; {num_heads} of head_dim "
                             f"{head_dim} make {num_heads * head_dim}")
        self.out = dense("out", num_heads * self.head_dim, dim) if out_projection else None
        self.out_drop = nn.Dropout(p=1.0 - keep_prob)

    def construct(self, x):
        check_tokens(x.shape, self.dim)
        q, k, v = self.thirds(self.split_heads(self.qkv(x)))  # (B, H, N, Dh) each
        weights = self.softmax(self.scores(q * self.scale, k))  # (B, H, N, N); eq. 6
        x = self.merge_heads(self.average(self.attn_drop(weights), v))  # (B, N, H * Dh); eq. 7
        return x if self.out is None else self.out_drop(self.out(x))  # (B, N, D); eq. 8


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

    def __init__(self, in_features, hidden_features=None, out_features=None, activation=nn.GELU, keep_prob=1.0):
        super().__init__()
        hidden_features, out_features = hidden_features or in_features, out_features or in_features
        check_positive(in_features=in_features, hidden_features=hidden_features, out_features=out_features)
        check_probability(keep_prob=keep_prob)
        self.dense1 = dense("dense1", in_features, hidden_features)
        self.activation = make_activation(activation)
        self.dense2 = dense("dense2", hidden_features, out_features)
        self.dropout = nn.Dropout(p=1.0 - keep_prob)

    def construct(self, x):
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

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def construct(self, x):
        return self.cell(x) + x


class TransformerEncoder(nn.Cell):
    """Blocks of norm-first attention and MLP, each with a residual connection (ViT, equations 2 and 3).

    Args:
        dim (int): width D of a token.
        num_layers (int): number of blocks.
        num_heads (int): heads in each attention.
        mlp_dim (int): width of the hidden layer of each MLP.
        keep_prob, attention_keep_prob (float): see `Attention` and `FeedForward`.
        drop_path_keep_prob (float): keep probability of the last block's branches; it falls linearly with depth from
            1 in the first block (Huang et al., 2016, section 3).
        activation (str or callable): see `FeedForward`.
        norm (callable or str, optional): makes a norm cell from a shape tuple, "layer_norm", or None or "none" for no
            norm; `nn.LayerNorm` is computed as is fast on the device.
        qkv_bias (bool), head_dim (int, optional), out_projection (bool): see `Attention`.

    Inputs and outputs: tokens (B, N, D).

    Raises:
        ValueError: a size is below 1, dim does not divide by num_heads, or a probability is outside (0, 1].

    Example:
        >>> TransformerEncoder(64, num_layers=2, num_heads=4, mlp_dim=256)(mindspore.ops.ones((1, 17, 64))).shape
        (1, 17, 64)
    """

    def __init__(self, dim, num_layers, num_heads, mlp_dim, keep_prob=1.0, attention_keep_prob=1.0,
                 drop_path_keep_prob=1.0, activation=nn.GELU, norm=nn.LayerNorm, qkv_bias=True, head_dim=None,
                 out_projection=True):
        super().__init__()
        check_positive(dim=dim, num_layers=num_layers, num_heads=num_heads, mlp_dim=mlp_dim)
        check_probability(drop_path_keep_prob=drop_path_keep_prob)
        layers = []
        for i in range(num_layers):
            path_keep_prob = 1 - (1 - drop_path_keep_prob) * i / max(num_layers - 1, 1)
            attention = Attention(dim, num_heads, keep_prob, attention_keep_prob, qkv_bias, head_dim, out_projection)
            mlp = FeedForward(dim, mlp_dim, dim, activation, keep_prob)
            drop_path = [DropPath(path_keep_prob)] if path_keep_prob < 1 else []
            layers.append(nn.SequentialCell([
                ResidualCell(nn.SequentialCell([make_norm(norm, dim), branch, *drop_path]))
                for branch in (attention, mlp)]))
        self.layers = nn.SequentialCell(layers)

    def construct(self, x):
        return self.layers(x)


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

    def __init__(self, image_size=224, patch_size=16, embed_dim=768, input_channels=3, norm=None,
                 dynamic_image_size=False):
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
        self.conv = PatchProduct(input_channels, embed_dim, self.patch_size, start("conv.weight", *fans),
                                 start("conv.bias", *fans))
        self.norm1 = None if norm is None else make_norm(norm, fans[0])
        self.norm2 = None if norm is None else make_norm(norm, embed_dim)

    def construct(self, x):
        if self.dynamic_image_size:
            check_whole_patches(x.shape, self.input_channels, self.patch_size)
        else:
            check_images(x.shape, self.input_channels, self.image_size[0], self.image_size[1])
        if self.norm1 is None:
            return self.conv(x)
        x = self.norm1(patches(x, self.patch_size))  # (B, N, C * ph * pw)
        return self.norm2(self.conv.product(x))  # (B, N, D)


class ViT(nn.Cell):
    """Vision Transformer for image classification (ViT, section 3.1, figure 1).

    Args:
        image_size (int or (int, int)): image size in pixels, a number or (height, width).
        input_channels (int): channels of the image.
        patch_size (int or (int, int)): patch size in pixels, a number or (height, width).
        embed_dim (int): width D of a token.
        num_layers (int): number of blocks.
        num_heads (int): heads in each attention.
        mlp_dim (int): width of the hidden layer of each MLP.
        keep_prob (float): probability of keeping a value in the dropouts of embedding, attention output, MLP and head.
        attention_keep_prob (float): probability of keeping an attention weight.
        drop_path_keep_prob (float): keep probability of the last block's branches, falling linearly from 1.
        activation (str or callable): the activation of the MLPs; see `FeedForward`.
        norm (callable or str, optional): makes a norm cell from a shape tuple; see `TransformerEncoder`.
        pool (str): "cls" reads the class token, "mean" averages the patch tokens, "mean_all" the class token too (as
            lucidrains' ViT did).
        num_classes (int): width of the head; 0 gives the pooled features (B, D).
        qkv_bias (bool): whether query, key and value have a bias.
        head_dim (int, optional): width of one attention head; embed_dim / num_heads by default.
        embed_keep_prob (float, optional): keep probability of the embedding's dropout; keep_prob by default.
        representation_size (int, optional): width of a dense layer with tanh before the head (ViT, section 3.1; the
            suite's `has_logits`).
        class_token (bool): whether a class token goes with the patches; pool="cls" needs it.
        distilled (bool): a distillation token with a head of its own (Touvron et al., DeiT, 2021, section 4).
        distillation_head (bool): False leaves a distilled network with the class head alone, as Hugging Face's
            `DeiTForImageClassification` is; then training too gives one output.
        pos_embedding (str): "learned", "sincos2d" (fixed) or "none".
        norm_eps (float, optional): epsilon of the norms; by default the norm's own (1e-7 for `nn.LayerNorm`, which the
            suite's checkpoints assume; timm and torchvision use 1e-6, Hugging Face 1e-12).
        norm_after_pool (bool): the last norm stands after the pooling instead of before (timm's `fc_norm`).
        patch_norm (bool): norms before and after the patch projection; see `PatchEmbedding`.
        out_projection (bool): see `Attention`.
        dynamic_image_size (bool): images of any whole number of patches are taken, for which the position embedding is
            resized, bicubic with antialias, or computed anew when it is fixed; each size compiles a graph of its own.
        init (str): how the parameters start: "flax" (the paper's code), "timm" or "deit"; see `mindvit.models.init`.

    Inputs: images (B, C, height, width). Outputs: logits (B, num_classes). A distilled network in training gives the
    pair (class logits, distillation logits), in evaluation their mean.

    Attributes:
        arguments (dict): the arguments that shape the output in evaluation, by name, as plain numbers and words, from
            which `ViT(**arguments)` builds the network again; None for an activation or norm that has no word.
        preprocessing (Preprocessing): how the images of evaluation and prediction are prepared.
        class_names (list of str, optional): names of the classes, where they are known.

    Raises:
        ValueError: sizes that do not divide, an unknown pool, pos_embedding or init, a probability outside (0, 1],
            contradicting arguments; or, when called, images of another shape.

    Example:
        >>> network = ViT(image_size=32, patch_size=8, embed_dim=64, num_layers=2, num_heads=4, mlp_dim=128)
        >>> network.set_train(False)(mindspore.ops.ones((2, 3, 32, 32))).shape
        (2, 1000)
    """

    def __init__(self, image_size=224, input_channels=3, patch_size=16, embed_dim=768, num_layers=12, num_heads=12,
                 mlp_dim=3072, keep_prob=1.0, attention_keep_prob=1.0, drop_path_keep_prob=1.0, activation=nn.GELU,
                 norm=nn.LayerNorm, pool="cls", num_classes=1000, *, qkv_bias=True, head_dim=None, embed_keep_prob=None,
                 representation_size=None, class_token=True, distilled=False, distillation_head=True,
                 pos_embedding="learned", norm_eps=None, norm_after_pool=False, patch_norm=False, out_projection=True,
                 dynamic_image_size=False, init=DEFAULT):
        super().__init__()
        embed_keep_prob = keep_prob if embed_keep_prob is None else embed_keep_prob
        check_probability(keep_prob=keep_prob, embed_keep_prob=embed_keep_prob)
        for name, value, allowed in (("pool", pool, POOLS), ("pos_embedding", pos_embedding, POSITION_EMBEDDINGS),
                                     ("init", init, list(SCHEMES))):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}")
        if not class_token and (pool == "cls" or distilled):
            raise ValueError("class_token=False needs pool='mean' and distilled=False")
        if distilled and (pool != "cls" or representation_size and distillation_head):
            raise ValueError("distilled=True needs pool='cls' and, with its distillation_head, no representation_size")
        if norm_after_pool and pool == "cls":
            raise ValueError("norm_after_pool=True needs pool='mean'; with the class token it changes nothing")
        if num_classes:
            check_positive(num_classes=num_classes)
        if norm_eps is not None:
            if not isinstance(norm_eps, (int, float)) or not norm_eps > 0:
                raise ValueError(f"norm_eps is {str(norm_eps)[:40]!r}; give a number above 0, for example 1e-6")
            if norm in (None, "none"):
                raise ValueError(f"norm_eps is {norm_eps}, but there is no norm; leave it out")
            norm = functools.partial(named("norm", NORMS, norm), epsilon=norm_eps)

        self.preprocessing, self.class_names = SUITE, None
        self.patch_embedding = PatchEmbedding(image_size, patch_size, embed_dim, input_channels,
                                              norm if patch_norm else None, dynamic_image_size)
        self.num_prefix_tokens = int(class_token) + int(distilled)
        self.pool, self.norm_after_pool = pool, norm_after_pool
        self.first_pooled = 0 if pool == "mean_all" else self.num_prefix_tokens
        self.num_classes = num_classes
        self.cls_token = Parameter(initializer(start("cls"), (1, 1, embed_dim)), "cls") if class_token else None
        self.dist_token = Parameter(initializer(start("dist"), (1, 1, embed_dim)), "dist") if distilled else None
        self.pos_embedding_kind = pos_embedding
        self.pos_embedding = self.position_parameter(pos_embedding, embed_dim)
        self.pos_dropout = nn.Dropout(p=1.0 - embed_keep_prob)
        self.transformer = TransformerEncoder(embed_dim, num_layers, num_heads, mlp_dim, keep_prob, attention_keep_prob,
                                              drop_path_keep_prob, activation, norm, qkv_bias, head_dim,
                                              out_projection)
        self.norm = make_norm(norm, embed_dim)
        self.representation = None
        if representation_size:
            check_positive(representation_size=representation_size)
            self.representation = dense("representation", embed_dim, representation_size)
        self.dropout = nn.Dropout(p=1.0 - keep_prob)
        features = representation_size or embed_dim
        self.dense = dense("dense", features, num_classes) if num_classes else None
        self.distillation_head = distilled and distillation_head
        self.dense_dist = dense("dense_dist", features, num_classes) if num_classes and self.distillation_head else None
        if init != DEFAULT:
            initialise(self, init)

        block = self.transformer.layers[0]
        self.arguments = {
            "image_size": self.patch_embedding.image_size, "input_channels": input_channels,
            "patch_size": self.patch_embedding.patch_size, "embed_dim": embed_dim, "num_layers": num_layers,
            "num_heads": num_heads, "head_dim": block[0].cell[1].head_dim, "mlp_dim": mlp_dim,
            "activation": activation_name(block[1].cell[1].activation),
            "norm": norm_name(self.norm), "norm_eps": getattr(self.norm, "epsilon", None), "pool": pool,
            "norm_after_pool": norm_after_pool, "num_classes": num_classes, "qkv_bias": qkv_bias,
            "representation_size": representation_size, "class_token": class_token, "distilled": distilled,
            "distillation_head": distillation_head, "pos_embedding": pos_embedding, "patch_norm": patch_norm,
            "out_projection": out_projection, "dynamic_image_size": dynamic_image_size}

    @classmethod
    def backbone(cls, *arguments, **options):
        """The Vision suite's `ViT`, which is a backbone: the same arguments in the same order, pooled features (B, D).

        Under pool="mean" it has no class token there.

        Example:
            >>> ViT.backbone(image_size=32, patch_size=8, num_layers=1)(mindspore.ops.ones((2, 3, 32, 32))).shape
            (2, 768)
        """
        given = inspect.signature(cls).bind(*arguments, **options).arguments
        return cls(**{"num_classes": 0, "class_token": given.get("pool", "cls") == "cls", **given})

    def position_parameter(self, kind, embed_dim):
        """The position embedding (1, prefix + patches, D), or None."""
        shape = (1, self.num_prefix_tokens + self.patch_embedding.num_patches, embed_dim)
        if kind == "learned":
            return Parameter(initializer(start("pos_embedding"), shape), "pos_embedding")
        if kind == "sincos2d":
            values = np.zeros(shape, np.float32)  # the prefix tokens have no place
            values[0, self.num_prefix_tokens:] = sincos2d(self.patch_embedding.grid, embed_dim)
            return Parameter(Tensor(values), "pos_embedding", requires_grad=False)
        return None

    def embed(self, x):
        """Tokens (B, prefix + patches, D) that enter the encoder, from images (B, C, height, width); ViT, eq. 1."""
        shape, x = x.shape, self.patch_embedding(x)  # (B, patches, D)
        # Under O2 the patch tokens are float16 and these parameters, used outside a cell of theirs, are not: cast.
        prefix = ()
        if self.cls_token is not None:
            prefix += (ops.tile(self.cls_token.astype(x.dtype), (x.shape[0], 1, 1)),)
        if self.dist_token is not None:
            prefix += (ops.tile(self.dist_token.astype(x.dtype), (x.shape[0], 1, 1)),)
        if prefix:
            x = ops.concat(prefix + (x,), 1)  # (B, prefix + patches, D)
        positions = self.positions(shape)
        if positions is not None:
            x = x + ops.tile(positions.astype(x.dtype), (x.shape[0], 1, 1))
        return self.pos_dropout(x)

    def positions(self, shape):
        """The position embedding (1, prefix + patches, D) for images of that shape, or None."""
        if self.pos_embedding is None or shape[2:] == self.patch_embedding.image_size:
            return self.pos_embedding
        grid = shape[2] // self.patch_embedding.patch_size[0], shape[3] // self.patch_embedding.patch_size[1]
        if self.pos_embedding_kind == "sincos2d":
            patches = fixed_positions(grid, self.pos_embedding.shape[2])
        else:
            matrix = resize_matrix(self.patch_embedding.grid, grid)
            patches = ops.matmul(matrix, self.pos_embedding[:, self.num_prefix_tokens:])
        return ops.concat((self.pos_embedding[:, :self.num_prefix_tokens], patches), 1)

    def forward_features(self, x):
        """Tokens (B, prefix + patches, D) after the encoder and, unless it stands after the pooling, the norm.

        The same as in timm today. Its first releases, and code derived from them, gave the pooled vector here: that is
        the output of a network with num_classes=0.
        """
        x = self.transformer(self.embed(x))
        return x if self.norm_after_pool else self.norm(x)

    def forward_head(self, x):
        """Logits (B, num_classes), or pooled features without a head, from the tokens of `forward_features`."""
        if self.distillation_head:
            return self.distilled_head(x)
        x = x[:, 0] if self.pool == "cls" else ops.mean(x[:, self.first_pooled:], 1)  # (B, D)
        if self.norm_after_pool:
            x = self.norm(x)
        if self.representation is not None:
            x = tanh(self.representation(x))  # (B, representation_size)
        x = self.dropout(x)
        return x if self.dense is None else self.dense(x)

    def distilled_head(self, x):
        """DeiT, section 4: a head on each of the two tokens, averaged in evaluation."""
        x, x_dist = self.dropout(x[:, 0]), self.dropout(x[:, 1])  # (B, D) each
        if self.dense is not None:
            x, x_dist = self.dense(x), self.dense_dist(x_dist)
        return (x, x_dist) if self.training else (x + x_dist) / 2

    def construct(self, x):
        return self.forward_head(self.forward_features(x))


def check_arguments(names):
    """ValueError unless `ViT` has an argument of each of these names; the message has the nearest."""
    known = list(inspect.signature(ViT).parameters)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise ValueError(f"ViT has no argument {name!r}; "
                             + (f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"))
