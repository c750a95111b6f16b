"""How a network's evaluation images are prepared: a property of its weights, so it travels with the network."""

import dataclasses

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize the short side to image_size / crop_fraction, crop the centre, then (pixel / 255 - mean) / std.

    The defaults are the Vision suite's. `interpolation` is "bilinear" or "bicubic".
    """

    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
