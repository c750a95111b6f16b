"""Writing predictions on pictures."""

import functools
import itertools
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mindvit.data.images import open_rgb
from mindvit.files import StrPath, replacing
from mindvit.visualize.fonts import choose_font


def show_result(img: StrPath | np.ndarray, result: Mapping[int, object] | Mapping[str, object],
                text_color: str | tuple[int, int, int] = "green", font_scale: float = 0.5, row_width: int = 20,
                show: bool = False, out_file: StrPath | None = None) -> Image.Image:
    """Writes one line for each item of `result` on a picture, top left, as the Vision suite does.

    Characters that the default font lacks are written with one of the system's fonts that has them; where none has,
    the class's index is written, and a note says once what to install.

    Args:
        img (str, Path or array): a picture file, or RGB values (height, width, 3) in 0 to 255.
        result (dict): what to write, a line `key: value` for each item; floats with two digits.
        text_color (str or tuple): a colour name or (red, green, blue).
        font_scale (float): text size; 0.5 is 16 pixels.
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
    """
    if out_file and pathlib.Path(out_file).suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"out_file {out_file} has no suffix of a picture format; name it {out_file}.jpg, for example")
    image = Image.fromarray(np.asarray(img, np.uint8)) if isinstance(img, np.ndarray) else open_rgb(img)
    color = ImageColor.getrgb(text_color) if isinstance(text_color, str) else tuple(text_color)
    size, draw = 32 * font_scale, ImageDraw.Draw(image)
    for i, (key, value) in enumerate(result.items()):
        key, value = str(key), f"{value:.2f}" if isinstance(value, float) else str(value)
        line, file = choose_font(f"{key}: {value}", default_font(), without_name(key, value))
        font = ImageFont.load_default(size) if file is default_font() else ImageFont.truetype(file, size)
        draw.text((2, i * row_width), line, fill=color, font=font, stroke_width=1, stroke_fill="white")
    if out_file:
        same = not isinstance(img, np.ndarray) and os.path.exists(out_file) and os.path.samefile(img, out_file)
        target = copy_beside(pathlib.Path(out_file)) if same else out_file
        with replacing(target) as temporary:
            image.save(temporary)
        if same:
            print(f"{img} stays as it is; the annotated copy is {target}", flush=True)
    elif show:
        image.show()
    return image


@functools.cache
def default_font():
    """The file of Pillow's font."""
    file = ImageFont.load_default().path
    file.seek(0)
    return file


def without_name(key, value):
    """The line `key: value` without what no font can write: `class 3: 0.93` for 猫 (3), else what is ASCII in it."""
    index = re.search(r"(?:^|\()(\d+)\)?$", key)
    key, value = (re.sub("[^ -~]+", " ", text).strip() for text in (f"class {index[1]}" if index else key, value))
    return f"{key or '(no font)'}: {value}" if value else key or "(no font)"


def copy_beside(file):
    """`cat_annotated.jpg` for cat.jpg, or the first of `cat_annotated-2.jpg` and so on that is not there."""
    ends = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
    return next(path for path in (file.with_name(f"{file.stem}_annotated{end}{file.suffix}") for end in ends)
                if not path.exists())
