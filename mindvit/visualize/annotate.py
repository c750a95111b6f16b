"""Predictions on pictures: lines of text on them, or bars with names below or beside them."""

import functools
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mindvit.data.images import open_rgb
from mindvit.files import StrPath, numbered, save_image
from mindvit.visualize.fonts import choose_font

# Pixels of the longer side of a picture with bars: a smaller one is enlarged, a larger one reduced.
LEAST_SIDE, LONGEST_SIDE = 320, 8192
MOST_BARS, LONGEST_NAME = 20, 200  # bars, and characters of a name
LEAST_TEXT, SHARE = 14, 50  # the text's pixels: at least, and how often they go into the longer side
WIDTH, HEIGHT = 26, 1.7  # of the bars and of one of them, in text sizes
PAGE = "#e0e0e0"  # where white pictures end too


def show_result(img: StrPath | np.ndarray, result: Mapping[int, object] | Mapping[str, object],
                text_color: str | tuple[int, int, int] = "green", font_scale: float = 0.5, row_width: int = 20,
                show: bool = False, out_file: StrPath | None = None) -> Image.Image:
    """Draws predictions: probabilities as bars, anything else as lines on the picture, as the Vision suite does.

    Where all values are floats from 0 to 1, each is a bar with its key on it, below the picture, or beside it where it
    is tall, so that nothing of it is hidden; of more than 20 the first are drawn. The text's size follows the
    picture's, of which a small one is enlarged and one of more than 8192 pixels reduced. Else a line `key: value` for
    each item is written on the picture, top left.

    Characters that the default font lacks are written with one of the system's fonts that has them; where none has,
    the class's index is written, and a note says once what to install.

    Args:
        img (str, Path or array): a picture file, or RGB values (height, width, 3) in 0 to 255.
        result (dict): what to draw; in lines floats have two digits.
        text_color (str or tuple): a colour name or (red, green, blue), of the lines or the bars.
        font_scale (float): text size; 0.5 is 16 pixels in lines, a fiftieth of the picture's longer side in bars.
        row_width (int): height of a line in pixels.
        show (bool): open the picture in the system's viewer, when no out_file is given.
        out_file (str, optional): file to write, in the format of its suffix; folders are made. The picture itself is
            never written over: for `cat.jpg` the copy is `cat_annotated.jpg` beside it, and a line says so.

    Returns:
        PIL.Image: the annotated picture.

    Raises:
        ValueError: out_file has a suffix that is no picture format.

    Example:
        >>> show_result("cat.jpg", {281: "tabby"}, out_file="annotated/cat.jpg").mode
        'RGB'
        >>> drawn = show_result("cat.jpg", {"tabby (281)": 0.93, "tiger cat (282)": 0.04})
    """
    if out_file and pathlib.Path(out_file).suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"out_file {out_file} has no suffix of a picture format; name it {out_file}.jpg, for example")
    image = Image.fromarray(np.asarray(img, np.uint8)) if isinstance(img, np.ndarray) else open_rgb(img)
    color = ImageColor.getrgb(text_color)[:3] if isinstance(text_color, str) else tuple(text_color)
    if result and all(isinstance(value, float | np.floating) and 0 <= value <= 1 for value in result.values()):
        image = with_bars(image, result, color, font_scale)
    else:
        write_lines(image, result, color, 32 * font_scale, row_width)
    if out_file:
        same = not isinstance(img, np.ndarray) and os.path.exists(out_file) and os.path.samefile(img, out_file)
        target = copy_beside(pathlib.Path(out_file)) if same else out_file
        save_image(image, target)
        if same:
            print(f"{img} stays as it is; the annotated copy is {target}", flush=True)
    elif show:
        image.show()
    return image


def write_lines(image, result, color, size, height):
    """Writes a line `key: value` for each item on a picture, top left."""
    draw = ImageDraw.Draw(image)
    for i, (key, value) in enumerate(result.items()):
        key, value = str(key), f"{value:.2f}" if isinstance(value, float) else str(value)
        line, file = choose_font(f"{key}: {value}", default_font(), without_name(key, value))
        draw.text((2, i * height), line, fill=color, font=font_of(file, size), stroke_width=1, stroke_fill="white")


