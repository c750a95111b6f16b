"""The picture of a data set's classes: its images whole, its rows few."""

import numpy as np
from PIL import Image

from mindvit.visualize.samples import COLUMNS, GAP, HEAD, TILE, WIDTH, save_samples

RED, BLUE = (250, 0, 0), (0, 0, 250)


def test_images_stand_whole_in_their_squares():
    wide = Image.new("RGB", (2 * TILE, TILE), RED)
    save_samples([(0, "cat " * 60, "9 training, 2 validation", [wide] * 20), (7, "\u732b", "1 training", [])], 2,
                 "samples.png")
    page = np.asarray(Image.open("samples.png"))
    assert page.shape == (2 * (HEAD + TILE + GAP) + GAP, WIDTH, 3)
    red = (page == RED).all(2)
    assert red.sum() == COLUMNS * TILE * TILE // 2
    assert red[HEAD + TILE // 4:HEAD + TILE // 4 * 3, GAP:GAP + TILE].all()
    for top in (0, HEAD + TILE + GAP):  # a name and counts; and between the two nothing
        dark = (page[top:top + HEAD] < 200).all(2).any(0)
        assert dark[:60].any() and dark[-40:].any() and dark[-40 * 6:].sum() < 240


def test_more_classes_than_rows_are_told():
    for total, rest in ((1, 0), (1000, HEAD)):
        save_samples([(0, "cat", "", [Image.new("RGB", (9, 300), BLUE)])], total, "samples.jpg")
        assert Image.open("samples.jpg").size == (WIDTH, HEAD + TILE + 2 * GAP + rest)
