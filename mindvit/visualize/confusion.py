"""The confusion matrix as JSON, CSV and a picture."""

import csv
import pathlib
from collections.abc import Sequence

import numpy as np

from mindvit.files import StrPath, replacing, write_json
from mindvit.visualize.fonts import choose_font

LONGEST_NAME = 24  # characters in the picture
WITH_COUNTS, WITH_NAMES = 20, 120  # classes up to which the picture has them


def save_confusion(confusion: np.ndarray | Sequence[Sequence[int]], names: Sequence[str], folder: StrPath) -> None:
    """Writes confusion.json, confusion.csv and confusion.png; rows are the true classes, columns the predicted ones.

    Args:
        confusion (array): counts (num_classes, num_classes).
        names (list[str]): of the classes.
        folder (str): where to write.

    Example:
        >>> save_confusion([[9, 1], [2, 8]], ["cat", "dog"], "confusion")
    """
    folder, counts = pathlib.Path(folder), np.asarray(confusion)
    write_json({"classes": list(names), "rows": "true", "columns": "predicted", "counts": counts.tolist()},
               folder / "confusion.json")
    with replacing(folder / "confusion.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *names])
        writer.writerows([name, *row] for name, row in zip(names, counts.tolist()))
    with replacing(folder / "confusion.png") as path:
        picture(counts, names).savefig(path, dpi=120)


def picture(counts, names):
    """The matplotlib Figure: each row as shares of its class's images, blue where they are many."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont

    classes = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(4.0, 0.45 * classes if classes <= WITH_COUNTS else 0.17 * classes), 20.0)  # inches
    figure = Figure(figsize=(side + 3.0, side + 2.0), layout="constrained")
    axes = figure.subplots()
    light = LinearSegmentedColormap.from_list("light", ["white", "#9ecae1", "#4292c6"])  # black text reads on each
    # the square root shows one mistake of a hundred images too
    image = axes.imshow(shares, cmap=light, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, label="share of the class's images", shrink=0.6)
    axes.set(xlabel="predicted", ylabel="true")
    if classes <= WITH_NAMES:
        short = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME - 3]}..." for name in names]
        size = 9 if classes <= WITH_COUNTS else 7
        default = findfont(FontProperties())
        texts, fonts = zip(*(choose_font(name, default, f"class {i}") for i, name in enumerate(short)))
        for axis, rotation in ((axes.xaxis, 90), (axes.yaxis, 0)):
            axis.set_ticks(range(classes), texts, rotation=rotation, fontsize=size, parse_math=False)
            for label, font in zip(axis.get_ticklabels(), fonts):
                if font != default:
                    label.set_font(FontProperties(fname=font, size=size))
    if classes <= WITH_COUNTS:
        for row, column in zip(*np.nonzero(counts)):
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=8)
    return figure
