"""The picture of a data set: some images of each class, with its name and how many it has."""

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mindvit.files import StrPath, save_image
from mindvit.visualize.annotate import default_font, font_of, shortened
from mindvit.visualize.fonts import choose_font

ROWS, COLUMNS, TILE = 40, 8, 120  # classes, images of each, pixels of a side
GAP, HEAD = 8, 30  # pixels between images, and for the line above them
WIDTH = COLUMNS * (TILE + GAP) + GAP


def save_samples(classes: Iterable[tuple[int, str, str, list[Image.Image]]], total: int, path: StrPath) -> None:
    """Draws a row for each class: its name, its counts, and its images, whole in squares.

    Args:
        classes (iterable): label, name, counts in words and images of each class, of which at most COLUMNS are drawn.
        total (int): classes there are; where these are more, the last line says so.
        path (str): the file to write.

    Example:
        >>> save_samples([(0, "cat", "2 training", [open_rgb("cat.jpg")])], 1, "samples.jpg")
    """
    bands = [band(*row) for row in classes]
    page = Image.new("RGB", (WIDTH, len(bands) * (HEAD + TILE + GAP) + GAP + HEAD * (len(bands) < total)), "white")
    for i, drawn in enumerate(bands):
        page.paste(drawn, (0, i * (HEAD + TILE + GAP)))
    if len(bands) < total:
        ImageDraw.Draw(page).text((GAP, page.height - HEAD + 4), f"{len(bands)} of {total:,} classes", "gray",
                                  ImageFont.load_default(16))
    save_image(page, path, quality=90)


def band(label, name, counts, images):
    """The row of one class."""
    drawn = Image.new("RGB", (WIDTH, HEAD + TILE + GAP), "white")
    draw = ImageDraw.Draw(drawn)
    small = ImageFont.load_default(14)
    right = WIDTH - GAP - draw.textlength(counts, small)
    draw.text((right, HEAD - 6), counts, "gray", small, "ls")
    line, file = choose_font(name, default_font(), f"class {label}")
    font = font_of(file, 18)
    draw.text((GAP, HEAD - 6), shortened(line, font, right - 3 * GAP), "black", font, "ls")
    for column, image in enumerate(images[:COLUMNS]):
        tile = ImageOps.pad(image, (TILE, TILE), color="#eeeeee")
        drawn.paste(tile, (GAP + column * (TILE + GAP), HEAD))
    return drawn
