"""How an image is prepared for a network: a property of its weights, so it travels with the network."""

import dataclasses
import math

import numpy as np
from PIL import Image
from scipy import sparse

Size = int | tuple[int, int]  # pixels: of both sides, or (height, width)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The interpolations of each resizer. Only MindSpore's bilinear and TensorFlow's do not average what they shrink.
RESIZERS = {"mindspore": ("bilinear", "bicubic", "nearest"),
            "pillow": ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
            "torch": ("bilinear", "bicubic", "lanczos"),
            "tensorflow": ("bilinear",)}
RESIZE_MODES = {"crop": "short side to {0}, centre {1}", "squash": "both sides to {0}, centre {1}",
                "border": "long side to {0}, centre {1} with borders"}
OPENINGS = {"seen": "as a person sees them", "plain": "without EXIF rotation, transparency dropped",
            "turned": "with EXIF rotation, transparency dropped"}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to an image in evaluation and prediction; the defaults are mindvit's own.

    Args:
        mean, std: of red, green and blue, for values from 0 to 1; the last step is (value - mean) / std.
        crop_fraction: the centre crop's share of the resized side, which is floor(image size / crop_fraction).
        interpolation: one of `RESIZERS[resizer]`.
        resize_mode: what is resized before the crop: "crop" the short side, keeping the proportions; "squash" both
            sides; "border" the long side, what lacks being filled with the mean.
        resizer: whose arithmetic, rounding of sizes and crop offset: "mindspore" (`vision.Resize`), "pillow" (timm,
            torchvision), "torch" (uint8 tensors with antialias, as transformers resizes) or "tensorflow"
            (`tf.image.resize`).
        opening: "seen" applies EXIF rotation, lays transparency on white and scales 16-bit gray; "plain" is Pillow's
            `convert("RGB")` alone; "turned" is EXIF rotation and `convert("RGB")`.
        predict_squash: prediction squashes, evaluation does not, as the Vision suite published both.

    Raises:
        ValueError: an unknown name, or a number out of its range.

    Example:
        >>> Preprocessing(crop_fraction=0.9, interpolation="bicubic").describe(224)  # doctest: +ELLIPSIS
        'images as a person sees them, short side to 248, centre 224 x 224; bicubic of mindspore; mean 0.485 ...'
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    resize_mode: str = "crop"
    resizer: str = "mindspore"
    opening: str = "seen"
    predict_squash: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # lists, where they come from JSON
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        for name, known in (("resize_mode", RESIZE_MODES), ("resizer", RESIZERS), ("opening", OPENINGS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")
        if self.interpolation not in RESIZERS[self.resizer]:
            raise ValueError(f"interpolation is {self.interpolation!r}; the resizer {self.resizer!r} has "
                             f"{', '.join(RESIZERS[self.resizer])}")
        if self.resize_mode == "border" and self.resizer == "mindspore":
            raise ValueError("resize_mode 'border' needs another resizer than 'mindspore', such as 'pillow'")
        if not 0.1 <= self.crop_fraction <= 2:
            raise ValueError(f"crop_fraction is {self.crop_fraction}; it lies in [0.1, 2]")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ValueError(f"mean is {self.mean} and std {self.std}; each has three numbers, those of std above 0")

    def for_prediction(self) -> "Preprocessing":
        """The Preprocessing that prediction uses."""
        if not self.predict_squash:
            return self
        return dataclasses.replace(self, resize_mode="squash", crop_fraction=1.0, predict_squash=False)

    def describe(self, size: Size) -> str:
        """What is done, in words, for an image size in pixels, an int or (height, width)."""
        mode, sizes = self.resize_mode, pair(size)
        if self.resizer == "mindspore" and sizes[0] != sizes[1]:
            mode = "squash"  # `vision.Resize` has no other way to a rectangle
        target = resize_target(sizes, self)
        sides = [f"{height} x {width}" for height, width in (target, sizes)]
        if mode != "squash" and target[0] == target[1]:
            sides[0] = str(target[0])
        numbers = (" ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std))
        return (f"images {OPENINGS[self.opening]}, {RESIZE_MODES[mode].format(*sides)}; "
                f"{self.interpolation} of {self.resizer}; mean {' std '.join(numbers)}")


# What an unmarked checkpoint of the Vision suite or of MindSpore's tutorial was published with, and a new network has.
SUITE = Preprocessing(predict_squash=True)


def pair(size):
    """(height, width) from an int or (height, width)."""
    return (size, size) if isinstance(size, int) else tuple(size)


def exact_fraction(size, resized):
    """The crop_fraction with which floor(size / crop_fraction) is exactly `resized`."""
    fraction = size / resized
    return fraction if math.floor(size / fraction) == resized else math.nextafter(fraction, 0)


def resize_target(size, preprocessing):
    """The (height, width) of which the crop takes the share crop_fraction."""
    return tuple(math.floor(side / preprocessing.crop_fraction) for side in size)


def resized_shape(height, width, size, preprocessing):
    """(height, width) that an image of that height and width has before the crop to `size`, (height, width).

    Proportions and rounding are those of torchvision's Resize for a square crop and of timm's ResizeKeepRatio else.
    """
    target = resize_target(size, preprocessing)
    if preprocessing.resize_mode == "squash":
        result = target
    elif preprocessing.resize_mode == "crop" and target[0] == target[1]:
        long = int(target[0] * max(height, width) / min(height, width))
        result = (long, target[0]) if width <= height else (target[0], long)
    else:
        ratio = (max if preprocessing.resize_mode == "border" else min)(height / target[0], width / target[1])
        result = max(1, round(height / ratio)), max(1, round(width / ratio))
    if Image.MAX_IMAGE_PIXELS and result[0] * result[1] > 2 * Image.MAX_IMAGE_PIXELS:  # Pillow's limit for files
        raise ValueError(f"an image of {height} x {width} pixels would become {result[0]} x {result[1]}, more than "
                         f"{2 * Image.MAX_IMAGE_PIXELS} pixels; crop it first, or use resize_mode 'squash'")
    return result


def seen_box(height: int, width: int, size: Size, preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """The part of an image that the network sees: (left, top, right, bottom) in pixels, beyond the image where it gets
    borders."""
    sizes = pair(size)
    if preprocessing.resizer == "mindspore" and sizes[0] != sizes[1]:  # `vision.Resize` has no other way to a rectangle
        preprocessing = dataclasses.replace(preprocessing, resize_mode="squash")
    resized = resized_shape(height, width, sizes, preprocessing)
    (top, bottom), (left, right) = (
        [round((new + sign * side) / 2 * have / new) for sign in (-1, 1)]
        for have, new, side in zip((height, width), resized, sizes))
    return left, top, right, bottom


def seen_part(image: Image.Image, size: Size, preprocessing: Preprocessing) -> Image.Image:
    """The part of an image that the network sees, in the image's own pixels; black where it gets borders."""
    return image.crop(seen_box(image.height, image.width, size, preprocessing))


def centre_crop(pixels, size, fill, round_offset=round):
    """The centre (height, width) of `pixels` (H, W, 3); where they are smaller, `fill` (3,) stands around them."""
    height, width = size
    margins = [max(0, side - have) for side, have in zip(size, pixels.shape)]
    if any(margins):
        padded = np.empty((pixels.shape[0] + margins[0], pixels.shape[1] + margins[1], 3), pixels.dtype)
        padded[:] = fill
        top, left = margins[0] // 2, margins[1] // 2
        padded[top:top + pixels.shape[0], left:left + pixels.shape[1]] = pixels
        pixels = padded
    top, left = (int(round_offset((have - side) / 2)) for have, side in zip(pixels.shape, size))
    return pixels[top:top + height, left:left + width]


def prepare_pixels(image, size, preprocessing):
    """An RGB `PIL.Image` as the network takes it, by every resizer but MindSpore's.

    Args:
        image: what `opening` made of the file.
        size: pixels of the result, one int or (height, width).
        preprocessing (Preprocessing): what to do.

    Returns:
        float32 (3, height, width).

    Raises:
        ValueError: the resized image would be larger than Pillow's limit for files.
    """
    size = pair(size)
    height, width = resized_shape(image.height, image.width, size, preprocessing)
    if preprocessing.resizer == "pillow":
        pixels = np.asarray(image.resize((width, height), Image.Resampling[preprocessing.interpolation.upper()]))
    elif preprocessing.resizer == "torch":
        pixels = resize_as_torch(np.asarray(image), height, width, preprocessing.interpolation)
    else:
        pixels = resize_as_tensorflow(np.asarray(image), height, width)
    fill = [round(255 * value) for value in preprocessing.mean] if preprocessing.resize_mode == "border" else 0
    pixels = centre_crop(pixels, size, fill, math.floor if preprocessing.resizer == "torch" else round)
    result = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    result -= np.float32(preprocessing.mean).reshape(3, 1, 1) * 255
    result /= np.float32(preprocessing.std).reshape(3, 1, 1) * 255
    return result


def triangle(x):
    return np.maximum(1 - np.abs(x), 0)


def cubic(x):  # Keys, "Cubic convolution interpolation", 1981, with a = -1/2
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


def lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {"bilinear": (triangle, 1), "bicubic": (cubic, 2), "lanczos": (lanczos, 3)}  # and half their width


def integer_weights(old, new, interpolation):
    """The weights (new, old) of PyTorch's antialiased resize of bytes, and the bits by which they are scaled.

    PyTorch rounds them to 16 bits (`UpSampleKernel.cpp`) where Pillow has 22 bits behind the point.
    """
    function, support = FILTERS[interpolation]
    scale = old / new
    stretch = max(scale, 1)
    centre = scale * (np.arange(new) + 0.5)
    first = np.maximum((centre - support * stretch + 0.5).astype(int), 0)
    count = np.minimum((centre + support * stretch + 0.5).astype(int), old) - first
    taps = np.arange(count.max())
    used = taps < count[:, None]  # (new, taps)
    columns = first[:, None] + taps
    weights = np.where(used, function((columns - centre[:, None] + 0.5) / stretch), 0)
    weights /= weights.sum(1, keepdims=True)
    bits = max(bits for bits in range(23) if bits == 0 or int(0.5 + weights.max() * 2**bits) < 2**15)
    weights = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int32)
    return sparse.csr_matrix((weights[used], columns[used], np.r_[0, count.cumsum()]), shape=(new, old)), bits


def resize_rows(pixels, new, interpolation):
    """int32 (H, W, 3), 0 to 255, to (new, W, 3) of the same."""
    if len(pixels) == new:
        return pixels
    weights, bits = integer_weights(len(pixels), new, interpolation)
    sums = weights @ pixels.reshape(len(pixels), -1)
    sums += 1 << bits >> 1
    sums >>= bits
    return sums.clip(0, 255, out=sums).reshape(new, *pixels.shape[1:])


def resize_as_torch(pixels, height, width, interpolation):
    """Resizes uint8 (H, W, 3) to the values of `torch.nn.functional.interpolate(..., antialias=True)`, as int32."""
    columns = resize_rows(pixels.transpose(1, 0, 2).astype(np.int32, order="C"), width, interpolation)
    return resize_rows(np.ascontiguousarray(columns.transpose(1, 0, 2)), height, interpolation)


def between(old, new):
    """For each of `new` places the two neighbours among `old` and the second's share, as `tf.image.resize` has them."""
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    low = np.floor(place)
    return (np.maximum(low, 0).astype(int), np.minimum(np.ceil(place), old - 1).astype(int),
            (place - low).astype(np.float32))


def resize_as_tensorflow(pixels, height, width):
    """Resizes (H, W, 3) to float32 (height, width, 3) as `tf.image.resize` does: bilinear, without antialias."""
    left, right, x = between(pixels.shape[1], width)
    top, bottom, y = between(pixels.shape[0], height)
    pixels = pixels[np.r_[top, bottom]].astype(np.float32)  # (2 height, W, 3)
    rows = pixels[:, left] + (pixels[:, right] - pixels[:, left]) * x[:, None]
    return rows[:height] + (rows[height:] - rows[:height]) * y[:, None, None]
