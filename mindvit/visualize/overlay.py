"""Pictures of what a network looks at: a map of patches laid over an image, and pages of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mindvit.files import StrPath, save_image
from mindvit.visualize.annotate import default_font, font_of, shortened
from mindvit.visualize.fonts import choose_font

LEAST, MOST = 448, 1024  # pixels of an overlay's longer side
GAP, LINE, TILE = 10, 20, 260  # pixels between tiles, of a line of text, and of a tile's longer side


def overlay(image: Image.Image, values: NDArray) -> Image.Image:
    """Lays a map over what a network saw of an image: gray where the map has little, red to yellow where it has most.

    Args:
        image (PIL.Image): the part of the image that the network saw; see `seen_part`.
        values (array): (rows, columns) of patches; the least and the greatest are the ends of the colours.

    Returns:
        PIL.Image: as large as the image, but at least 448 and at most 1024 pixels on its longer side.

    Example:
        >>> overlay(open_rgb("cat.jpg").crop((0, 0, 600, 400)), np.eye(14)).size
        (600, 400)
    """
    from matplotlib import colormaps  # takes long to import

    image = at_size(image.convert("RGB"))
    low, high = values.min(), values.max()
    scaled = ((values - low) / (high - low or 1)).astype(np.float32)
    heat = np.asarray(Image.fromarray(scaled).resize(image.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    gray = np.asarray(image.convert("L"), np.float32)[..., None]
    colours = 255 * colormaps["inferno"](heat[..., 0])[..., :3]
    mixed = 0.65 * gray * (1 - 0.6 * heat) + (0.15 + 0.6 * heat) * colours
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def at_size(image):
    """The image at a size at which it can be looked at: a small one with its pixels as squares."""
    longer = max(image.size)
    scale = LEAST / longer if longer < LEAST else min(1, MOST / longer)
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.NEAREST if longer < LEAST / 4 else Image.Resampling.BICUBIC)


def save_sheet(rows: Sequence[Sequence[tuple[Image.Image, Sequence[str]]]], path: StrPath) -> None:
    """Writes a page of images in rows, each with its lines of text below.

    Args:
        rows (list): of lists of (image, lines).
        path (str): the file to write.

    Example:
        >>> save_sheet([[(Image.new("RGB", (64, 64)), ["cat", "0.93"])]], "sheet.png")
    """
    tiles = [[(fitted(image), lines) for image, lines in row] for row in rows]
    heights = [max(image.height for image, _ in row) + max(len(lines) for _, lines in row) * LINE + GAP
               for row in tiles]
    width = GAP + max(len(row) for row in tiles) * (TILE + GAP)
    page = Image.new("RGB", (width, GAP + sum(heights)), "white")
    draw, top = ImageDraw.Draw(page), GAP
    for row, height in zip(tiles, heights):
        for column, (image, lines) in enumerate(row):
            left = GAP + column * (TILE + GAP)
            page.paste(image, (left, top))
            for i, line in enumerate(lines):
                write(draw, (left, top + image.height + 2 + i * LINE), line)
        top += height
    save_image(page, path)


def fitted(image):
    scale = TILE / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size],
                        Image.Resampling.BICUBIC if scale < 4 else Image.Resampling.NEAREST)


def write(draw, place, line):
    """A line in a font that has its characters, shortened to a tile's width."""
    line, file = choose_font(line, default_font(), line.encode("ascii", "replace").decode())
    font = font_of(file, 14)
    draw.text(place, shortened(line, font, TILE), fill="black", font=font)
