"""The picture of a training: loss and accuracy by epoch."""

from collections.abc import Mapping, Sequence

from mindvit.files import StrPath, replacing

CURVES = (("loss", {"train_loss": "training (smoothed labels)", "val_loss": "validation"}),
          ("accuracy", {"train_Top_1_Accuracy": "top-1, training (augmented)", "Top_1_Accuracy": "top-1, validation",
                        "Top_5_Accuracy": "top-5, validation"}))


def save_curves(rows: Sequence[Mapping[str, float]], path: StrPath) -> None:
    """Draws loss and accuracy by epoch.

    Args:
        rows (list[dict]): one row an epoch with `epoch` and any of the columns of metrics.csv.
        path (str): the PNG file to write.

    Example:
        >>> save_curves([{"epoch": 1, "train_loss": 2.3}, {"epoch": 2, "train_loss": 1.9}], "curves.png")
    """
    from matplotlib.figure import Figure  # takes long to import, and without pyplot no display is needed

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(1, 2), CURVES):
        for column, label in columns.items():
            points = [(row["epoch"], row[column]) for row in rows if column in row]
            if points:
                axes.plot(*zip(*points), marker=".", label=f"{label}: {points[-1][1]:.3f}")
        axes.set(title=title, xlabel="epoch", xlim=(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
