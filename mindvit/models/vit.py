"""The Vision Transformer, with the names and arguments of the MindSpore Vision suite.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021 (arXiv 2010.11929), cited below as "ViT".
Shapes: B images, N tokens, D embedding width, H heads, Dh width of one head.
"""

import functools
import inspect
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from mindvit.choices import nearest
from mindvit.kernels import kernel, repeat, tanh
from mindvit.models.init import DEFAULT, SCHEMES, initialise, start
from mindvit.models.layers import (
    NORMS,
    Activation,
    Attention,
    DropPath,
    FeedForward,
    Norm,
    PatchEmbedding,
    ResidualCell,
    activation_name,
    check_positive,
    check_probability,
    dense,
    make_norm,
    named,
    norm_name,
)
from mindvit.models.positions import bicubic_matrix, sincos2d
from mindvit.preprocessing import SUITE, Preprocessing, Size

POOLS = ("cls", "mean", "mean_all")
TOKENS = ("cls", "dist", "pos_embedding")  # parameters of more than one axis that weight decay spares
POSITION_EMBEDDINGS = ("learned", "sincos2d", "none")


@ms.ops.constexpr(check=False)
def resize_matrix(old, new):
    """The bicubic resize of a grid of patches as a constant Tensor (new patches, old patches)."""
    return Tensor(np.kron(*(bicubic_matrix(*sides) for sides in zip(old, new))).astype(np.float32))


@ms.ops.constexpr(check=False)
def fixed_positions(grid, dim):
    """The fixed position embedding of a grid of patches as a constant Tensor (1, patches, D)."""
    return Tensor(sincos2d(grid, dim)[None].astype(np.float32))


