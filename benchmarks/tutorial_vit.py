"""The baseline: the Vision Transformer of MindSpore's tutorial, written plainly from its published description.

Nothing here is tuned: a convolution makes the patches, five-dimensional tensors hold the heads, and norm, activation
and the dropouts (which keep everything by default) are MindSpore's own cells. The parameters have mindvit's names and
shapes, so the same checkpoint fits both.
"""

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer


class Attention(nn.Cell):
    """Multi-head self-attention on tokens (B, N, D)."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Dense(dim, 3 * dim)
        self.attn_drop = nn.Dropout(p=0.0)
        self.out = nn.Dense(dim, dim)
        self.out_drop = nn.Dropout(p=0.0)

    def construct(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads)
        q, k, v = ops.unstack(qkv.transpose(2, 0, 3, 1, 4), 0)  # (B, H, N, Dh) each
        weights = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) * self.scale, -1)  # (B, H, N, N)
        x = ops.matmul(self.attn_drop(weights), v).transpose(0, 2, 1, 3).reshape(b, n, d)
        return self.out_drop(self.out(x))


class FeedForward(nn.Cell):
    """Dense, GELU, dense on tokens (B, N, D)."""

    def __init__(self, dim, mlp_dim):
        super().__init__()
        self.dense1 = nn.Dense(dim, mlp_dim)
        self.activation = nn.GELU()
        self.dense2 = nn.Dense(mlp_dim, dim)
        self.dropout = nn.Dropout(p=0.0)

    def construct(self, x):
        x = self.dropout(self.activation(self.dense1(x)))
        return self.dropout(self.dense2(x))


class ResidualCell(nn.Cell):
    """cell(x) + x."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def construct(self, x):
        return self.cell(x) + x


class TransformerEncoder(nn.Cell):
    """Blocks of attention and MLP, the norm before each."""

    def __init__(self, dim, num_layers, num_heads, mlp_dim):
        super().__init__()
        self.layers = nn.SequentialCell([
            nn.SequentialCell([
                ResidualCell(nn.SequentialCell([nn.LayerNorm((dim,)), Attention(dim, num_heads)])),
                ResidualCell(nn.SequentialCell([nn.LayerNorm((dim,)), FeedForward(dim, mlp_dim)])),
            ]) for _ in range(num_layers)])

    def construct(self, x):
        return self.layers(x)


class PatchEmbedding(nn.Cell):
    """Tokens (B, N, D) from images (B, 3, S, S)."""

    def __init__(self, patch_size, dim):
        super().__init__()
        self.conv = nn.Conv2d(3, dim, patch_size, patch_size, has_bias=True)

    def construct(self, x):
        x = self.conv(x)  # (B, D, S/p, S/p)
        b, d, h, w = x.shape
        return x.reshape(b, d, h * w).transpose(0, 2, 1)


class ViT(nn.Cell):
    """Logits (B, num_classes) from images (B, 3, image_size, image_size); the arguments are those of `mindvit.ViT`."""

    def __init__(self, image_size=224, patch_size=16, embed_dim=768, num_layers=12, num_heads=12, mlp_dim=3072,
                 num_classes=1000):
        super().__init__()
        tokens = (image_size // patch_size) ** 2 + 1
        self.patch_embedding = PatchEmbedding(patch_size, embed_dim)
        self.cls_token = Parameter(initializer(Normal(), (1, 1, embed_dim)), "cls")
        self.pos_embedding = Parameter(initializer(Normal(), (1, tokens, embed_dim)), "pos_embedding")
        self.transformer = TransformerEncoder(embed_dim, num_layers, num_heads, mlp_dim)
        self.pos_dropout = nn.Dropout(p=0.0)
        self.norm = nn.LayerNorm((embed_dim,))
        self.dropout = nn.Dropout(p=0.0)
        self.dense = nn.Dense(embed_dim, num_classes)

    def construct(self, x):
        x = self.patch_embedding(x)
        x = ops.concat((ops.tile(self.cls_token, (x.shape[0], 1, 1)), x), 1) + self.pos_embedding
        x = self.norm(self.transformer(self.pos_dropout(x)))
        return self.dense(self.dropout(x[:, 0]))
