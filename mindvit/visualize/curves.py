"""The picture of one training or several: loss and accuracy by epoch."""

import csv
import io
import itertools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

from mindvit.files import StrPath, check_writable, claimed, numbered, replacing
from mindvit.visualize.fonts import choose_font

# What is drawn of metrics.csv, the most important first.
CURVES = (("loss", {"val_loss": "validation", "train_loss": "training (smoothed labels)"}),
          ("accuracy", {"Top_1_Accuracy": "top-1, validation", "train_Top_1_Accuracy": "top-1, training (augmented)",
                        "Top_5_Accuracy": "top-5, validation"}))
COLUMNS = [column for _, columns in CURVES for column in columns]
LINES = ("-", "--", ":")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")
LONGEST_NAME = 40  # characters of a run's name


def save_curves(rows: Sequence[Mapping[str, float]], path: StrPath) -> None:
    """Draws loss and accuracy by epoch.

    Args:
        rows (list[dict]): one row an epoch with `epoch` and any of the columns of metrics.csv.
        path (str): the PNG file to write.

    Example:
        >>> save_curves([{"epoch": 1, "train_loss": 2.3}, {"epoch": 2, "train_loss": 1.9}], "curves.png")
    """
    with replacing(path) as temporary:
        picture({"": rows}).savefig(temporary, dpi=120)


def plot_curves(runs: Sequence[StrPath], out: StrPath) -> pathlib.Path:
    r"""Draws loss and accuracy by epoch of several runs on one picture, a colour for each run.

    A column that one run has not and another has is left out for the one, and a line says so.

    Args:
        runs (list of str): run folders, or metrics.csv files.
        out (str): the picture to write, .png, .jpg, .webp, .svg or .pdf.

    Returns:
        Path of the picture: `out`, or with -2, -3 and so on before its suffix where that is there already.

    Raises:
        FileNotFoundError: a folder has no metrics.csv.
        OSError: the picture cannot be written.
        ValueError: there is no run, one is given twice, its metrics.csv has no epoch or is none, or `out` is no
            picture.

    Example:
        >>> for name, losses in (("a", "1,2.3\n2,1.2"), ("b", "1,1.9")):
        ...     with open(f"{name}.csv", "w") as file:
        ...         print("epoch,val_loss", losses, sep="\n", file=file)
        >>> plot_curves(["a.csv", "b.csv"], "both.png").name
        'both.png'
    """
    if pathlib.Path(out).suffix.lower() not in PICTURES:
        raise ValueError(f"out is {out}; name a picture, for example {out}.png")
    check_writable(out)
    rows = read_runs(runs)
    drawn = {column for run in rows.values() for column in run[0]}
    for name, run in rows.items():
        if lacking := [column for column in COLUMNS if column in drawn - run[0].keys()]:
            print(f"{name} has no {', '.join(lacking)}; it is drawn without", flush=True)
    buffer = io.BytesIO()  # as in `save_image`, for matplotlib's .jpg are Pillow's
    picture(rows).savefig(buffer, format=pathlib.Path(out).suffix[1:], dpi=120)
    with claimed(numbered(*os.path.splitext(out))) as path, replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return path


def read_runs(runs):
    """{name: rows} of run folders and metrics.csv files, in which no name stands twice."""
    if not runs:
        raise ValueError("there is no run to draw; give run folders")
    files = [os.path.join(run, "metrics.csv") if os.path.isdir(run) else os.fspath(run) for run in runs]
    real = [os.path.realpath(file) for file in files]
    for run, file in zip(runs, real):
        if real.count(file) > 1:
            raise ValueError(f"{run} is given twice; name each run once")
    # as many folders of the path as tell the runs apart
    paths = [pathlib.Path(os.path.abspath(file)) for file in files]
    parts = [(path.parent if path.name == "metrics.csv" else path).parts for path in paths]
    names = next(names for count in itertools.count(1)
                 if len({*(names := ["/".join(part[-count:]) for part in parts])}) == len(parts))
    return {name: read_metrics(run, file) for name, run, file in zip(names, runs, files)}


def read_metrics(run, file):
    """The rows of a run's metrics.csv, floats by column."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{run} has no metrics.csv, which mindvit train writes after the first epoch"
                                if os.path.isdir(run) else f"there is no run {run}; name a run folder")
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            lines = list(csv.DictReader(opened))
    except (UnicodeDecodeError, csv.Error):
        lines = [{}]
    if not lines:
        raise ValueError(f"{file} has no epoch yet; leave the run out")
    if "epoch" not in lines[0] or not {*COLUMNS} & lines[0].keys():
        raise ValueError(f"{file} is no metrics.csv of mindvit train: it has not the column epoch and one of "
                         f"{', '.join(COLUMNS)}")
    rows = []
    for number, line in enumerate(lines, 2):
        rows.append({})
        for column in ("epoch", *COLUMNS):
            if (value := line.get(column, "")) != "":
                try:
                    rows[-1][column] = float(value)
                    if column == "epoch" and not math.isfinite(rows[-1][column]):
                        raise ValueError
                except (TypeError, ValueError):
                    raise ValueError(f"{file}, line {number}: {column} is {value!r}, which is no number") from None
        if "epoch" not in rows[-1]:
            raise ValueError(f"{file}, line {number}, has no epoch")
    return rows


def picture(runs):
    """The matplotlib Figure of {name: rows}: of one run with a colour for each column; of several with a colour for
    each run, a line style for each column, and below it the runs' last values of the most important column."""
    from matplotlib import colormaps  # takes long to import, and without pyplot no display is needed
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    several, count = len(runs) > 1, len(runs)
    colors = colormaps["tab10"].colors if count <= 10 else colormaps["turbo"]([i / count for i in range(count)])
    epochs = [row["epoch"] for rows in runs.values() for row in rows]
    figure = Figure(figsize=(10, 4.8 + 0.2 * count if several else 4), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(1, 2), CURVES):
        last, styles = {}, {}
        for number, (name, rows) in enumerate(runs.items()):
            for place, (column, word) in enumerate(columns.items()):
                if points := [(row["epoch"], row[column]) for row in rows if column in row]:
                    color, style = (number, LINES[place]) if several else (place, "-")
                    axes.plot(*zip(*points), marker=".", color=colors[color], linestyle=style,
                              alpha=0.6 if several and place else 1)
                    last.setdefault(name if several else word, (colors[color], points[-1][1]))
                    styles[word] = Line2D([], [], color="gray", linestyle=style)
        axes.set(title=title, xlabel="epoch", xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        entries = {f"{shown(name)}: {value:.3f}": Line2D([], [], color=color, marker=".")
                   for name, (color, value) in last.items()}
        if entries:
            below = {"loc": "upper left", "bbox_to_anchor": (0, -0.13), "frameon": False}
            write_legend(axes, entries | styles if several else entries, **(below if several else {}))
    return figure


def shown(name):
    """A run's name, of a long one the end."""
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME:]}"


def write_legend(axes, entries, **options):
    """The legend of {text: line}, each text in a font that has its characters."""
    from matplotlib.font_manager import FontProperties, findfont

    default = findfont(FontProperties())
    texts, fonts = zip(*(choose_font(text, default, f"run {i}") for i, text in enumerate(entries, 1)))
    legend = axes.legend(list(entries.values()), texts, **options)
    for label, font in zip(legend.get_texts(), fonts):
        label.set_parse_math(False)
        if font != default:
            label.set_font(FontProperties(fname=font, size=label.get_size()))
