"""The operations that need another form on the CPU than on Ascend or GPU: one place that decides by device target.

What is slow on the CPU (MindSpore 2.10, two cores, float32, a batch of 8 images at 224, ViT-B/16 sizes; more in
`benchmarks/README.md`):

* `Transpose`, and arithmetic that broadcasts, keep a table of 8 bytes for every element and input. Building the tables
  took 7 of the 13 seconds of compiling a training step, holding them half of its memory. `Split` with `Concat`, and
  `Tile` before arithmetic on equal shapes, need none and are faster: 2.1 ms instead of 5.0 to split the heads.
* sums (`BiasAddGrad`, `ReduceSum` over the last axis, and the gradients of `LayerNorm` and `Softmax` that contain them)
  run at 1 GB/s; as `MatMul` with a column or row of ones they run at the speed of memory: 33 -> 1 ms for the bias of
  (1576, 3072).
* `nn.Conv2d` with stride = kernel takes 1.8 to 13.9 s, depending on the processor; reshape, transpose, `MatMul` 34 ms.
* `nn.GELU()` takes 95 ms on (8, 197, 3072), `nn.GELU(approximate=False)` 40 ms; as sigmoids 10 and 20 ms.

Ascend and GPU keep the native operators. The device target is read when a cell is built, so set it before.
"""

import functools
import math

import mindspore as ms
from mindspore import nn, ops

LINEAR = 2 * math.sqrt(2 / math.pi)
TANH_LOGIT = (LINEAR, LINEAR * 0.044715)
# Normal distribution function = sigmoid(x P(x^2)): P is the polynomial whose largest error of x sigmoid(x P(x^2)) on
# |x| < 6 is smallest, fitted by iteratively reweighted least squares (Lawson, 1961): 7e-8, in float32 7e-7.
ERF_LOGIT = (1.59576843, 7.26685670e-2, -6.62599880e-5, -1.10480317e-4, 7.93821892e-6, -2.66892819e-7, 3.61123284e-9)

add_bias, matmul, tile = ops.BiasAdd(), ops.MatMul(), ops.Tile()


def composed_forms():
    """True where the composed forms are the fast ones: on the CPU."""
    return ms.get_context("device_target") == "CPU"


def tanh(x):
    """tanh(x) = 2 sigmoid(2x) - 1, within 2e-6 everywhere; `ops.tanh` on the CPU is off by up to 2e-4."""
    return 2 * ops.sigmoid(2 * x) - 1


def polynomial(coefficients, x):
    """Horner's rule; coefficients from the constant up."""
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def column_sums(x):
    """Sums (D,) over the rows of x (M, D)."""
    return matmul(ops.ones((1, x.shape[0]), x.dtype), x).reshape(-1)


class TanhGELU(nn.Cell):
    """0.5 x (1 + tanh(u / 2)) = x sigmoid(u), u = x (a + b x^2); the gradient keeps x only."""

    def construct(self, x):
        return x * ops.sigmoid(x * polynomial(TANH_LOGIT, x * x))

    def bprop(self, x, out, dout):
        squares = ops.minimum(x * x, 400)  # beyond |x| = 20 the sigmoid is 0 or 1, and float16 would overflow
        sigmoid = ops.sigmoid(x * polynomial(TANH_LOGIT, squares))
        slope = polynomial((TANH_LOGIT[0], 3 * TANH_LOGIT[1]), squares)  # du/dx
        return (dout * (sigmoid + sigmoid * (x - out) * slope),)


class ErfGELU(nn.Cell):
    """x Phi(x) with the normal distribution function Phi as a sigmoid; in float32, which its coefficients need."""

    def add_flags_recursive(self, **flags):
        """What `to_float` and O2 set on a cell; float32 stays."""
        return super().add_flags_recursive(**{**flags, "fp16": False, "bf16": False, "fp32": True})

    def construct(self, x):
        wide = x.astype(ms.float32)
        return (wide * ops.sigmoid(wide * polynomial(ERF_LOGIT, wide * wide))).astype(x.dtype)

    def bprop(self, x, out, dout):
        wide = x.astype(ms.float32)
        squares = wide * wide
        density = ops.exp(-0.5 * squares) * (1 / math.sqrt(2 * math.pi))
        slope = ops.sigmoid(wide * polynomial(ERF_LOGIT, squares)) + wide * density
        return (dout * slope.astype(x.dtype),)