def with_bars(image, result, color, scale):
    """A picture with bars for the items of `result` below it, or beside it where it is tall."""
    if max(image.size) < LEAST_SIDE:
        times = round(LEAST_SIDE / max(image.size))
        image = image.resize([side * times for side in image.size], Image.Resampling.NEAREST)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    size = max(LEAST_TEXT, max(image.size) / SHARE) * 2 * scale
    beside = image.height > 2 * image.width
    width = round(WIDTH * size) if beside else max(round(WIDTH * size), image.width)
    bars = draw_bars(result, width, size, color)
    page = Image.new("RGB", (image.width + width, max(image.height, bars.height)) if beside else
                     (width, image.height + bars.height), PAGE)
    page.paste(image, (0, 0) if beside else ((width - image.width) // 2, 0))
    page.paste(bars, (image.width, 0) if beside else (0, image.height))
    return page


def draw_bars(result, width, size, color):
    """The picture of the bars: each name on its bar, and its share at the right."""
    items, left = list(result.items())[:MOST_BARS], max(0, len(result) - MOST_BARS)
    height, gap, space = round(HEIGHT * size), round(size / 2), round(size / 4)
    page = Image.new("RGB", (width, (len(items) + bool(left)) * height + gap + space), PAGE)
    draw, small = ImageDraw.Draw(page), ImageFont.load_default(size)
    light = tuple(round(255 - 0.45 * (255 - channel)) for channel in color)  # black text reads on it
    for i, (key, value) in enumerate(items):
        top, bottom, right = gap + i * height, gap + (i + 1) * height - space, width - gap
        base, share = (top + bottom) / 2 + 0.36 * size, f"{value:.1%}"
        draw.rectangle((gap, top, right, bottom), "white")
        if value:
            draw.rectangle((gap, top, gap + max(1, round(float(value) * (right - gap))), bottom), light)
        draw.text((right - gap, base), share, "black", small, "rs")
        key = " ".join(str(key).split())
        line, file = choose_font(key, default_font(), without_name(key, ""))
        font = font_of(file, size)
        line = shortened(line, font, right - 5 * gap - draw.textlength(share, small))
        draw.text((2 * gap, base), line, "black", font, "ls")
    if left:
        draw.text((2 * gap, gap + len(items) * height + size), f"and {left:,} more", "gray", small, "ls")
    return page


def shortened(line, font, width):
    """A line that is no wider than this; the index in brackets behind a name stays, and its share behind that."""
    name, index = re.fullmatch(r"(.*?)( \(\d+\)(?: [\d.]+)?)?", line, re.DOTALL).groups("")
    name = name[:LONGEST_NAME]
    while name and font.getlength(line) > width:
        name = name[:-1]
        line = f"{name.rstrip()}...{index}"
    return line


@functools.cache
def default_font():
    """The file of Pillow's font."""
    file = ImageFont.load_default().path
    file.seek(0)
    return file


def font_of(file, size):
    """A font that `choose_font` chose."""
    return ImageFont.load_default(size) if file is default_font() else ImageFont.truetype(file, size)


def without_name(key, value):
    """The line `key: value` without what no font can write: `class 3: 0.93` for 猫 (3), else what is ASCII in it."""
    index = re.search(r"(?:^|\()(\d+)\)?$", key)
    key, value = (re.sub("[^ -~]+", " ", text).strip() for text in (f"class {index[1]}" if index else key, value))
    return f"{key or '(no font)'}: {value}" if value else key or "(no font)"


def copy_beside(file):
    """`cat_annotated.jpg` for cat.jpg, or the first of `cat_annotated-2.jpg` and so on that is not there."""
    return next(path for path in numbered(file.with_name(f"{file.stem}_annotated"), file.suffix) if not path.exists())