class Block(nn.SequentialCell):
    """x + attention(norm1(x)), to which mlp(norm2(x)) of it is added (ViT, equations 2 and 3).

    Its cells stand as in MindSpore's tutorial, from which the parameters have their names.

    Args:
        norm1, attention, norm2, mlp (nn.Cell): cells whose output has their input's shape.
        path_keep_prob (float): see `DropPath`.

    Inputs and outputs: tokens (B, N, D).

    Example:
        >>> norm1, norm2 = mindspore.nn.LayerNorm((64,)), mindspore.nn.LayerNorm((64,))
        >>> Block(norm1, Attention(64, 4), norm2, FeedForward(64, 256))(mindspore.ops.ones((1, 17, 64))).shape
        (1, 17, 64)
    """

    def __init__(self, norm1: nn.Cell, attention: nn.Cell, norm2: nn.Cell, mlp: nn.Cell,
                 path_keep_prob: float = 1.0) -> None:
        super().__init__([ResidualCell(nn.SequentialCell([norm1, attention])),
                          ResidualCell(nn.SequentialCell([norm2, mlp]))])
        self.drop_path = DropPath(path_keep_prob) if path_keep_prob < 1 else nn.Identity()

    @property
    def norm1(self) -> nn.Cell:
        return self[0].cell[0]

    @property
    def attention(self) -> nn.Cell:
        return self[0].cell[1]

    @property
    def norm2(self) -> nn.Cell:
        return self[1].cell[0]

    @property
    def mlp(self) -> nn.Cell:
        return self[1].cell[1]

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


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

    def __init__(self, dim: int, num_layers: int, num_heads: int, mlp_dim: int, keep_prob: float = 1.0,
                 attention_keep_prob: float = 1.0, drop_path_keep_prob: float = 1.0, activation: Activation = nn.GELU,
                 norm: Norm = nn.LayerNorm, qkv_bias: bool = True, head_dim: int | None = None,
                 out_projection: bool = True) -> None:
        super().__init__()
        check_positive(dim=dim, num_layers=num_layers, num_heads=num_heads, mlp_dim=mlp_dim)
        check_probability(drop_path_keep_prob=drop_path_keep_prob)
        layers = []
        for i in range(num_layers):
            attention = Attention(dim, num_heads, keep_prob, attention_keep_prob, qkv_bias, head_dim, out_projection)
            mlp = FeedForward(dim, mlp_dim, dim, activation, keep_prob)
            path_keep_prob = 1 - (1 - drop_path_keep_prob) * i / max(num_layers - 1, 1)
            layers.append(Block(make_norm(norm, dim), attention, make_norm(norm, dim), mlp, path_keep_prob))
        self.layers = nn.SequentialCell(layers)

    def construct(self, x: Tensor) -> Tensor:
        return self.layers(x)


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

    def __init__(self, image_size: Size = 224, input_channels: int = 3, patch_size: Size = 16, embed_dim: int = 768,
                 num_layers: int = 12, num_heads: int = 12, mlp_dim: int = 3072, keep_prob: float = 1.0,
                 attention_keep_prob: float = 1.0, drop_path_keep_prob: float = 1.0, activation: Activation = nn.GELU,
                 norm: Norm = nn.LayerNorm, pool: str = "cls", num_classes: int = 1000, *, qkv_bias: bool = True,
                 head_dim: int | None = None, embed_keep_prob: float | None = None,
                 representation_size: int | None = None, class_token: bool = True, distilled: bool = False,
                 distillation_head: bool = True, pos_embedding: str = "learned", norm_eps: float | None = None,
                 norm_after_pool: bool = False, patch_norm: bool = False, out_projection: bool = True,
                 dynamic_image_size: bool = False, init: str = DEFAULT) -> None:
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

        self.preprocessing: Preprocessing = SUITE
        self.class_names: list[str] | None = None
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
        self.pos_dropout = kernel("dropout")(p=1.0 - embed_keep_prob)
        self.transformer = TransformerEncoder(embed_dim, num_layers, num_heads, mlp_dim, keep_prob, attention_keep_prob,
                                              drop_path_keep_prob, activation, norm, qkv_bias, head_dim,
                                              out_projection)
        self.norm = make_norm(norm, embed_dim)
        self.representation = None
        if representation_size:
            check_positive(representation_size=representation_size)
            self.representation = dense("representation", embed_dim, representation_size)
        self.dropout = kernel("dropout")(p=1.0 - keep_prob)
        features = representation_size or embed_dim
        self.dense = dense("dense", features, num_classes) if num_classes else None
        self.distillation_head = distilled and distillation_head
        self.dense_dist = dense("dense_dist", features, num_classes) if num_classes and self.distillation_head else None
        if init != DEFAULT:
            initialise(self, init)

        block = self.transformer.layers[0]
        self.arguments: dict[str, Any] = {
            "image_size": self.patch_embedding.image_size, "input_channels": input_channels,
            "patch_size": self.patch_embedding.patch_size, "embed_dim": embed_dim, "num_layers": num_layers,
            "num_heads": num_heads, "head_dim": block.attention.head_dim, "mlp_dim": mlp_dim,
            "activation": activation_name(block.mlp.activation),
            "norm": norm_name(self.norm), "norm_eps": getattr(self.norm, "epsilon", None), "pool": pool,
            "norm_after_pool": norm_after_pool, "num_classes": num_classes, "qkv_bias": qkv_bias,
            "representation_size": representation_size, "class_token": class_token, "distilled": distilled,
            "distillation_head": distillation_head, "pos_embedding": pos_embedding, "patch_norm": patch_norm,
            "out_projection": out_projection, "dynamic_image_size": dynamic_image_size}

    @classmethod
    def backbone(cls, *arguments: Any, **options: Any) -> "ViT":
        """The Vision suite's `ViT`, which is a backbone: the same arguments in the same order, pooled features (B, D).

        Under pool="mean" it has no class token there.

        Example:
            >>> ViT.backbone(image_size=32, patch_size=8, num_layers=1)(mindspore.ops.ones((2, 3, 32, 32))).shape
            (2, 768)
        """
        given = inspect.signature(cls).bind(*arguments, **options).arguments
        return cls(**{"num_classes": 0, "class_token": given.get("pool", "cls") == "cls", **given})

    def position_parameter(self, kind: str, embed_dim: int) -> Parameter | None:
        """The position embedding (1, prefix + patches, D), or None."""
        shape = (1, self.num_prefix_tokens + self.patch_embedding.num_patches, embed_dim)
        if kind == "learned":
            return Parameter(initializer(start("pos_embedding"), shape), "pos_embedding")
        if kind == "sincos2d":
            values = np.zeros(shape, np.float32)  # the prefix tokens have no place
            values[0, self.num_prefix_tokens:] = sincos2d(self.patch_embedding.grid, embed_dim)
            return Parameter(Tensor(values), "pos_embedding", requires_grad=False)
        return None

    def embed(self, x: Tensor) -> Tensor:
        """Tokens (B, prefix + patches, D) that enter the encoder, from images (B, C, height, width); ViT, eq. 1."""
        shape, x = x.shape, self.patch_embedding(x)  # (B, patches, D)
        # Under O2 the patch tokens are float16 and these parameters, used outside a cell of theirs, are not: cast.
        prefix: tuple[Tensor, ...] = ()
        if self.cls_token is not None:
            prefix += (repeat(self.cls_token.astype(x.dtype), x.shape[0]),)
        if self.dist_token is not None:
            prefix += (repeat(self.dist_token.astype(x.dtype), x.shape[0]),)
        if prefix:
            x = ops.concat(prefix + (x,), 1)  # (B, prefix + patches, D)
        positions = self.positions(shape)
        if positions is not None:
            x = x + repeat(positions.astype(x.dtype), x.shape[0])
        return self.pos_dropout(x)

    def positions(self, shape: tuple[int, ...]) -> Tensor | None:
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

    def forward_features(self, x: Tensor) -> Tensor:
        """Tokens (B, prefix + patches, D) after the encoder and, unless it stands after the pooling, the norm.

        The same as in timm today. Its first releases, and code derived from them, gave the pooled vector here: that is
        the output of a network with num_classes=0.
        """
        x = self.transformer(self.embed(x))
        return x if self.norm_after_pool else self.norm(x)

    def forward_head(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
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

    def distilled_head(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """DeiT, section 4: a head on each of the two tokens, averaged in evaluation."""
        x, x_dist = self.dropout(x[:, 0]), self.dropout(x[:, 1])  # (B, D) each
        if self.dense is not None and self.dense_dist is not None:
            x, x_dist = self.dense(x), self.dense_dist(x_dist)
        return (x, x_dist) if self.training else (x + x_dist) / 2

    def construct(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.forward_head(self.forward_features(x))

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay spares: biases, norms, tokens and the position embedding."""
        return {parameter.name for parameter in self.get_parameters()
                if parameter.ndim < 2 or parameter.name in TOKENS}


def check_arguments(names):
    """ValueError unless `ViT` has an argument of each of these names; the message has the nearest."""
    known = inspect.signature(ViT).parameters
    for name in names:
        if name not in known:
            raise ValueError(f"ViT has no argument {name!r}; {nearest(name, known)}")
