"""The augmentations of whole batches: each function's name is what a configuration lists, its options follow the star.

Each takes normalised images (B, 3, H, W) and targets (B, K), which it may change in place, and a numpy generator, and
gives both.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mindvit.choices import Table, entry
from mindvit.data.augment import check_range

Floats = NDArray[np.float32]
Mixing = Callable[[Floats, Floats, Generator], tuple[Floats, Floats]]
MIXING: Table = {}


def check_alpha(name, alpha):
    if not alpha > 0:
        raise ValueError(f"alpha of {name} is {alpha}; it is above 0, usually 0.2 to 1")


@entry(MIXING)
def mixup(images, targets, rng: Generator, *, alpha=0.8, probability=1.0) -> tuple[Floats, Floats]:
    """Each image and target is mixed with those of the batch in reverse order, by a share from Beta(alpha, alpha)
    (Zhang et al., "mixup", 2018)."""
    check_alpha("mixup", alpha)
    check_range("probability of mixup", probability, 0, 1)
    if rng.random() >= probability:
        return images, targets
    share = np.float32(rng.beta(alpha, alpha))
    return images * share + images[::-1] * (1 - share), targets * share + targets[::-1] * (1 - share)


@entry(MIXING)
def cutmix(images, targets, rng: Generator, *, alpha=1.0, probability=1.0) -> tuple[Floats, Floats]:
    """A rectangle of each image, its area a share from Beta(alpha, alpha), is that of the image in reverse order; the
    targets are mixed by the pixels (Yun et al., "CutMix", 2019)."""
    check_alpha("cutmix", alpha)
    check_range("probability of cutmix", probability, 0, 1)
    if rng.random() >= probability:
        return images, targets
    height, width = images.shape[2:]
    side = np.sqrt(1 - rng.beta(alpha, alpha))  # of the rectangle, as a share of the image's
    half = int(height * side) // 2, int(width * side) // 2
    centre = rng.integers(height), rng.integers(width)
    (top, bottom), (left, right) = ((max(0, place - reach), min(end, place + reach)) for place, reach, end in
                                    zip(centre, half, (height, width)))
    cut = np.s_[:, :, top:bottom, left:right]
    images[cut] = images[::-1][cut].copy()
    share = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return images, targets * share + targets[::-1] * (1 - share)


@entry(MIXING)
def mixup_or_cutmix(images, targets, rng: Generator, *, mixup_alpha=0.8, cutmix_alpha=1.0, probability=1.0,
                    switch=0.5) -> tuple[Floats, Floats]:
    """One of both for each batch, cutmix with the probability `switch`, as in DeiT (Touvron et al., 2021)."""
    check_range("switch of mixup_or_cutmix", switch, 0, 1)
    if rng.random() < switch:
        return cutmix(images, targets, rng, alpha=cutmix_alpha, probability=probability)
    return mixup(images, targets, rng, alpha=mixup_alpha, probability=probability)


@entry(MIXING)
def random_erasing(images, targets, rng: Generator, *, probability=0.25, area=(0.02, 0.33),
                   ratio=(0.3, 3.3)) -> tuple[Floats, Floats]:
    """A rectangle of some images, its area a share in `area`, its height / width in `ratio`, is noise (Zhong et al.,
    "Random Erasing", 2020)."""
    check_range("probability of random_erasing", probability, 0, 1)
    if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"area of random_erasing is {list(area)} and its ratio {list(ratio)}; they are ranges, such "
                         "as [0.02, 0.33] and [0.3, 3.3]")
    height, width = images.shape[2:]
    for i in np.flatnonzero(rng.random(len(images)) < probability):
        for _ in range(10):  # until a rectangle fits
            pixels, shape = rng.uniform(*area) * height * width, np.exp(rng.uniform(*np.log(ratio)))
            h, w = round(np.sqrt(pixels * shape)), round(np.sqrt(pixels / shape))
            if 0 < h <= height and 0 < w <= width:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                images[i, :, top:top + h, left:left + w] = rng.standard_normal((3, h, w), np.float32)
                break
    return images, targets
