"""Trains mindvit/digits.ckpt: MNIST by its recipe, then two epochs of MNIST and the packaged digits together.

python -m benchmarks.packaged_digits --folder FOLDER

Where FOLDER is that of `benchmarks.learning`, its first training on MNIST is taken.
"""

import argparse
import os
import pathlib
import shutil

from benchmarks import measure
from benchmarks.learning import FIRST_SEED, get_mnist, mindvit

TIMES = 10  # a packaged digit counts as often as so many of MNIST


def write_both(root, mnist):
    """Class folders of both data sets' pictures."""
    from PIL import Image

    from mindvit import Mnist, write_digits

    write_digits(root)
    for path in sorted(root.glob("train/*/*.png")):
        for i in range(1, TIMES):
            os.link(path, path.with_stem(f"{path.stem}-{i}"))
    for split in ("train", "val"):
        data = Mnist(mnist, split)
        for i, label in enumerate(data.labels):
            Image.fromarray(data.images[i]).save(root / split / str(label) / f"mnist-{i:05d}.png")
    return root


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for the data and the runs")
    folder = parser.parse_args(words).folder.resolve()
    mnist, first = get_mnist(folder / "mnist"), folder / f"mnist-{FIRST_SEED}"
    if not (first / "metrics.json").exists():
        mindvit("train", "--recipe", "mnist", "--data.root", mnist, "--train.seed", FIRST_SEED, "--out", first)
    both = folder / "both"
    if not both.exists():
        write_both(both, mnist)
    run = folder / "packaged"
    mindvit("train", "--recipe", "mnist", "--data.root", both, "--checkpoint", first / "last.ckpt", "--train.epochs", 2,
            "--train.warmup_epochs", 0, "--train.lr", 5e-4, "--out", run)
    for name, options in (("MNIST", ["--data.root", mnist]), ("both", ["--data.root", both])):
        mindvit("eval", "--checkpoint", run / "last.ckpt", *options, "--json", run / f"{name}.json")
        print(name, (run / f"{name}.json").read_text(), flush=True)
    shutil.copyfile(run / "last.ckpt", measure.ROOT / "mindvit" / "digits.ckpt")


if __name__ == "__main__":
    main()
