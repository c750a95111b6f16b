"""Class names in scripts that the default fonts lack: their characters on the picture, or an index, never a box."""

import os
import warnings

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw, ImageFont

from mindvit import show_result
from mindvit.visualize import confusion, fonts, save_confusion

PICTURE = np.full((60, 200, 3), 255, np.uint8)
CAT = "\u732b"


def rectangle(*sides):
    """A glyph of rectangles (left, bottom, right, top); one within another the other way round is a hole."""
    pen = TTGlyphPen(None)
    for left, bottom, right, top in sides:
        pen.moveTo((left, bottom))
        for point in ((left, top), (right, top), (right, bottom)):
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()


@pytest.fixture
def system(monkeypatch):
    """The files that the system's fonts are said to be."""
    files = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    fonts.note.cache_clear()
    fonts.system_fonts.cache_clear()
    yield files
    fonts.system_fonts.cache_clear()


@pytest.fixture
def font(tmp_path):
    """A font in which the cat is a black square, ASCII a low line, and what is missing a hollow box."""
    builder = FontBuilder(1000, isTTF=True)
    glyphs = {".notdef": rectangle((50, 0, 850, 800), (750, 100, 150, 700)), "cat": rectangle((50, 0, 850, 800)),
              "low": rectangle((100, 0, 300, 50))}
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(CAT): "cat", **{code: "low" for code in range(32, 127)}})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (900, 50) for name in glyphs})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    return str(tmp_path / "cats.ttf")


def darkness(label, figure):
    """Share of dark pixels within a drawn text."""
    image = 255 - np.asarray(figure.canvas.buffer_rgba())[..., 0] / 1.0
    box = label.get_window_extent()
    return image[int(len(image) - box.y1):int(len(image) - box.y0), int(box.x0):int(box.x1)].mean() / 255


def test_a_font_of_the_system_is_found(system, font, capsys):
    system += [__file__, os.path.join(os.path.dirname(font), "gone.ttf"), font]  # no font, and one that is gone
    shown = np.asarray(show_result(PICTURE, {CAT: "x"}, text_color="black", row_width=40, font_scale=1))
    assert (shown[12:28, 6:26] == 0).all()  # 32 pixels: the square is 25 wide and ends on the base line at 29
    figure = confusion.picture(np.eye(2), [CAT, "dog"])
    FigureCanvasAgg(figure).draw()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        cat, dog = axis.get_ticklabels()
        assert [cat.get_text(), dog.get_text()] == [CAT, "dog"] and darkness(cat, figure) > 0.8
        assert dog.get_fontname() == "DejaVu Sans"
    assert capsys.readouterr().out == ""


def test_without_a_font_the_index_is_written(system, capsys):
    system.append(os.path.join(matplotlib.get_data_path(), "fonts/ttf/LastResortHE-Regular.ttf"))  # a box for anything
    for result, instead in (({f"{CAT} (3)": 0.93}, {"class 3": 0.93}), ({3: f"{CAT} x"}, {"class 3": "x"}),
                            ({f"{CAT} (3)": "x"}, {"class 3": "x"}), ({CAT: "x"}, {"(no font)": "x"}),
                            ({CAT: 0.5}, {"(no font)": 0.5}), ({f"{CAT} cat": 0.5}, {"cat": 0.5})):
        assert (np.asarray(show_result(PICTURE, result)) == np.asarray(show_result(PICTURE, instead))).all()
    three, four = (np.asarray(show_result(PICTURE, {index: CAT})) for index in (3, 4))
    assert three.std() and (three != four).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where it draws a box
        save_confusion(np.eye(3), [CAT, "dog", CAT], "out")
        figure = confusion.picture(np.eye(3), [CAT, "dog", CAT])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["class 0", "dog", "class 2"]
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "fonts-noto-cjk" in printed and printed.isascii()  # any terminal has these


@pytest.mark.parametrize("name", ["K\u00f6ln", "\u0434\u043e\u043c", "cafe\u0301"])
def test_matplotlib_brings_a_font_for_latin_and_cyrillic(system, name, capsys):
    """Pillow's own has no letter with an accent; macOS writes the accent after the letter."""
    expected = Image.fromarray(PICTURE)
    dejavu = ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 16)
    line = f"{name.replace('e' + chr(0x301), chr(0xe9))}: 1"
    ImageDraw.Draw(expected).text((2, 0), line, "green", dejavu, stroke_width=1, stroke_fill="white")
    assert (np.asarray(show_result(PICTURE, {name: 1})) == np.asarray(expected)).all()
    assert capsys.readouterr().out == ""


def test_what_the_default_font_has_asks_for_no_other(monkeypatch):
    monkeypatch.setattr(fonts, "system_fonts", lambda: 1 / 0)
    show_result(PICTURE, {"tench (0)": 0.5, "\u00a9\u2026": 1, "two": "lines\nof text"})
    confusion.picture(np.eye(2), ["tench", "K\u00f6ln"])


@pytest.mark.parametrize("classes", [2, 120, 200])
def test_many_and_long_names(system, font, classes):
    system.append(font)
    save_confusion(np.eye(classes), [CAT * 99, *(f"{CAT}{i}" for i in range(1, classes))], "out")
    assert os.path.getsize("out/confusion.png")


def test_dollars_are_no_formula():
    figure = confusion.picture(np.eye(2), ["$5 and $6", "\\frac$$"])
    FigureCanvasAgg(figure).draw()
    assert not figure.axes[0].get_yticklabels()[0].get_parse_math()
