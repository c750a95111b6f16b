"""`mindvit check-data`: it says what training would do with a folder, finds copies, and leaves the folder alone."""

import csv
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft
import skimage.data
from PIL import Image
from tiny import FLAGS

import mindvit
from mindvit import read_image
from mindvit.check.duplicates import SIDE, nearest, perceptual_hash
from mindvit.check.look import ODD, look, look_at
from mindvit.cli import main

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1]), "GLOG_v": "3"}
PHOTO = Image.fromarray(skimage.data.astronaut())
PARTS = [PHOTO.crop((x, y, x + 250, y + 180)) for x in (0, 250) for y in (0, 160, 320)]  # no two of them alike


def read(name, folder="report"):
    with open(pathlib.Path(folder, name), newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def write(images):
    """Images at their paths."""
    for path, image in images.items():
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def damage(file, kind):
    """Puts what is broken in an image's place."""
    data = file.read_bytes()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind in ("link", "loop"):
        file.symlink_to("nowhere.png" if kind == "link" else file.name)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_bytes({"empty": b"", "text": b"no picture", "cut": data[:90], "zeros": bytes(500),
                          "bomb": data[:16] + b"\0\0\x50\0" * 2 + data[24:]}[kind])


@pytest.fixture
def damaged(digit_folder):
    """(a copy of the digits, the files in it that are broken)."""
    shutil.copytree(digit_folder, "data")
    kinds = {"train": ("empty", "text", "cut", "zeros", "bomb"), "val": ("pipe", "link", "loop")}
    files = [(min(pathlib.Path("data", split, f"class {i}").iterdir()), kind)
             for split, some in kinds.items() for i, kind in enumerate(some)]
    for file, kind in files:
        damage(file, kind)
    return [str(file) for file, _ in files]


def test_broken_is_what_training_skips(damaged, capsys):
    assert main(["train", "--data.root", "data", *FLAGS, "--train.batch_size", "16", "--train.epochs", "1",
                 "--data.max_skipped", "0.5", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["check-data", "data", "--out", "report"]) == 1
    assert read("broken.csv") == read("skipped.csv", "run") and sorted(damaged) == sorted(
        row["path"] for row in read("broken.csv"))
    printed = capsys.readouterr().out
    assert "broken: 8, which" in printed and "train/class 0/" in printed and ": the file is empty\n" in printed
    assert "these are 5 of 160 training images, more than data.max_skipped, 0.01" in printed


def test_files_of_the_user_are_not_overwritten(digit_folder, capsys):
    """Those that stand where a report, or the list, would be; refused before the work, with nothing made."""
    image = next(pathlib.Path(digit_folder, "train").rglob("*.png"))
    pathlib.Path("mine").mkdir()
    pathlib.Path("mine/odd.csv").write_text("mine")
    kept = {path: path.read_bytes() for path in (image, pathlib.Path("mine/odd.csv"))}
    for words, said in ((["--out", "mine"], "mine already holds a report (odd.csv); use --out mine-2"),
                        (["--fix-list", str(image)], f"{image} is there already; name another --fix_list"),
                        (["--fix-list", "mine"], "mine cannot be written: it is a folder"),
                        (["--fix-list", f"{image}/list"], "is a file, no folder"),
                        (["--fix-list", ""], "fix_list is empty"), (["--out", ""], "out is empty")):
        assert main(["check-data", str(digit_folder), *words]) == 2
        assert said in capsys.readouterr().err
        assert os.listdir() == ["mine"] and os.listdir("mine") == ["odd.csv"]
    assert kept == {path: path.read_bytes() for path in kept}


def test_the_fix_list_goes_to_xargs(damaged, capsys):
    assert main(["check-data", "data", "--out", "first", "--fix-list", "first.txt"]) == 1
    names = [b"train/class 5/two\nlines.png", b"train/class 5/'caf\xe9\".png", b"train/class 5/-r a b.png"]
    for name in names:
        pathlib.Path("data", os.fsdecode(name)).write_bytes(b"none")
    assert main(["check-data", "data", "--out", "second", "--fix-list", "fix.txt"]) == 1
    assert "fix.txt: 10; left out, with a line break: 1\n" in capsys.readouterr().out
    subprocess.run(r"xargs -r -d '\n' rm -- < fix.txt", shell=True, check=True)
    assert main(["check-data", "data", "--out", "third"]) == 1
    assert [row["path"] for row in read("broken.csv", "third")] == ["data/train/class 5/two\nlines.png"]
    pathlib.Path("data", os.fsdecode(names[0])).unlink()
    assert main(["check-data", "data", "--out", "last", "--fix-list", "last.txt"]) == 0
    assert pathlib.Path("last.txt").read_bytes() == b""
    subprocess.run(r"xargs -r -d '\n' rm -- < last.txt", shell=True, check=True)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
def test_damaged_bytes_are_judged_as_training_judges_them(tmp_path, suffix):
    """Cut anywhere, or with bytes changed; rotated, CMYK and progressive JPEGs take another way than plain ones."""
    rng, exif = np.random.default_rng(0), Image.Exif()
    exif[274] = 6
    image, forms = PARTS[2].resize((60, 40)), [{}]
    if suffix == "jpg":
        forms = [{}, {"exif": exif}, {"progressive": True}, {"exif": exif, "progressive": True}]
    outcomes = []
    for number in range(60):
        file = tmp_path / f"{number}.{suffix}"
        mode = "CMYK" if suffix == "jpg" and number % 5 == 4 else "RGB"
        image.convert(mode).save(file, **forms[number % len(forms)])
        data = bytearray(file.read_bytes())
        if number % 3 == 0:
            del data[rng.integers(len(data)):]
        else:
            for i in rng.integers(0, len(data) if number % 3 == 1 else 700, 3):
                data[i] = rng.integers(256)
        file.write_bytes(data)
        said = []
        for one in (read_image, look):
            try:
                one(file)
                said.append(None)
            except (OSError, ValueError) as error:
                said.append(str(error))
        assert said[0] == said[1], file
        outcomes.append(said[0] is None)
    assert False in outcomes and (True in outcomes or suffix == "png")  # which has check sums


def layouts():
    some = {name: PARTS[i] for i, name in enumerate(("1.png", "2.png", "3.png"))}
    two = {f"{folder}/{name}": image for folder in ("cat", "dog") for name, image in some.items()}
    yield "folders alone", {f"data/{path}": image for path, image in two.items()}, (
        "4 training and 2 validation images")
    yield "train alone", {f"data/train/{path}": image for path, image in two.items()}, (
        "4 training and 2 validation images")
    yield "three", {f"data/{split}/{path}": image for split in ("train", "val", "test")
                    for path, image in two.items()}, "6 training, 6 validation and 6 test images"
    yield "with infer", {"data/infer/a.png": PARTS[5], **{f"data/{split}/{path}": image for split in ("train", "val")
                                                          for path, image in two.items()}}, (
        "6 training and 6 validation images")


@pytest.mark.parametrize("images, counts", [pytest.param(*rest, id=name) for name, *rest in layouts()])
def test_every_layout_of_training_is_taken(images, counts, capsys):
    write(images)
    assert main(["check-data", "data"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"data: {counts}\n") and "broken: none\nodd: none\n" in printed
    assert "everything is in runs/check-data: " in printed
    os.chdir("data")
    assert main(["check-data", ".", "--out", "../again"]) == 0
    assert capsys.readouterr().out.startswith(f".: {counts}\n") and read("odd.csv", "../again") == []


@pytest.mark.parametrize("paths", [
    (), ("Train/a/1.png", "Train/b/1.png"), ("two\nlines/1.png", "b/1.png"), ("a/1.png", "a/2.png"), ("a/1.png",),
    ("a/1.png", "b/1.png"), ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"),
    ("a/1.png", "val/b/1.png"),
    ("train/a/1.png", "train/b/1.png", "val/a/1.png", "test/c/1.png")])
def test_refused_folders_are_refused_with_the_same_words(paths, capsys):
    write({f"data/{path}": PARTS[0] for path in paths})
    said = []
    for words in (["train", "--data.root", "data", *FLAGS], ["check-data", "data"]):
        assert main(words) == 2
        said.append(capsys.readouterr().err.removeprefix(f"mindvit {words[0]}: "))
    assert said[0] == said[1] and said[0].count("\n") == 1 and not os.path.exists("runs/check-data")


def test_arrays_are_refused(capsys):
    pathlib.Path("cifar-10-batches-bin").mkdir()
    pathlib.Path("cifar-10-batches-bin/data_batch_1.bin").touch()
    assert main(["check-data", "."]) == 2
    assert capsys.readouterr().err.startswith("mindvit check-data: . holds CIFAR's or MNIST's files")


def test_heic_is_to_be_converted_and_the_rest_is_looked_at(capsys):
    write({f"data/{name}/{i}.png": image for i, image in enumerate(PARTS) for name in ("a", "b")})
    for name in ("IMG.HEIC", "IMG.JPG"):
        pathlib.Path("data/a", name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert main(["check-data", "data", "--out", "report", "--fix_list", "fix.txt"]) == 1
    assert [row["path"] for row in read("broken.csv")] == ["data/a/IMG.HEIC", "data/a/IMG.JPG"]
    printed = capsys.readouterr().out
    assert "HEIC and AVIF: convert to JPEG with" in printed and "fix.txt: 0; left out, HEIC and AVIF: 2\n" in printed


def copies(photo):
    """{name: a photograph as others keep it}."""
    half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
    return {"quality.jpg": photo, "half.jpg": half, "half.png": half, "square.webp": photo.resize((224, 224))}


def test_copies_between_splits_are_found(capsys):
    for i, part in enumerate(PARTS):
        write({f"data/train/{'ab'[i % 2]}/{i}.png": part})
    write({f"data/val/a/{name}": image for name, image in copies(PARTS[0]).items()})
    PARTS[0].save("data/val/a/quality.jpg", quality=40)
    write({"data/val/a/flipped.png": PARTS[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT),
           "data/val/b/other.png": Image.fromarray(skimage.data.chelsea()),
           "data/val/b/flat.png": Image.new("RGB", (80, 60), (9, 90, 200)),
           "data/train/b/flat.png": Image.new("RGB", (80, 60), (200, 90, 20)), "data/val/b/same 狗.jpg": PARTS[2]})
    shutil.copy("data/train/a/2.png", "data/val/b/same 狗.jpg")
    shutil.copy("data/train/a/2.png", "data/train/a/again.png")
    assert main(["check-data", "data", "--out", "report"]) == 0
    found = {(row["kind"], row["path"], row["other_path"]) for row in read("duplicates.csv")}
    assert found == {("looks alike", f"data/val/a/{name}", "data/train/a/0.png") for name in copies(PARTS[0])} | {
        ("same bytes", f"data/{path}", "data/train/a/2.png") for path in ("train/a/again.png", "val/b/same 狗.jpg")}
    printed = capsys.readouterr().out
    assert "copies, the same bytes: 2, under another class: 1\n" in printed
    assert "validation images that are in training too: 1 of 8; that look like one there: 4\n" in printed
    assert "data/val/b/same 狗.jpg is data/train/a/2.png" in printed


def test_the_hash_is_the_published_one():
    small = np.random.default_rng(0).uniform(0, 255, (20, SIDE, SIDE)).astype(np.float32)
    small[3] = 77
    found = perceptual_hash(small)
    for image, value in zip(small, found):
        lowest = scipy.fft.dctn(image.astype(np.float64), norm="ortho")[:8, :8]
        bits = "".join("01"[int(above)] for above in (lowest > np.median(lowest)).ravel())
        assert value == (0 if image.std() == 0 else int(bits, 2))


def test_the_nearest_hash_is_that_of_every_comparison():
    rng = np.random.default_rng(0)
    among, others = (rng.integers(1, 2**63, count, dtype=np.uint64) for count in (3000, 100))
    hashes = np.concatenate([rng.choice(among, 400), others, among[:5], among[:5]])
    for i in range(400):
        for bit in rng.choice(64, i % 10, replace=False):
            hashes[i] ^= np.uint64(1 << int(bit))
    positions, bits = nearest(hashes, among)
    difference = (hashes[:, None] ^ among).view(np.uint8).reshape(len(hashes), len(among), 8)
    counts = np.unpackbits(difference, axis=2).sum(2)
    near = counts.min(1) <= 6
    assert (bits == np.where(near, counts.min(1), 64)).all() and (positions[~near] == -1).all()
    assert (counts[near, positions[near]] == counts.min(1)[near]).all() and 250 < near.sum() < 400
    assert all(len(part) == 0 for part in nearest(among[:0], among)) and (nearest(hashes, among[:0])[0] == -1).all()


def test_what_is_odd_is_counted_by_kind(tmp_path, capsys):
    exif, large = Image.Exif(), Image.new("1", (13_000, 4_000))
    exif[274] = 3
    for split in ("train", "val"):
        write({f"data/{split}/{name}/{i}.png": image for i, image in enumerate(PARTS[:2]) for name in ("a", "b")})
    folder = pathlib.Path("data/train/a")
    PARTS[0].save(folder / "suffix.jpg", "PNG")
    PARTS[1].save(folder / "turned.jpg", exif=exif)
    PARTS[2].convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(PARTS[3].convert("L"), np.uint16) * 257).save(folder / "deep.png")
    PARTS[4].convert("RGBA").save(folder / "alpha.png")
    PARTS[4].save(folder / "moves.gif", save_all=True, append_images=[PARTS[5]])
    PARTS[4].resize((31, 33)).save(folder / "tiny.png")
    PARTS[4].resize((401, 100)).save(folder / "long.png")
    large.save(folder / "large.png")
    rows, errors = look_at(sorted(folder.iterdir()))
    kinds = {path.name: [kind for bit, kind in enumerate(ODD) if row >> bit & 1]
             for path, row in zip(sorted(folder.iterdir()), rows["odd"])}
    names = "suffix.jpg turned.jpg cmyk.jpg deep.png alpha.png moves.gif tiny.png long.png large.png".split()
    assert not errors and kinds == {"0.png": [], "1.png": [], **{name: [kind] for name, kind in zip(names, ODD)}}
    for path in ("data/train/a/.hidden.jpg", "data/train/a/notes.txt", "data/loose.jpg", "data/.git/a.txt"):
        pathlib.Path(path).parent.mkdir(exist_ok=True)
        pathlib.Path(path).touch()
    assert main(["check-data", "data", "--out", "report"]) == 0
    printed = capsys.readouterr().out
    assert all(f"     1 {kind}, as data/train/a/{name}\n" in printed for kind, name in zip(ODD, names))
    for line in ("2 hidden, left out, as data/.git", "1 no image by its suffix, left out, as data/train/a/notes.txt",
                 "1 image outside the class folders, left out, as data/loose.jpg"):
        assert line in printed
    assert len(read("odd.csv")) == len(ODD) + 4
    assert "shorter side 31 to 4,000 (median 180), longer side 33 to 13,000" in printed


def test_classes_and_their_counts(capsys):
    for i, name in enumerate(["猫", "dog", *(f"bird {i}" for i in range(12))]):
        write({f"data/train/{name}/{j}.png": PARTS[j % 6] for j in range(1 + i)})
        write({f"data/val/{name}/1.png": PARTS[0]} if i > 1 else {})
    pathlib.Path("data/train/none").mkdir()
    assert main(["check-data", "data", "--out", "report"]) == 0
    printed = capsys.readouterr().out
    assert "classes: 14, with 1 to 14 training images, 14 times as many" in printed
    assert "  2 without validation images: dog, 猫\n" in printed and "\n  ...\n" in printed
    assert "data/train/none has no images" in printed
    rows = {row["class"]: (row["train"], row["val"]) for row in read("classes.csv")}
    assert len(rows) == 14 and rows["猫"] == ("1", "0") and rows["bird 11"] == ("14", "1")


@pytest.fixture
def many():
    """Five thousand names of one photograph."""
    write({"photo.jpg": PHOTO.resize((1500, 1200))})
    for i in range(5000):
        file = pathlib.Path(f"data/{'ab'[i % 2]}/{i}.jpg")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(pathlib.Path("photo.jpg").absolute())


def test_ctrl_c_leaves_nothing_behind(many):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([sys.executable, "-m", "mindvit", "check-data", "data"], env=ENVIRONMENT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    assert process.stdout.readline().startswith("data: 4,000 training and 1,000 validation")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.communicate()[1] == "mindvit check-data: stopped; no report is written\n"
    assert list(pathlib.Path("runs").iterdir()) == []


def test_a_terminal_has_a_bar(digit_folder):
    controller, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "mindvit", "check-data", str(digit_folder), "--out", "report"],
                               env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(controller, 4096):
            seen += part
    except OSError:  # the process closed the terminal
        pass
    assert process.wait(60) == 0 and b"looking: 100%" in seen and b"200/200" in seen
    assert b"looking" not in process.stdout.read()
