"""The picture of a confusion matrix."""

import json
import pathlib

import numpy as np
import pytest

from mindvit.visualize.confusion import picture, save_confusion


@pytest.mark.parametrize("classes", [2, 100, 1000])
def test_the_picture_of_a_matrix_stays_readable(classes):
    names = [f"a class with a very long name indeed, number {i}" for i in range(classes)]
    figure = picture(np.eye(classes, dtype=int) * 7, names)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert max(figure.get_size_inches()) <= 25 and min(figure.get_size_inches()) >= 4
    if classes <= 100:
        assert labels == ["a class with a very l..."] * classes
    counts = np.arange(classes**2).reshape(classes, classes) % 5
    save_confusion(counts, names, "out")
    assert json.loads(pathlib.Path("out/confusion.json").read_text())["counts"] == counts.tolist()
