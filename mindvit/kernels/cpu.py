"""The forms that are fast on the CPU.

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
"""

import itertools
import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, jit_class, nn, ops

from mindvit.kernels import native
from mindvit.kernels.native import patches

LINEAR = 2 * math.sqrt(2 / math.pi)
TANH_LOGIT = (LINEAR, LINEAR * 0.044715)
# Normal distribution function = sigmoid(x P(x^2)): P is the polynomial whose largest error of x sigmoid(x P(x^2)) on
# |x| < 6 is smallest, fitted by iteratively reweighted least squares (Lawson, 1961): 7e-8, in float32 7e-7.
ERF_LOGIT = (1.59576843, 7.26685670e-2, -6.62599880e-5, -1.10480317e-4, 7.93821892e-6, -2.66892819e-7, 3.61123284e-9)

FIRST, SECOND = Tensor(0x7feb352d, ms.uint32), Tensor(0x846ca68b, ms.uint32)  # of lowbias32
SIXTEEN, FIFTEEN = Tensor(16, ms.uint32), Tensor(15, ms.uint32)
MULTIPLIER, INCREMENT = Tensor(1664525, ms.uint32), Tensor(1013904223, ms.uint32)  # Numerical Recipes, section 7.1

add_bias, matmul, tile = ops.BiasAdd(), ops.MatMul(), ops.Tile()
shift, xor = ops.RightShift(), ops.BitwiseXor()


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
    """`nn.GELU(approximate)` as a product with a sigmoid."""

    def __init__(self, approximate=True):
        super().__init__()
        self.approximate = approximate
        self.form = TanhGELU() if approximate else ErfGELU()

    def construct(self, x):
        return self.form(x)

    def extend_repr(self):
        return f"approximate={self.approximate}"


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
    """`nn.LayerNorm` over the last axis (Ba et al., 2016, equation 4) with a fast gradient."""

    def __init__(self, normalized_shape, **options):
        super().__init__(normalized_shape, **options)
        self.normalize = Normalize(self.epsilon)

    def construct(self, x):
        return self.normalize(x, self.gamma, self.beta)[0]

    def extend_repr(self):
        return f"{self.normalized_shape}, epsilon={self.epsilon}"


class BiasAdd(nn.Cell):
    """x (M, D) + bias (D,) of the same type: what O2 casts at this cell's entry, no gradient casts back."""

    def construct(self, x, bias):
        return add_bias(x, bias)

    def bprop(self, x, bias, out, dout):
        return dout, column_sums(dout)


class Dense(nn.Dense):
    """`nn.Dense` with a fast gradient of the bias."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.add_bias = BiasAdd()

    def construct(self, x):
        if not self.has_bias:
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


class Heads(nn.Cell):
    """`split` makes the heads, slices of the last axis, an axis of their own; `merge` is its inverse and gradient."""

    def __init__(self, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.slices, self.rows = ops.Split(-1, num_heads), ops.Split(1, num_heads)
        self.join_slices, self.join_rows = ops.Concat(-1), ops.Concat(1)

    def split(self, x):
        """(B, heads, N, Dh) from (B, N, heads * Dh)."""
        b, n, d = x.shape
        return self.join_rows(self.slices(x)).reshape(b, self.num_heads, n, d // self.num_heads)

    def merge(self, x):
        """(B, N, heads * Dh) from (B, heads, N, Dh)."""
        b, _, n, _ = x.shape
        return self.join_slices(self.rows(x)).reshape(b, n, -1)


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


class PatchProduct(native.PatchProduct):
    """A convolution whose stride is its kernel as the product of all patches with the kernel."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.add_bias = BiasAdd()

    def construct(self, x):
        return self.product(patches(x, self.kernel_size))


def sum_of_squares(x):
    """The sum of x * x (), as a product of a row and a column."""
    x = x.astype(ms.float32).reshape(1, -1)
    return matmul(x, x.reshape(-1, 1)).reshape(())


@jit_class
class Draws:
    """How often a dropout drew, from a seeded start: a number that can be read and set, outside the cells' parameters,
    so that it is in no checkpoint of weights."""

    count = itertools.count()

    def __init__(self):
        start = np.random.randint(2**32, dtype=np.uint32)  # `mindspore.set_seed` seeds it
        self.number = Parameter(Tensor(start, ms.uint32), f"draws_{next(self.count)}", requires_grad=False)


class Dropout(nn.Cell):
    """Sets values to 0 with probability p in training and scales the others by 1 / (1 - p).

    `nn.Dropout` keeps its random state inside the operator, where nobody can save it. Here a value is dropped by an
    integer hash of its place and of a number that each call moves on (Wellons, "Prospecting for hash
    functions", 2018: lowbias32).
    """

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p
        self.draws = Draws() if p else None
        self.worker = Tensor(0, ms.uint32)  # what is added where several processes draw with the same number
        self.limit = Tensor(min(round((1 - p) * 2**32), 2**32 - 1), ms.uint32)

    def construct(self, x):
        if not self.training or not self.p:
            return x
        start = self.draws.number * MULTIPLIER + INCREMENT  # Knuth's linear congruential generator: the next state
        start = ops.depend(start, ops.assign(self.draws.number, start))
        bits = hashed(ops.cast(ops.range(0, x.size, 1), ms.uint32) + (start + self.worker))
        kept = ops.cast(bits < self.limit, x.dtype).reshape(x.shape)
        return x * kept * (1 / (1 - self.p))


def hashed(x):
    """uint32 to uint32, each bit of the result depending on all of x."""
    x = xor(x, shift(x, SIXTEEN)) * FIRST
    x = xor(x, shift(x, FIFTEEN)) * SECOND
    return xor(x, shift(x, SIXTEEN))
