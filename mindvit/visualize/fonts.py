"""Fonts that have the characters of a text: class names come in every script, a default font has few."""

import functools
import re
import unicodedata

from PIL import ImageFont

EMPTY = re.compile("last.?resort|blank|notdef", re.IGNORECASE)  # fonts with a box or nothing for every character
STYLED = re.compile("bold|italic|oblique|black|light|thin|mono|condensed", re.IGNORECASE)


def choose_font(text, default, substitute):
    """Finds a font with every character of a text; where there is none, the substitute is to be written instead.

    Args:
        text (str): what to write.
        default (str or file): the font that is taken if it will do.
        substitute (str): of characters that the default font has.

    Returns:
        (str, str or file): what to write, and the font: `default`, or a file among the system's fonts.
    """
    text = unicodedata.normalize("NFC", text)  # macOS takes file names apart: an e and an accent
    if text.isascii() and text.isprintable():
        return text, default
    needed = {ord(character) for character in text} - {ord("\n")}
    if needed <= characters(default):
        return text, default
    for file in system_fonts():
        if needed <= characters(file):
            return text, file
    note()
    return substitute, default


@functools.cache
def system_fonts():
    """Files of matplotlib's own font and of the system's, upright ones of regular weight first."""
    from matplotlib import font_manager  # takes long to import; its list of names may be older than a new font

    files = [file for file in font_manager.findSystemFonts() if not EMPTY.search(file)]
    return [font_manager.findfont("DejaVu Sans"), *sorted(files, key=lambda file: (bool(STYLED.search(file)), file))]


@functools.cache
def characters(file):
    """Code points that a font has, none if it can't be drawn at any size."""
    from fontTools.ttLib import TTFont

    try:
        ImageFont.truetype(file, 16)
        with TTFont(file, fontNumber=0, lazy=True) as font:
            return {code for code, glyph in font.getBestCmap().items() if glyph != ".notdef"}
    except Exception:  # a damaged font raises nearly anything; the next one may do
        return set()


@functools.cache
def note():
    """Says once a process what to install."""
    print("names have characters that no font on this computer has; indices are written for them; install a font that "
          "has them, such as the package fonts-noto-cjk", flush=True)
