"""Overlays: that a map stands where the network saw it."""

import numpy as np
import pytest
from PIL import Image

from mindvit import Preprocessing, overlay, prepare_image
from mindvit.preprocessing import seen_box
from mindvit.visualize.overlay import save_sheet


@pytest.mark.parametrize("options, size", [
    ({}, 32), ({}, (32, 48)), ({"resizer": "pillow", "interpolation": "bicubic"}, 32), ({"resize_mode": "squash"}, 32),
    ({"resizer": "pillow"}, (32, 48)), ({"resizer": "pillow", "resize_mode": "border", "crop_fraction": 1.0}, 32)])
@pytest.mark.parametrize("shape", [(300, 200), (90, 400), (64, 64)])
def test_the_seen_box_is_what_preparation_keeps(options, size, shape):
    """Columns and rows that count up: the first and last of the prepared image are those of the box, half a resized
    pixel more or less."""
    preprocessing = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), **options)
    left, top, right, bottom = seen_box(*shape, size, preprocessing)
    for axis, (first, last) in enumerate(((top, bottom), (left, right))):
        ramp = np.linspace(20, 235, shape[axis])
        pixels = np.broadcast_to(ramp[:, None] if axis == 0 else ramp[None], shape).round().astype(np.uint8)
        seen = prepare_image(Image.fromarray(pixels).convert("RGB"), size, preprocessing)[0].max(1 - axis)
        inside = seen[seen > 15 / 255] * 255  # borders are 0
        pixel = (last - first) / len(seen)  # of the prepared image, in pixels of the original
        found = np.interp([inside[0], inside[-1]], ramp, np.arange(shape[axis]) + 0.5)
        for place, edge in zip(found, (max(first, 0) + pixel / 2, min(last, shape[axis]) - pixel / 2)):
            assert abs(place - edge) < 0.75 * pixel + 1.5


def test_a_map_lights_up_the_patches_it_names():
    values = np.zeros((4, 8))
    values[1, 6] = 3.0
    drawn = np.asarray(overlay(Image.new("RGB", (800, 400), "gray"), values), float).sum(2)
    patches = drawn.reshape(4, 100, 8, 100).mean((1, 3))
    assert patches.argmax() == 1 * 8 + 6 and drawn.shape == (400, 800)
    plain = overlay(Image.new("RGB", (8, 8), "gray"), np.ones((2, 2)))
    assert plain.size == (448, 448) and len(plain.getcolors()) == 1  # a map without differences: no division by zero


def test_a_sheet_holds_images_of_any_shape_and_texts_of_any_script():
    wide, high = Image.new("RGB", (2000, 3), "red"), Image.new("RGB", (3, 2000), "blue")
    save_sheet([[(wide, ["a" * 200, "\u732b"])], [(high, []), (wide, ["b"])]], "sheet.png")
    page = np.asarray(Image.open("sheet.png"))
    assert (page == [255, 0, 0]).all(2).any() and (page == [0, 0, 255]).all(2).any()
    assert (page[:, -5:] == 255).all()  # the long text ends before the edge
