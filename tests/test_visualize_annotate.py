"""Results on a copy of the picture: lines on it, or bars that hide nothing of it."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFont

from mindvit import show_result
from mindvit.visualize import annotate


def test_show_result_writes_a_line_an_item():
    picture = np.full((120, 200, 3), 90, np.uint8)
    annotated = np.asarray(show_result(picture, {"236": "Doberman", "tench": 0.123}, out_file="out/a.png"), int)
    rows = np.flatnonzero((annotated != 90).any((1, 2)))
    assert rows.max() < 40 and (rows < 20).any() and (rows >= 20).any()  # two lines of 20 pixels
    assert (np.asarray(Image.open("out/a.png")) == annotated).all() and (picture == 90).all()
    one = np.asarray(show_result(picture, {"tench": 1.234}), int)
    assert (one == np.asarray(show_result(picture, {"tench": "1.23"}), int)).all()


def parts(annotated, width, height):
    """A picture of this size, enlarged by a whole number, in an annotated one, and the bars below or beside it."""
    times = max(1, round(320 / max(width, height)))
    width, height = width * times, height * times
    if height > 2 * width:
        return annotated[:height, :width], annotated[:, width:]
    left = (annotated.shape[1] - width) // 2
    return annotated[:height, left:left + width], annotated[height:]


def lengths(annotated, count, color):
    """The lengths of the bars of a color."""
    rows = (annotated == color).all(2).sum(1)
    edges = np.flatnonzero(np.diff((rows > 0).astype(int)))
    starts, ends = edges[::2] + 1, edges[1::2] + 1
    assert len(starts) == len(ends) == count
    return [int(rows[start]) for start in starts]  # above the letters


@pytest.mark.parametrize("size", [(8, 8), (96, 64), (640, 480), (1500, 2000), (8000, 6000), (4000, 60), (60, 4000)])
def test_probabilities_are_bars_that_hide_nothing(size):
    picture = np.random.default_rng(0).integers(0, 128, (*size[::-1], 3), np.uint8)
    shares = {"tench (0)": 0.5, "goldfish (1)": np.float32(0.25), "猫 (2)": 0.05, "none (3)": 0.0}
    annotated = np.asarray(show_result(picture, shares, text_color=(1, 131, 1)))
    found, bars = parts(annotated, *size)
    assert (found == np.asarray(Image.fromarray(picture).resize(found.shape[1::-1], 0))).all()
    first, second, third = lengths(bars, 3, (141, 199, 141))
    white = (bars == 255).all(2).sum(1).max()  # the row of the share 0 above its letters
    assert [first, second, third] == pytest.approx([white / 2, white / 4, white / 20], abs=2)
    assert np.ptp(np.flatnonzero((bars < 10).all(2).any(0))) > 0.6 * white  # names left, shares right


@pytest.mark.parametrize("size, text", [((8, 8), 14), ((700, 500), 14), ((8000, 6000), 160), ((4000, 60), 80)])
def test_the_text_follows_the_pictures_size(size, text, monkeypatch):
    sizes = []
    monkeypatch.setattr(annotate, "font_of", lambda file, size: sizes.append(size) or ImageFont.load_default(size))
    show_result(np.zeros((*size[::-1], 3), np.uint8), {"tench": 0.5})
    show_result(np.zeros((*size[::-1], 3), np.uint8), {"tench": 0.5}, font_scale=1)
    assert sizes == [text, 2 * text]


def test_what_is_no_probability_is_a_line():
    picture = np.full((100, 400, 3), 255, np.uint8)
    for value in (1, True, 1.2, -0.1, float("nan"), "0.5", np.int64(1)):
        assert show_result(picture, {"tench": 0.5, "goldfish": value}).size == (400, 100)
    assert show_result(picture, {}).size == (400, 100)
    assert show_result(picture, {7: 1.0}).height > 100


def test_many_and_long_names_stay_in_their_bars():
    picture = np.zeros((300, 500, 3), np.uint8)
    name = "Shih-Tzu, Chinese lion dog, chrysanthemum dog " * 9
    for index in ("", " (155)", " (155) 0.934"):
        drawn = np.asarray(show_result(picture, {name + index: 0.0}))[300:]
        between = drawn[:, -54:-44]  # the name and its share
        assert (between[between.shape[0] // 2] == 255).all()
        font = ImageFont.load_default(14)
        line = annotate.shortened(name + index, font, 300)
        assert line.startswith("Shih-Tzu, ") and line.endswith(f"...{index}") and 270 < font.getlength(line) <= 300
    assert annotate.shortened("tench (0)", font, 300) == "tench (0)"
    heights = [show_result(picture, {str(i): 0.01 for i in range(count)}).height for count in (20, 21, 1000)]
    assert heights[0] < heights[1] == heights[2]  # and 1 more, and 980 more
    one = np.asarray(show_result(picture, {"two\n lines": 0.5}))
    assert (one == np.asarray(show_result(picture, {"two lines": 0.5}))).all()


def test_show_result_never_writes_over_the_picture(capsys):
    """The last line of the suite's example is show_result(img=image, result=result, out_file=image)."""
    os.mkdir("out")
    Image.fromarray(np.full((120, 200, 3), 90, np.uint8)).save("out/a.png")
    before = pathlib.Path("out/a.png").read_bytes()
    for name in ("a_annotated.png", "a_annotated-2.png"):
        shown = show_result("out/a.png", {0: "tench"}, out_file="out/../out/a.png")
        assert capsys.readouterr().out == f"out/a.png stays as it is; the annotated copy is out/../out/{name}\n"
        assert (np.asarray(Image.open(f"out/{name}")) == np.asarray(shown)).all() and np.asarray(shown).std()
    assert pathlib.Path("out/a.png").read_bytes() == before
    assert sorted(os.listdir("out")) == ["a.png", "a_annotated-2.png", "a_annotated.png"]


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (4000, 20), (1, 65500), (70_000, 2)])
def test_show_result_on_odd_sizes(size):
    picture = np.zeros((*size[::-1], 3), np.uint8)
    assert show_result(picture, {"a long name " * 9: "sure"}).size == size
    width, height = show_result(picture, {"a long name " * 9: 1.0}).size
    assert 320 <= max(width, height) <= 8192 and min(width, height) > 20


def test_show_result_names_the_users_file():
    """Pillow named the temporary file's suffix."""
    with pytest.raises(ValueError, match="out_file result has no suffix of a picture format; name it result.jpg"):
        show_result(np.zeros((4, 4, 3), np.uint8), {0: "a"}, out_file="result")
