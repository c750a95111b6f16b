"""Results written on a copy of the picture."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from mindvit import show_result


def test_show_result_writes_a_line_an_item():
    picture = np.full((120, 200, 3), 90, np.uint8)
    annotated = np.asarray(show_result(picture, {"236": "Doberman", "tench": 0.123}, out_file="out/a.png"), int)
    rows = np.flatnonzero((annotated != 90).any((1, 2)))
    assert rows.max() < 40 and (rows < 20).any() and (rows >= 20).any()  # two lines of 20 pixels
    assert (np.asarray(Image.open("out/a.png")) == annotated).all() and (picture == 90).all()
    one = np.asarray(show_result(picture, {"tench": 0.123}), int)
    assert (one == np.asarray(show_result(picture, {"tench": "0.12"}), int)).all()


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


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (4000, 20)])
def test_show_result_on_odd_sizes(size):
    assert show_result(np.zeros((*size[::-1], 3), np.uint8), {"a long name " * 9: 1.0}).size == size


def test_show_result_names_the_users_file():
    """Pillow named the temporary file's suffix."""
    with pytest.raises(ValueError, match="out_file result has no suffix of a picture format; name it result.jpg"):
        show_result(np.zeros((4, 4, 3), np.uint8), {0: "a"}, out_file="result")
