"""The augmentations of training: each function's name is what a configuration lists, its options follow the star.

Each takes the network's image size, (height, width), and gives MindSpore's operations on uint8 (H, W, 3).
"""

from mindspore.dataset import vision

from mindvit.choices import Table, entry
from mindvit.data.images import Operation

# Bicubic is Pillow's, with antialiasing.
INTERPOLATIONS = {"bilinear": vision.Inter.LINEAR, "bicubic": vision.Inter.PILCUBIC, "nearest": vision.Inter.NEAREST}
AUGMENTATIONS: Table = {}


def check_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it lies in [{low:g}, {high:g}]{unit}")


def interpolation_of(name: str) -> vision.Inter:
    if name not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {name!r}; choose one of {', '.join(INTERPOLATIONS)}")
    return INTERPOLATIONS[name]


@entry(AUGMENTATIONS)
def random_crop(size, *, scale=(0.08, 1.0), ratio=(0.75, 1.333), interpolation="bilinear") -> list[Operation]:
    """A random part of the image, its area a share in `scale` and its width / height in `ratio`, resized to the size
    (Szegedy et al., "Going Deeper with Convolutions", 2015, section 6)."""
    check_ranges(scale, ratio)
    return [vision.RandomResizedCrop(size, tuple(scale), tuple(ratio), interpolation_of(interpolation))]


def check_ranges(scale, ratio):
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale of random_crop is {list(scale)}; it is a range of shares of the area, such as "
                         "[0.08, 1.0]")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio of random_crop is {list(ratio)}; it is a range of width / height, such as "
                         "[0.75, 1.333]")


@entry(AUGMENTATIONS)
def resize(size, *, interpolation="bilinear") -> list[Operation]:
    """The whole image resized to the size, proportions not kept."""
    return [vision.Resize(list(size), interpolation_of(interpolation))]


@entry(AUGMENTATIONS)
def simple_crop(size, *, padding=4, interpolation="bicubic") -> list[Operation]:
    """The image resized, mirrored at its borders by `padding` pixels and cropped at random to the size (Touvron et al.,
    "DeiT III", 2022, section 3.2); here both sides are resized."""
    check_range("padding of simple_crop", padding, 0, min(size) - 1, " pixels")
    return [vision.Resize(list(size), interpolation_of(interpolation)),
            vision.RandomCrop(size, int(padding), padding_mode=vision.Border.REFLECT)]


@entry(AUGMENTATIONS)
def flip(size, *, probability=0.5) -> list[Operation]:
    """Mirrored left to right."""
    check_range("probability of flip", probability, 0, 1)
    return [vision.RandomHorizontalFlip(probability)]


@entry(AUGMENTATIONS)
def rotation(size, *, degrees=10.0) -> list[Operation]:
    """Rotated about the centre by at most `degrees` to either side; the corners are black."""
    check_range("degrees of rotation", degrees, 0, 180)
    return [vision.RandomRotation(degrees, vision.Inter.BILINEAR)]


@entry(AUGMENTATIONS)
def color_jitter(size, *, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0) -> list[Operation]:
    """Brightness, contrast and saturation times a factor within 1 +- what is given, hue turned within +- its share."""
    for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        check_range(f"{name} of color_jitter", value, 0, 1)
    check_range("hue of color_jitter", hue, 0, 0.5)
    return [vision.RandomColorAdjust(*((1 - value, 1 + value) for value in (brightness, contrast, saturation)),
                                     (-hue, hue))]


@entry(AUGMENTATIONS)
def rand_augment(size, *, magnitude=9, num_ops=2) -> list[Operation]:
    """`num_ops` operations of a list at one strength, 0 to 30 (Cubuk et al., "RandAugment", 2020)."""
    check_range("magnitude of rand_augment", magnitude, 0, 30)
    check_range("num_ops of rand_augment", num_ops, 0, 14)
    return [vision.RandAugment(int(num_ops), int(magnitude))]


@entry(AUGMENTATIONS)
def auto_augment(size, *, policy="imagenet") -> list[Operation]:
    """A policy that was searched on "imagenet", "cifar10" or "svhn" (Cubuk et al., "AutoAugment", 2019)."""
    policies = {member.value: member for member in vision.AutoAugmentPolicy}
    if policy not in policies:
        raise ValueError(f"policy of auto_augment is {policy!r}; choose one of {', '.join(policies)}")
    return [vision.AutoAugment(policies[policy])]


@entry(AUGMENTATIONS)
def trivial_augment(size) -> list[Operation]:
    """One operation of any strength (Müller and Hutter, "TrivialAugment", 2021, the wide space)."""
    return [vision.TrivialAugmentWide()]


@entry(AUGMENTATIONS)
def three_augment(size) -> list[Operation]:
    """Gray, solarised or blurred, one of them each time (Touvron et al., "DeiT III", 2022, section 3.2).

    MindSpore's blur has a fixed strength, so that one of eight from 0.1 to 2 pixels is drawn, as widely as there.
    """
    gray, solarised = vision.RandomColorAdjust(saturation=(0, 0)), vision.Solarize((128, 255))
    blurs = [vision.GaussianBlur(9, 0.1 + i * 1.9 / 7) for i in range(8)]
    choices = [operation for blur in blurs for operation in (gray, solarised, blur)]  # a third each
    return [vision.RandomSelectSubpolicy([[(operation, 1.0)] for operation in choices])]


SIZING = (random_crop, resize, simple_crop)  # after one of these all images have the network's size
