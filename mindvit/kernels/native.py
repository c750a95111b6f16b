"""MindSpore's own operators, which Ascend and GPU have fast."""

import mindspore as ms
from mindspore import nn, ops


def patches(x, patch_size):
    """The patches (B, N, C * ph * pw) of images (B, C, H, W), row by row, each channel by channel."""
    b, c, h, w = x.shape
    ph, pw = patch_size
    x = x.reshape(b, c, h // ph, ph, w // pw, pw).transpose(0, 2, 4, 1, 3, 5)  # (B, H/ph, W/pw, C, ph, pw)
    return x.reshape(b, -1, c * ph * pw)


class SplitHeads(nn.Cell):
    """(B, N, heads * Dh) -> (B, heads, N, Dh)."""

    def __init__(self, num_heads):
        super().__init__()
        self.num_heads = num_heads

    def construct(self, x):
        b, n, _ = x.shape
        return x.reshape(b, n, self.num_heads, -1).transpose(0, 2, 1, 3)


class MergeHeads(nn.Cell):
    """(B, heads, N, Dh) -> (B, N, heads * Dh)."""

    def __init__(self, num_heads):
        super().__init__()
        self.num_heads = num_heads

    def construct(self, x):
        b, _, n, _ = x.shape
        return x.transpose(0, 2, 1, 3).reshape(b, n, -1)


class FlashAttention(nn.Cell):
    """softmax(Q K^T / sqrt(Dh)) V without the weights in memory (Dao et al., "FlashAttention", 2022), by Ascend's fused
    operator, whose heads are a multiple of 16 wide: others are filled up with zeros, which change no product.

    Inputs: Q, K and V, (B, H, N, Dh) each, float16 or bfloat16. Outputs: (B, H, N, Dh).
    """

    MULTIPLE, WIDEST = 16, 512

    def __init__(self, num_heads, head_dim):
        super().__init__()
        if head_dim > self.WIDEST:
            raise ValueError(f"flash attention takes heads up to {self.WIDEST} wide, not {head_dim}; leave "
                             "flash_attention out")
        self.num_heads, self.head_dim, self.scale = num_heads, head_dim, head_dim**-0.5
        self.filled = -head_dim % self.MULTIPLE

    def construct(self, q, k, v):
        if self.filled:
            b, h, n, _ = q.shape
            zeros = ops.zeros((b, h, n, self.filled), q.dtype)
            q, k, v = (ops.concat((x, zeros), 3) for x in (q, k, v))
        x = ops.flash_attention_score(q, k, v, self.num_heads, scalar_value=self.scale, input_layout="BNSD")
        return x[..., :self.head_dim] if self.filled else x


class PatchProduct(nn.Conv2d):
    """A convolution whose stride is its kernel, that is, one product per patch (ViT paper, equation 1).

    Args:
        input_channels (int): channels of the image.
        embed_dim (int): width D of a token.
        patch_size (tuple[int, int]): height and width of a patch in pixels.
        weight_init, bias_init: see `nn.Conv2d`.

    Inputs: images (B, C, H, W). Outputs: tokens (B, H/ph * W/pw, D), row by row.
    """

    def __init__(self, input_channels, embed_dim, patch_size, weight_init, bias_init):
        super().__init__(input_channels, embed_dim, patch_size, patch_size, pad_mode="valid", has_bias=True,
                         weight_init=weight_init, bias_init=bias_init)
        self.matmul, self.add_bias = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x):
        b, x = x.shape[0], super().construct(x)  # (B, D, H/ph, W/pw)
        return x.reshape(b, self.out_channels, -1).transpose(0, 2, 1)  # (B, N, D)

    def product(self, x):
        """Tokens (B, N, D) of patches (B, N, C * ph * pw)."""
        weight = self.weight.astype(x.dtype).reshape(self.out_channels, -1)  # outside this cell O2 does not cast it
        rows = self.matmul(x.reshape(-1, x.shape[2]), weight)
        return self.add_bias(rows, self.bias.astype(rows.dtype)).reshape(x.shape[0], -1, self.out_channels)

    def extend_repr(self):
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"


def sum_of_squares(x):
    """The sum of x * x, a scalar."""
    x = x.astype(ms.float32)
    return (x * x).sum()
