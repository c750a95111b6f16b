"""Writing predictions on pictures."""

import os

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mindvit.data.images import open_rgb
from mindvit.files import replacing


def show_result(img, result, text_color="green", font_scale=0.5, row_width=20, show=False, out_file=None):
    """Writes one line for each item of `result` on a picture, top left, as the Vision suite does.

    Args:
        img (str, Path or array): a picture file, or RGB values (height, width, 3) in 0 to 255.
        result (dict): what to write, a line `key: value` for each item; floats with two digits.
        text_color (str or tuple): a colour name or (red, green, blue).
        font_scale (float): text size; 0.5 is 16 pixels.
        row_width (int): height of a line in pixels.
        show (bool): open the picture in the system's viewer, when no out_file is given.
        out_file (str, optional): file to write, in the format of its suffix; folders are made.

    Returns:
        PIL.Image: the annotated picture.

    Raises:
        ValueError: out_file is the picture itself, or has a suffix that is no picture format.
    """
    image = Image.fromarray(np.asarray(img, np.uint8)) if isinstance(img, np.ndarray) else open_rgb(img)
    lines = [f"{key}: {value:.2f}" if isinstance(value, float) else f"{key}: {value}" for key, value in result.items()]
    color = ImageColor.getrgb(text_color) if isinstance(text_color, str) else tuple(text_color)
    font = ImageFont.load_default(32 * font_scale)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((2, i * row_width), line, fill=color, font=font, stroke_width=1, stroke_fill="white")
    if out_file:
        if not isinstance(img, np.ndarray) and os.path.exists(out_file) and os.path.samefile(img, out_file):
            raise ValueError(f"out_file {out_file} is the picture itself; name another file")
        with replacing(out_file) as temporary:
            image.save(temporary)
    elif show:
        image.show()
    return image