class GELU(nn.Cell):
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016, section 2), same values as `nn.GELU(approximate)`.

    Args:
        approximate (bool): the tanh approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (MindSpore's default
            and the Vision suite's checkpoints) or, when False, the exact erf form (timm, torchvision, Hugging Face).

    Inputs and outputs: a float tensor of any shape.

    Example:
        >>> [round(value, 4) for value in GELU(approximate=False)(mindspore.Tensor([0.0, 1.0])).tolist()]
        [0.0, 0.8413]
    """

    def __init__(self, approximate=True):
        super().__init__()
        self.approximate = approximate
        if composed_forms():
            self.form = TanhGELU() if approximate else ErfGELU()
        else:
            self.form = nn.GELU(approximate)

    def construct(self, x):
        return self.form(x)

    def extend_repr(self):
        return f"approximate={self.approximate}"


class QuickGELU(nn.Cell):
    """x sigmoid(1.702 x), the approximation of GELU that CLIP uses (Hendrycks and Gimpel, 2016, section 2).

    Inputs and outputs: a float tensor of any shape.
    """

    def construct(self, x):
        return x * ops.sigmoid(1.702 * x)


class Normalize(nn.Cell):
    """(output, mean, variance) of the native LayerNorm over the last axis, with a gradient made of products."""

    def __init__(self, epsilon):
        super().__init__()
        self.epsilon = epsilon
        self.native = ops.LayerNorm(-1, -1, epsilon)

    def construct(self, x, gamma, beta):
        return self.native(x, gamma, beta)

    def bprop(self, x, gamma, beta, out, dout):
        width = x.shape[-1]
        dy = dout[0].reshape(-1, width)  # (M, D)
        rows = dy.shape[0]
        inverse = ops.rsqrt(out[2].reshape(rows, 1) + self.epsilon)  # 1 / deviation, (M, 1)
        centred = x.reshape(rows, width) - tile(out[1].reshape(rows, 1), (1, width))
        product = dy * centred
        weights = (gamma * (1 / width)).reshape(width, 1)
        mean = inverse * matmul(dy, weights)  # of gamma dy, (M, 1)
        slope = inverse * inverse * inverse * matmul(product, weights)
        dx = (dy * matmul(inverse, gamma.reshape(1, width)) - tile(slope, (1, width)) * centred
              - tile(mean, (1, width)))
        return dx.reshape(x.shape), matmul(inverse.reshape(1, rows), product).reshape(-1), column_sums(dy)


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last axis (Ba et al., 2016, equation 4) with a fast gradient on the CPU.

    Args:
        normalized_shape (tuple): the width in a tuple.
        **options: see `nn.LayerNorm`.

    Inputs and outputs: a float tensor (..., width).
    """

    def __init__(self, normalized_shape, **options):
        super().__init__(normalized_shape, **options)
        self.composed = composed_forms() and len(self.normalized_shape) == 1
        self.normalize = Normalize(self.epsilon)

    def construct(self, x):
        if self.composed:
            return self.normalize(x, self.gamma, self.beta)[0]
        return super().construct(x)

    def extend_repr(self):
        return f"{self.normalized_shape}, epsilon={self.epsilon}"


def fast(make):
    """mindvit's form of the MindSpore cell that `make` makes: of `nn.GELU`, `nn.LayerNorm`, and partials of them."""
    if isinstance(make, functools.partial):
        return functools.partial(fast(make.func), *make.args, **make.keywords)
    return {nn.GELU: GELU, nn.LayerNorm: LayerNorm}.get(make, make)


class BiasAdd(nn.Cell):
    """x (M, D) + bias (D,) of the same type: what O2 casts at this cell's entry, no gradient casts back."""

    def construct(self, x, bias):
        return add_bias(x, bias)

    def bprop(self, x, bias, out, dout):
        return dout, column_sums(dout)


class Dense(nn.Dense):
    """`nn.Dense` with a fast gradient of the bias on the CPU."""

    def __init__(self, in_channels, out_channels, weight_init, bias_init, has_bias=True):
        super().__init__(in_channels, out_channels, weight_init, bias_init, has_bias)
        self.composed = has_bias and composed_forms()
        self.add_bias = BiasAdd()

    def construct(self, x):
        if not self.composed:
            return super().construct(x)
        rows = self.matmul(x.reshape(-1, self.in_channels), self.weight)  # (M, out_channels)
        return self.add_bias(rows, self.bias.astype(rows.dtype)).reshape(x.shape[:-1] + (self.out_channels,))


class Softmax(nn.Cell):
    """Softmax over the last axis, whose gradient is y (dy - sum(y dy))."""

    def __init__(self):
        super().__init__()
        self.softmax = ops.Softmax(-1)

    def construct(self, x):
        return self.softmax(x)

    def bprop(self, x, out, dout):
        width = x.shape[-1]
        product = out * dout
        sums = matmul(product.reshape(-1, width), ops.ones((width, 1), x.dtype))
        return (product - out * tile(sums, (1, width)).reshape(x.shape),)


def softmax():
    """A cell for the softmax over the last axis."""
    return Softmax() if composed_forms() else nn.Softmax(-1)


class Heads(nn.Cell):
    """`split` makes the heads, slices of the last axis, an axis of their own; `merge` is its inverse and gradient."""

    def __init__(self, num_heads):
        super().__init__()
        self.num_heads, self.composed = num_heads, composed_forms()
        self.slices, self.rows = ops.Split(-1, num_heads), ops.Split(1, num_heads)
        self.join_slices, self.join_rows = ops.Concat(-1), ops.Concat(1)

    def split(self, x):
        """(B, heads, N, Dh) from (B, N, heads * Dh)."""
        b, n, d = x.shape
        if self.composed:
            return self.join_rows(self.slices(x)).reshape(b, self.num_heads, n, d // self.num_heads)
        return x.reshape(b, n, self.num_heads, -1).transpose(0, 2, 1, 3)

    def merge(self, x):
        """(B, N, heads * Dh) from (B, heads, N, Dh)."""
        b, _, n, _ = x.shape
        if self.composed:
            return self.join_slices(self.rows(x)).reshape(b, n, -1)
        return x.transpose(0, 2, 1, 3).reshape(b, n, -1)


class SplitHeads(Heads):
    """(B, N, heads * Dh) -> (B, heads, N, Dh)."""

    def construct(self, x):
        return self.split(x)

    def bprop(self, x, out, dout):
        return (self.merge(dout),)


class MergeHeads(Heads):
    """(B, heads, N, Dh) -> (B, N, heads * Dh)."""

    def construct(self, x):
        return self.merge(x)

    def bprop(self, x, out, dout):
        return (self.split(dout),)


def patches(x, patch_size):
    """The patches (B, N, C * ph * pw) of images (B, C, H, W), row by row, each channel by channel."""
    b, c, h, w = x.shape
    ph, pw = patch_size
    x = x.reshape(b, c, h // ph, ph, w // pw, pw).transpose(0, 2, 4, 1, 3, 5)  # (B, H/ph, W/pw, C, ph, pw)
    return x.reshape(b, -1, c * ph * pw)


class PatchProduct(nn.Conv2d):
    """A convolution whose stride is its kernel, that is, one product per patch (ViT paper, equation 1).

    Args:
        input_channels (int): channels of the image.
        embed_dim (int): width D of a token.
        patch_size (tuple[int, int]): height and width of a patch in pixels.

    Inputs: images (B, C, H, W). Outputs: tokens (B, H/ph * W/pw, D), row by row.
    """

    def __init__(self, input_channels, embed_dim, patch_size, weight_init, bias_init):
        super().__init__(input_channels, embed_dim, patch_size, patch_size, pad_mode="valid", has_bias=True,
                         weight_init=weight_init, bias_init=bias_init)
        self.composed = composed_forms()
        self.embed_dim = embed_dim
        self.matmul, self.add_bias = ops.MatMul(transpose_b=True), BiasAdd()

    def construct(self, x):
        if self.composed:
            return self.product(patches(x, self.kernel_size))
        b, x = x.shape[0], super().construct(x)  # (B, D, H/ph, W/pw)
        return x.reshape(b, self.embed_dim, -1).transpose(0, 2, 1)  # (B, N, D)

    def extend_repr(self):
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"

    def product(self, x):
        """Tokens (B, N, D) of patches (B, N, C * ph * pw)."""
        weight = self.weight.astype(x.dtype).reshape(self.embed_dim, -1)  # outside this cell O2 does not cast it
        rows = self.matmul(x.reshape(-1, x.shape[2]), weight)
        return self.add_bias(rows, self.bias.astype(rows.dtype)).reshape(x.shape[0], -1, self.embed_dim)
