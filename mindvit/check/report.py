"""`mindvit check-data`: what is broken, odd, rare or there twice, before anything is trained on it."""

import collections
import contextlib
import csv
import os
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mindvit.check.duplicates import NEAR, nearest, same_bytes
from mindvit.check.look import LOOK, ODD, UNREAD, look_at
from mindvit.config import DataConfig
from mindvit.data import find_arrays, open_splits
from mindvit.data.folder import is_image
from mindvit.data.images import CONVERT, small_image
from mindvit.files import check_writable, numbered, one_line, replacing
from mindvit.training.callbacks import WORDS, progress_bar
from mindvit.training.loop import new_run_folder
from mindvit.visualize.samples import COLUMNS, ROWS, TILE, save_samples

OUT, SAMPLES = "runs/check-data", "samples.jpg"
TABLES = ("broken.csv", "odd.csv", "classes.csv", "duplicates.csv")
SHOWN = 10  # lines of a kind on the terminal; the files have all
LEAST_SIDE = 64  # pixels, below which many images look alike
CHUNK = 32  # images that a thread looks at before the bar moves on


def check_data(root: str, /, out: str = "auto", fix_list: str | None = None) -> int:
    r"""Look for broken images, small classes and copies before training: check-data photos.

    Args:
        root: the folder that train takes as --data.root.
        out: folder for broken.csv, odd.csv, classes.csv, duplicates.csv and samples.jpg; auto takes the first free of
            runs/check-data, runs/check-data-2 and so on.
        fix_list: file for the paths of the broken images, one a line, for `xargs -r -d '\n' rm --`; HEIC and AVIF,
            which are to be converted, and paths with a line break are left out, and a line says so.

    Returns:
        int: 1 if an image is broken, which is one that training would skip; else 0.

    Raises:
        FileExistsError: the folder holds a report, or the list is there.
        OSError: one of them cannot be written.
        FileNotFoundError, ValueError: training would not begin with these folders, and says the same; or they hold
            CIFAR or MNIST.

    Example:
        >>> check_data("dataset", out="report")
        dataset: 8 training and 4 validation images
        broken: none
        ...
        0
    """
    if find_arrays(root, "train") or find_arrays(root, "val"):
        raise ValueError(f"{root} holds CIFAR's or MNIST's files, which training checks when it reads them; check-data "
                         "looks at folders of images")
    if fix_list is not None:
        if os.path.isfile(fix_list):
            raise FileExistsError(f"{fix_list} is there already; name another --fix_list, or remove it")
        check_writable(fix_list)
    if found := [name for name in (*TABLES, SAMPLES) if os.path.lexists(os.path.join(out, name))]:
        free = next(name for name in numbered(out) if not name.exists())
        raise FileExistsError(f"{out} already holds a report ({found[0]}); use --out {free}, --out auto for the next "
                              "free name, or remove it")
    sets = open_splits(root, refuse_unread=False, max_skipped=1.0)
    folder = new_run_folder(out, OUT)
    try:
        return report(pathlib.Path(root), sets, folder, fix_list)
    finally:
        with contextlib.suppress(OSError):  # there is something in it
            folder.rmdir()


def report(root, sets, folder, fix_list):
    """Prints what is found and writes the files; returns the exit status."""
    *parts, last = (f"{len(images):,} {WORDS[split]}" for split, images in sets.items())
    print(f"{root}: {', '.join(parts)} and {last} images", flush=True)
    for images in sets.values():
        print(*images.remarks, sep="\n", end="\n" * bool(images.remarks), flush=True)
    looked = Looked(sets)
    broken = [(split, images.name(i), reason) for split, images in sets.items()
              for i, reason in sorted(images.skipped.items())]
    odd, duplicates = odd_files(looked, root), looked.duplicates()
    print(*broken_lines(broken, sets), *odd_lines(odd), *looked.size_lines(), *looked.class_lines(),
          *duplicate_lines(duplicates, looked), sep="\n")
    tables = ([("split", "path", "reason"), *broken], [("kind", "path"), *odd],
              [("class", *sets), *((looked.classes[label], *looked.counts[:, label]) for label in looked.used)],
              [("kind", "bits", "split", "path", "other_split", "other_path"), *duplicates])
    for name, rows in zip(TABLES, tables):
        with replacing(folder / name) as temporary, open(temporary, "w", newline="", encoding="utf-8",
                                                         errors="surrogateescape") as file:
            csv.writer(file).writerows(rows)
    save_samples(looked.samples(), len(looked.used), folder / SAMPLES)
    print(f"everything is in {folder}: {', '.join(TABLES)}, {SAMPLES}", flush=True)
    if fix_list is not None:
        write_fix_list(broken, fix_list)
    return int(bool(broken))


