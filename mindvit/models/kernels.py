"""The few products that need another form on the CPU than on Ascend or GPU: one place that decides by device target.

Measured on two CPU cores with MindSpore 2.10, float32, a batch of 8 images at 224 (ViT-B/16 sizes):

* patches: `nn.Conv2d` 13.9 s, reshape + transpose + one `MatMul` 34 ms;
* tanh GELU on (8, 197, 3072): `nn.GELU()` 99 ms forward and 205 ms gradient, the sigmoid form 12 ms and 23 ms.

Ascend and GPU keep the native operators. The device target is read when a cell is built, so set it before.
"""

import math

import mindspore as ms
from mindspore import nn, ops


def composed_forms():
    """True where the composed forms are the fast ones: on the CPU."""
    return ms.get_context("device_target") == "CPU"


def tanh(x):
    """tanh(x) = 2 sigmoid(2x) - 1, within 2e-6 everywhere; `ops.tanh` on the CPU is off by up to 2e-4."""
    return 2 * ops.sigmoid(2 * x) - 1


class GELU(nn.Cell):
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016, section 2), same values as `nn.GELU(approximate)`.

    The tanh approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) equals x sigmoid(2 sqrt(2/pi) (x + ...)),
    because 0.5 (1 + tanh(u)) = sigmoid(2u); this is the form that runs on the CPU.

    Args:
        approximate (bool): the tanh form (MindSpore's default and the Vision suite's checkpoints) or, when False,
            the exact erf form (timm, torchvision, Hugging Face).

    Inputs and outputs: a float tensor of any shape.
    """

    def __init__(self, approximate=True):
        super().__init__()
        self.composed = approximate and composed_forms()
        self.native = nn.GELU(approximate)

    def construct(self, x):
        if self.composed:
            linear = 2 * math.sqrt(2 / math.pi)
            return x * ops.sigmoid(x * (linear + linear * 0.044715 * x * x))
        return self.native(x)


class PatchProduct(nn.Conv2d):
    """A convolution whose stride is its kernel, that is, one product per patch (ViT paper, equation 1).

    Args:
        input_channels (int): channels of the image.
        embed_dim (int): width D of a token.
        patch_size (tuple[int, int]): height and width of a patch in pixels.

    Inputs: images (B, C, H, W). Outputs: tokens (B, H/ph * W/pw, D), row by row.
    """

    def __init__(self, input_channels, embed_dim, patch_size, weight_init):
        super().__init__(input_channels, embed_dim, patch_size, patch_size, pad_mode="valid", has_bias=True,
                         weight_init=weight_init, bias_init="zeros")
        self.composed = composed_forms()
        self.embed_dim = embed_dim

    def construct(self, x):
        b, c, h, w = x.shape
        ph, pw = self.kernel_size
        if self.composed:
            x = x.reshape(b, c, h // ph, ph, w // pw, pw).transpose(0, 2, 4, 1, 3, 5)  # (B, H/ph, W/pw, C, ph, pw)
            x = ops.matmul(x.reshape(-1, c * ph * pw), self.weight.reshape(self.embed_dim, -1).T) + self.bias
            return x.reshape(b, -1, self.embed_dim)  # (B, N, D)
        x = super().construct(x)  # (B, D, H/ph, W/pw)
        return x.reshape(b, self.embed_dim, -1).transpose(0, 2, 1)  # (B, N, D)
