"""The picture of a training batch: what the network sees, with its labels."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mindvit.files import StrPath, save_image
from mindvit.visualize.annotate import default_font, font_of
from mindvit.visualize.fonts import choose_font

TILE, LINE = 224, 18  # pixels: the least width of an image, the height of a line below it


def save_batch(images: NDArray[np.float32], targets: NDArray, classes: Sequence[str], mean: Sequence[float],
               std: Sequence[float], path: StrPath, columns: int = 4) -> None:
    """Draws the images of a batch as they were before mean and std, each with its classes and their shares below.

    Args:
        images (array): (B, 3, height, width), normalised.
        targets (array): labels (B,), or shares (B, classes).
        classes (list of str): their names.
        mean, std: of red, green and blue, for values from 0 to 1.
        path (str): the file to write.
        columns (int): images side by side.

    Example:
        >>> images, labels = np.zeros((2, 3, 32, 32), np.float32), np.array([0, 1])
        >>> save_batch(images, labels, ["cat", "dog"], IMAGENET_MEAN, IMAGENET_STD, "seen.png")
    """
    shares = targets if targets.ndim == 2 else np.eye(len(classes))[targets]
    scale = max(1, math.ceil(TILE / images.shape[3]))
    height, width = images.shape[2] * scale, images.shape[3] * scale
    rows = math.ceil(len(images) / columns)
    size = min(columns, len(images)) * (width + 8) + 8, rows * (height + 2 * LINE + 8) + 8
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    pixels = images.transpose(0, 2, 3, 1) * np.array(std, np.float32) + np.array(mean, np.float32)  # (B, H, W, 3)
    for i, image in enumerate((pixels * 255).round().clip(0, 255).astype(np.uint8)):
        row, column = divmod(i, columns)
        left, top = 8 + column * (width + 8), 8 + row * (height + 2 * LINE + 8)
        page.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
        for number, index in enumerate(np.argsort(-shares[i], kind="stable")[:2]):
            if shares[i, index] > 0:
                write(draw, (left, top + height + number * LINE), classes[index], index, shares[i, index])
    save_image(page, path)


def write(draw, place, name, index, share):
    """A class and its share, in a font that has its characters, else its number."""
    line, file = choose_font(f"{name}: {share:.2f}", default_font(), f"class {index}: {share:.2f}")
    draw.text((place[0], place[1] + 13), line, "black", font_of(file, 14), "ls")  # fonts begin at heights of their own