class Looked:
    """All images of a data set's splits in one order, training first, and what was found in each.

    Args:
        sets: {split: ImageFolder}; what cannot be read is noted in their `skipped`.
    """

    def __init__(self, sets):
        self.splits = list(sets)
        self.files = [file for images in sets.values() for file in images.files]
        self.split = np.repeat(np.arange(len(sets)), [len(images) for images in sets.values()])
        self.label = np.concatenate([images.labels for images in sets.values()]).astype(np.int64)
        self.rows = np.concatenate(list(look_through(sets)))
        self.readable = self.rows["width"] > 0
        self.classes = sets["train"].classes
        listed = np.bincount(self.label, minlength=len(self.classes))
        self.used = np.flatnonzero(listed)  # ImageNet's head may have classes without a folder
        # (splits, classes): images that can be read
        self.counts = np.array([np.bincount(self.label[self.readable & (self.split == i)],
                                            minlength=len(self.classes)) for i in range(len(sets))])

    def name(self, i):
        """Split and path of an image."""
        return self.splits[self.split[i]], str(self.files[i])

    def duplicates(self):
        """(kind, bits that differ, split, path, split and path of the other) of each copy: all of the same bytes, and
        the nearest training image of each held-out one that looks alike."""
        readable = np.flatnonzero(self.readable)
        groups = [readable[group] for group in same_bytes(self.rows["digest"][readable])]
        found = [("same bytes", 0, *self.name(i), *self.name(group[0])) for group in groups for i in group[1:]]
        small = np.minimum(self.rows["width"], self.rows["height"]) < LEAST_SIDE
        hashed = self.readable & (self.rows["hash"] > 0) & ~small
        hashed[[i for group in groups if self.split[group[0]] == 0 for i in group[1:]]] = False
        train, held_out = np.flatnonzero(hashed & (self.split == 0)), np.flatnonzero(hashed & (self.split > 0))
        return found + [("looks alike", bits, *self.name(i), *self.name(train[other])) for i, other, bits in zip(
            held_out, *nearest(self.rows["hash"][held_out], self.rows["hash"][train])) if other >= 0]

    def size_lines(self):
        """The line on how large the images are."""
        sides = np.sort([self.rows[side][self.readable] for side in ("width", "height")], axis=0)
        if not sides.size:
            return []
        shorter, longer = (f"{side.min():,} to {side.max():,} (median {np.median(side):,.0f})" for side in sides)
        return [f"sizes: shorter side {shorter}, longer side {longer} pixels"]

    def class_lines(self):
        """The lines on how many images the classes have in each split."""
        train = self.counts[0][self.used]
        order = self.used[np.argsort(train, kind="stable")]
        ratio = f", {train.max() / train.min():.3g} times as many" if train.min() else ""
        lines = [f"classes: {len(self.used):,}, with {train.min():,} to {train.max():,} training images{ratio}"]
        some = order if len(order) <= SHOWN else [*order[:SHOWN // 2], None, *order[-SHOWN // 2:]]
        lines += ["  ..." if label is None else "  " + ", ".join(
            f"{count:6,} {WORDS[split]}" for split, count in zip(self.splits, self.counts[:, label])
        ) + f"  {self.classes[label]}" for label in some]
        for split, counts in zip(self.splits, self.counts[:, self.used]):
            if without := [self.classes[label] for label in self.used[counts == 0]]:
                lines.append(f"  {len(without):,} without {WORDS[split]} images: {', '.join(without[:SHOWN])}"
                             f"{', ...' if len(without) > SHOWN else ''}")
        return lines

    def samples(self):
        """(label, class, its counts in words, small images) of evenly spaced classes, ROWS of them at most."""
        for label in self.used[np.unique(np.linspace(0, len(self.used) - 1, ROWS).round().astype(int))]:
            mine = np.flatnonzero(self.readable & (self.label == label))
            some = mine[self.split[mine] == self.split[mine][:1]]  # training images, if it has any
            some = some[np.unique(np.linspace(0, len(some) - 1, COLUMNS).round().astype(int))] if len(some) else some
            images = [small_image(self.files[i], TILE) for i in some]
            yield (label, self.classes[label], ", ".join(f"{count:,} {WORDS[split]}" for split, count in zip(
                self.splits, self.counts[:, label])), images)


def look_through(sets):
    """Yields the rows of LOOK of each split; all cores look, as Pillow and hashes leave Python's lock to others."""
    parts = {split: [slice(i, i + CHUNK) for i in range(0, len(images), CHUNK)] for split, images in sets.items()}
    bar = progress_bar(sum(map(len, sets.values())), "looking", " images") if sys.stderr.isatty() else None
    pool = ThreadPoolExecutor()
    try:
        found = pool.map(look_at, [images.files[part] for split, images in sets.items() for part in parts[split]])
        for split, images in sets.items():
            rows = np.zeros(len(images), LOOK)
            for part in parts[split]:
                rows[part], errors = next(found)
                for i, error in errors.items():
                    images.skip(part.start + i, error)
                if bar:
                    bar.update(len(rows[part]))
            yield rows
    finally:
        pool.shutdown(cancel_futures=True)
        if bar:
            bar.close()


def odd_files(looked, root):
    """(kind, path) of all that is odd and yet read, and of what lies beside the images."""
    found = [(kind, str(looked.files[i])) for bit, kind in enumerate(ODD)
             for i in np.flatnonzero(looked.rows["odd"] >> bit & 1)]
    known = set(map(str, looked.files))

    def closed(error):
        found.append(("folder that cannot be opened", error.filename))

    for parent, folders, files in os.walk(root, onerror=closed):
        hidden = [name for name in folders + files if name.startswith(".")]
        found += [("hidden, left out", str(pathlib.Path(parent, name))) for name in hidden]
        folders[:] = sorted({*folders} - {*hidden, *(["infer"] if pathlib.Path(parent) == root else [])})
        for path in sorted(pathlib.Path(parent, name) for name in {*files} - {*hidden}):
            if str(path) not in known:
                found.append(("image outside the class folders, left out" if is_image(path) else
                              "no image by its suffix, left out", str(path)))
    return found


def broken_lines(broken, sets):
    """The lines on images that training would skip."""
    if not broken:
        return ["broken: none"]
    lines = [f"broken: {len(broken):,}, which training cannot read"]
    lines += [f"  {one_line(path)}: {reason}" for _, path, reason in broken[:SHOWN]]
    lines += [f"  and {len(broken) - SHOWN:,} more"] * (len(broken) > SHOWN)
    if any(reason == UNREAD for *_, reason in broken):
        lines.append(f"  HEIC and AVIF: {CONVERT}")
    most = DataConfig().max_skipped
    for split, images in sets.items():
        if len(images.skipped) > most * len(images):
            lines.append(f"  these are {len(images.skipped):,} of {len(images):,} {WORDS[split]} images, more than "
                         f"data.max_skipped, {most:g}: training would end; remove them, or raise --data.max_skipped")
    return lines


def odd_lines(odd):
    """The lines on what is odd, each kind with its first file."""
    first = dict(reversed(odd))
    counts = collections.Counter(kind for kind, _ in odd)
    return ["odd:" if odd else "odd: none", *(f"  {count:6,} {kind}, as {one_line(first[kind])}"
                                              for kind, count in counts.items())]


def duplicate_lines(duplicates, looked):
    """The lines on copies, and on those between training and what is held out before all."""
    same = [copy for copy in duplicates if copy[0] == "same bytes"]
    label = dict(zip(map(str, looked.files), looked.label)) if same else {}
    conflicts = sum(label[path] != label[other] for *_, path, _, other in same)
    lines = [f"copies, the same bytes: {len(same):,}{f', under another class: {conflicts:,}' if conflicts else ''}"]
    between = [copy for copy in duplicates if copy[2] != "train" and copy[4] == "train"]
    for number, split in enumerate(looked.splits[1:], 1):
        kinds = collections.Counter(copy[0] for copy in between if copy[2] == split)
        lines.append(f"  {WORDS[split]} images that are in training too: {kinds['same bytes']:,} of "
                     f"{(looked.split == number).sum():,}; that look like one there: {kinds['looks alike']:,}")
    lines += [f"  {one_line(path)} {'is' if kind == 'same bytes' else 'looks like'} {one_line(other)}"
              for kind, _, _, path, _, other in between[:SHOWN]]
    lines += [f"  and {len(between) - SHOWN:,} more"] * (len(between) > SHOWN)
    return [*lines, f"  (alike: pHashes that differ in {NEAR} of 64 bits at most; flips and crops are not found, and "
            f"images with a side below {LEAST_SIDE} pixels not compared)"]


def write_fix_list(broken, file):
    """Writes the paths of what is of no use, one a line, as the bytes that they are."""
    useless = [path for _, path, reason in broken if reason != UNREAD and CONVERT not in reason]
    paths = [path for path in useless if "\n" not in path]
    with replacing(file) as temporary:
        temporary.write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
    left_out = {"HEIC and AVIF": len(broken) - len(useless), "with a line break": len(useless) - len(paths)}
    print(f"paths of broken images in {file}: {len(paths):,}",
          *(f"left out, {what}: {count:,}" for what, count in left_out.items() if count), sep="; ", flush=True)
