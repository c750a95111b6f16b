"""Bad pictures, folders, checkpoints, class names, configurations and flags: each kind, and what must happen."""

import contextlib
import csv
import functools
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import zipfile

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save
from tiny import FLAGS

from mindvit import cli
from mindvit.cli import main

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
READ, LEFT_ALONE = "read", "left alone"


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Building the parser, and waiting for the thread that waits for signals, take longer than most of the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "stoppable", contextlib.nullcontext)
        patch.setattr(cli, "build_parser", functools.cache(cli.build_parser))
        yield


def encoded(kind, image=NOISE, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def changed(data, at, new):
    at = data.index(at) + len(at) if isinstance(at, bytes) else at
    return data[:at] + new + data[at + len(new):]


JPEG, PNG, WEBP = encoded("JPEG"), encoded("PNG"), encoded("WEBP")
TURNED = Image.Exif()
TURNED[274] = 6
UNKNOWN = "not a JPEG, PNG, BMP, WebP or GIF file"
# {file name: (its bytes, or how it is made, what is said of it)}
PICTURES = {
    "truncated.jpg": (JPEG[:len(JPEG) // 2], "truncated"), "cut_in_header.jpg": (JPEG[:30], "(?i)truncated|" + UNKNOWN),
    "truncated.png": (PNG[:len(PNG) // 2], "truncated"), "without_end.png": (PNG[:-600], "truncated"),
    "truncated.webp": (WEBP[:len(WEBP) // 2], "."), "truncated.gif": (encoded("GIF")[:200], "."),
    "empty.jpg": (b"", "the file is empty"), "zeros.jpg": (bytes(500), UNKNOWN), "text.jpg": (b"no picture", UNKNOWN),
    "page.png": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", UNKNOWN),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UNKNOWN),
    "document.jpg": (b"%PDF-1.7\n%%EOF\n", UNKNOWN), "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", UNKNOWN),
    "tiff.png": (encoded("TIFF"), UNKNOWN), "zip.jpg": (b"PK\3\4" + bytes(99), UNKNOWN),
    "wrong_checksum.png": (changed(PNG, b"IDAT", b"\0\0\0\0"), "broken PNG|broken data|checksum"),
    "no_width.png": (changed(PNG, 16, bytes(4)), "."),
    "too_many_codes.jpg": (changed(JPEG, JPEG.index(b"\xff\xc4") + 9, b"\xff"), "."),
    "large_claim.bmp": (changed(encoded("BMP"), 18, b"\xff\xff\xff\x0f" * 2), "exceeds limit"),
    "bomb.png": (encoded("PNG", Image.new("1", (18_000, 10_000))), "180000000 pixels. exceeds limit"),
    "sparse.jpg": (lambda file: (file.touch(), os.truncate(file, 2**29 + 1)), "has 536,870,913 bytes, more than the"),
    "broken_link.png": (lambda file: file.symlink_to("nowhere.png"), "No such file"),
    "looping_link.png": (lambda file: file.symlink_to(file.name), "symbolic links"),
    "pipe.png": (os.mkfifo, "it is no file"),
    "png.jpg": (PNG, READ), "no_suffix_of_its_own.png": (JPEG, READ),
    "1x1.png": (encoded("PNG", NOISE.resize((1, 1))), READ),
    "20000x10.png": (encoded("PNG", NOISE.resize((20_000, 10))), READ),
    "10x20000.jpg": (encoded("JPEG", NOISE.resize((10, 20_000))), READ),
    "16_bit.png": (encoded("PNG", Image.fromarray(np.full((9, 9), 40_000, np.uint16))), READ),
    "1_bit.png": (encoded("PNG", NOISE.convert("1")), READ), "cmyk.jpg": (encoded("JPEG", NOISE.convert("CMYK")), READ),
    "transparent.png": (encoded("PNG", NOISE.convert("LA")), READ),
    "animated.gif": (encoded("GIF", save_all=True, append_images=[NOISE.rotate(90)]), READ),
    "animated.webp": (encoded("WEBP", save_all=True, append_images=[NOISE.rotate(90)]), READ),
    "turned.jpg": (encoded("JPEG", exif=TURNED), READ), "progressive.JPEG": (encoded("JPEG", progressive=True), READ),
    "name with spaces .png": (PNG, READ), "two\nlines.png": (PNG, READ), "\x1b[31mred.png": (PNG, READ),
    "中文 图片.png": (PNG, READ), "🐈.png": (PNG, READ), "é" * 125 + "a.png": (PNG, READ), "-rf.png": (PNG, READ),
    b"caf\xe9.png".decode("utf-8", "surrogateescape"): (PNG, READ), "'; echo $HOME; '.png": (PNG, READ),
    ".hidden.png": (PNG, LEFT_ALONE), "._resource.jpg": (b"\0\5\x16\7" + bytes(99), LEFT_ALONE),
    "notes.txt": (b"stray", LEFT_ALONE), "Thumbs.db": (bytes(99), LEFT_ALONE), "folder.png/.keep": (b"", LEFT_ALONE),
    "no_suffix": (PNG, LEFT_ALONE),
}


def write(file, content):
    """Writes a file, or lets it be made by a function of it that may return its bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = content(file) if callable(content) else content
    if isinstance(made, bytes):
        file.write_bytes(made)


@pytest.fixture(scope="module")
def with_bad_pictures(digit_folder, digit_run, tmp_path_factory):
    """{split: {picture: what was said of it}} after prediction, training and evaluation among all bad pictures, each
    of them once in training and once in validation; and {picture: (predictions with them, without)} of good ones."""
    home = tmp_path_factory.mktemp("bad")
    for split in ("train", "val"):
        shutil.copytree(digit_folder / split, home / split)
        for name, (content, _) in PICTURES.items():
            write(home / split / "class 0" / name, content)
        (home / split / "class 0/good.png").write_bytes(PNG)
    shutil.copytree(digit_folder / "val/class 1", home / "good/class 1")
    checkpoint = ["--checkpoint", str(digit_run / "best.ckpt")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["predict", "val/class 0", "val/class 1", *checkpoint, "--json", "all.json", "--out", "all"]) == 1
        assert main(["predict", "good", *checkpoint, "--json", "good.json", "--out", "few"]) == 0
        assert main(["train", "--data.root", str(home), *FLAGS, "--data.max_skipped", "0.5", "--train.epochs", "1",
                     "--out", "run"]) == 0
        assert main(["eval", "--data.root", str(home), *checkpoint, "--data.max_skipped", "0.5", "--json",
                     "eval.json"]) == 0
    records = json.loads((home / "all.json").read_text())
    with open(home / "run/skipped.csv", newline="") as file:
        skipped = list(csv.DictReader(file))
    said = {"predict": {record["path"]: record.get("error", READ) for record in records},
            "eval": {row["path"]: row["reason"] for row in json.loads((home / "eval.json").read_text())["skipped"]},
            **{split: {row["path"]: row["reason"] for row in skipped if row["split"] == split}
               for split in ("train", "val")}}
    said = {where: {os.path.basename(path): reason for path, reason in found.items()} for where, found in said.items()}
    found, alone = ({os.path.basename(record["path"]): record.get("predictions") for record in rows}
                    for rows in (records, json.loads((home / "good.json").read_text())))
    return said, {name: (found[name], alone[name]) for name in alone}


@pytest.mark.parametrize("name", PICTURES, ids=ascii)
def test_a_bad_picture_is_told_and_all_goes_on(name, with_bad_pictures):
    expected, (said, _) = PICTURES[name][1], with_bad_pictures
    if expected in (READ, LEFT_ALONE):
        assert said["predict"].get(name, LEFT_ALONE) == expected
        assert not any(name in said[where] for where in ("train", "val", "eval"))
    else:
        for where, found in said.items():
            assert re.search(expected, found[name]), (where, found[name])
            assert "\n" not in found[name]


def test_good_pictures_keep_their_results(with_bad_pictures):
    _, results = with_bad_pictures
    assert len(results) == 4
    for found, alone in results.values():
        assert [row["label"] for row in found] == [row["label"] for row in alone]
        assert np.allclose([row["probability"] for row in found], [row["probability"] for row in alone], atol=1e-6)


def run(words, capfd):
    """(exit status, the lines of the error stream, what is new in the folder) of a command."""
    before = {*pathlib.Path().rglob("*")}
    capfd.readouterr()
    status = main(words)
    return status, capfd.readouterr().err.splitlines(), {*pathlib.Path().rglob("*")} - before


def check_refused(words, message, capfd):
    """One sentence that names the fault, and nothing is left behind."""
    status, lines, new = run(words, capfd)
    assert status == 2 and len(lines) == 1, lines
    assert lines[0].startswith(f"mindvit {words[0]}: ") and re.search(message, lines[0]), lines
    assert len(lines[0]) < 1500 and not new and not pathlib.Path("executed").exists()


class Calls:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def torch_file(pickled, compression=zipfile.ZIP_STORED, **members):
    """A .pth around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {"data.pkl": pickled, "version": "3\n", "data/0": bytes(64), **members}.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def tensor(shape, strides, offset=0):
    """The pickle of {"cls": a tensor}, as torch.save writes it."""
    def number(value):
        return b"J" + value.to_bytes(4, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    stored = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuJ\x10\0\0\0tQ"
    return (b"\x80\2}X\3\0\0\0clsctorch._utils\n_rebuild_tensor_v2\n(" + stored + number(offset) + numbers(shape)
            + numbers(strides) + b"\x89}tRs.")


def safetensors_of(header, content=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + content


def entry(shape, offsets, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


@functools.cache
def good(kind):
    """The tiny network's file in one of the formats."""
    path = pathlib.Path(__file__).parent / "data" / {"ckpt": "mindvision_tiny.ckpt", "npz": "google_vit.npz",
                                                    "safetensors": "timm_vit.safetensors"}[kind]
    return path.read_bytes()


def with_arrays(**arrays):
    """timm's tiny file with other arrays in it."""
    return save(load(good("safetensors")) | {name.replace("__", "."): array for name, array in arrays.items()})


def npz_of(compressed=False, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def ckpt_of(arrays):
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()], "written.ckpt")
    content = pathlib.Path("written.ckpt").read_bytes()
    pathlib.Path("written.ckpt").unlink()
    return content


LARGE = b"\xff" * 9 + b"\1"  # a protobuf number of 2**64 - 1
SOME = {"cls_token": np.ones((1, 1, 4), np.float32)}
# {file name: (its bytes, or what makes them, what is said)}
CHECKPOINTS = {
    "absent.ckpt": (None, "does not exist"), "folder.ckpt/x": (b"", "is a folder; there is no checkpoint in it"),
    "model.h5": (b"\x89HDF\r\n", "ends in .h5; known are"), "empty.pth": (b"", "is empty"),
    "pipe.ckpt": (os.mkfifo, "is empty"), "link.ckpt": (lambda file: file.symlink_to(file.name), "does not exist"),
    **{f"cut_at_{at}.{kind}": (lambda file, kind=kind, at=at: good(kind)[:at], ".")
       for kind in ("ckpt", "safetensors", "npz") for at in (1, 9, 400, 60_000, -1)},
    "text.safetensors": (b"no checkpoint at all", "."), "text.npz": (b"no checkpoint at all", "."),
    "text.pth": (b"no checkpoint at all", "it is no PyTorch file"),
    "page.pth": (b"<!DOCTYPE html><html>404</html>", "it is no PyTorch file"),
    "page.bin": (b"<!DOCTYPE html><html>404</html>", "it is no PyTorch file"),
    "picture.ckpt": (PNG, "."), "picture.npz": (PNG, "."),
    # numbers
    "nan.safetensors": (lambda file: with_arrays(norm__bias=np.full(32, np.nan, np.float32)),
        "norm.beta holds values that"),
    "integers.safetensors": (lambda file: with_arrays(norm__bias=np.ones(32, np.int64)), "norm.beta has type int64"),
    "complex.npz": (lambda file: npz_of(**dict(np.load(io.BytesIO(good("npz")))) | {
        "cls": np.ones((1, 1, 32), np.complex64)}), "cls has type complex64"),
    "texts.npz": (lambda file: npz_of(cls=np.array(["a", "b"])), "."),
    "shapes.safetensors": (lambda file: with_arrays(norm__bias=np.ones(31, np.float32)),
        r"norm.beta has shape \(31,\)"),
    "no_elements.safetensors": (lambda file: with_arrays(norm__bias=np.ones(0, np.float32)),
        r"norm.beta has shape \(0,\)"),
    "other_network.safetensors": (lambda file: save({"layer1.0.conv1.weight": np.ones((4, 3, 3, 3))}),
        "of no known library"),
    "a_part.safetensors": (lambda file: save(SOME), "it is not a whole Vision Transformer. It has cls_token"),
    "more.safetensors": (lambda file: with_arrays(extra=np.ones(3)), "it does not fit any ViT here; unused: extra"),
    "unknown_heads.safetensors": (lambda file: good("safetensors"), "it does not tell num_heads; give it"),
    # headers that lie
    "length.safetensors": ((2**63).to_bytes(8, "little") + b"{}", "SafetensorError"),
    "length_of_file.safetensors": ((2**40).to_bytes(8, "little") + bytes(99), "SafetensorError"),
    "long_header.safetensors": (lambda file: safetensors_of(b" " * 3_000_000 + b"{}"),
        "its header has 3,000,002 bytes, more"),
    "nested.safetensors": (safetensors_of(b'{"a":' * 2000), "SafetensorError"),
    "list.safetensors": (safetensors_of([1, 2]), "SafetensorError"),
    "overlap.safetensors": (safetensors_of({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, bytes(12)), "Safetens"),
    "far.safetensors": (safetensors_of({"a": entry([2**60], [0, 2**62])}, bytes(8)), "SafetensorError"),
    "negative.safetensors": (safetensors_of({"a": entry([-2], [8, 0])}, bytes(8)), "SafetensorError"),
    "product.safetensors": (safetensors_of({"a": entry([2**33, 2**33], [0, 8])}, bytes(8)), "SafetensorError"),
    "unknown_type.safetensors": (safetensors_of({"a": entry([8], [0, 8], "F8_E4M3")}, bytes(8)),
        "F8_E4M3, which is not"),
    "varint.ckpt": (b"\x0a" + b"\xff" * 40, "a protobuf number is longer than 10 bytes"),
    "far.ckpt": (b"\x0a" + LARGE, "it is truncated or damaged"),
    "many_dimensions.ckpt": (b"\x0a\x14\x0a\1a\x12\x0f" + b"\x0a\x0b" + b"\1" * 11 + b"\x12\0",
        "more than 8 dimensions"),
    "large_dimension.ckpt": (b"\x0a\x1b\x0a\1a\x12\x16\x08" + LARGE + b"\x12\7Float32\x1a\0", "but 0 bytes"),
    "names_of_two_lines.ckpt": (lambda file: ckpt_of({"a\nb": np.ones(2)}), "of no known library"),
    "twenty_thousand.ckpt": (b"\x0a\x11\x0a\1a\x12\x0c\x08\0\x12\4Int8\x1a\0\x1a\0" * 20_001,
        "more than 20,000 arrays"),
    "tiny_arrays.ckpt": (lambda file: ckpt_of({f"layer{i}": np.ones(1, np.float32) for i in range(10_000)}),
        "no known libr"),
    # what unpacks to more
    "bomb.npz": (lambda file: npz_of(True, cls=np.zeros(3_000_000)),
        "unpacks to 24,000,.* weights do not shrink like that"),
    "half_bomb.npz": (lambda file: npz_of(True, a=np.zeros(1_500_000), b=np.random.default_rng(0).random(20_000)),
                      "a.npy in it unpacks to 12,000,128 bytes, more than the whole file"),
    "bomb.pth": (lambda file: torch_file(b"\x80\2" + b"}" * 10**7, zipfile.ZIP_DEFLATED),
        "weights do not shrink like that"),
    "deflated.pth": (lambda file: torch_file(tensor([4], [1]), zipfile.ZIP_DEFLATED), "its tensors are compressed"),
    "objects.pth": (lambda file: torch_file(b"\x80\2" + b"}" * 10**6),
        "more than 524,288 bytes, the most that are read"),
    "expanded.pth": (torch_file(tensor([2**30], [0])), "strides .0,., of which one value would be several"),
    "outside.pth": (torch_file(tensor([4], [1], offset=20)), "cls|patch_embed"),
    "bytearray.pth": (torch_file(b"\x80\2cbuiltins\nbytearray\nJ\0\0\0\x40\x85R."),
        "it names builtins.bytearray: it holds"),
    "memo.pth": (torch_file(b"\x80\2Nr\xff\xff\xff\x7f."), "no arrays"),
    "no_pickle.pth": (npz_of(a=np.ones(3)), "it has no data.pkl"),
    "keys.pth": (torch_file(b"\x80\2})" + b"q\0h\0\x86" * 60 + b"K\1s."), "it holds more than arrays"),  # ages to hash
    "sets_a_class.pth": (torch_file(b"\x80\2ctorch._utils\n_rebuild_tensor_v2\nN}X\6\0\0\0storedK\1s\x86b."),
        "no arrays|."),
    # what would run something
    "calls.pth": (pickle.dumps(Calls(), 2), "it names (posix|nt).system: it holds more than arrays.* is not executed"),
    "calls.bin": (torch_file(pickle.dumps({"a": Calls()}, 2)), "is not executed; save model.state_dict"),
    "calls_4.pt": (torch_file(pickle.dumps({"a": Calls()}, 4)), "is not executed; save model.state_dict"),
    "calls_0.pt": (pickle.dumps({"a": Calls()}, 0), "it is no PyTorch file"),
    "calls.npz": (lambda file: npz_of(cls=np.array([Calls()])), "an array of Python objects, which are never loaded"),
    "calls.ckpt": (pickle.dumps(Calls()), "a pickle, which is never loaded"),
    "calls.safetensors": (pickle.dumps(Calls()), "a pickle, which is never loaded"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_bad_checkpoint_is_one_sentence(name, capfd):
    content, message = CHECKPOINTS[name]
    pathlib.Path("a.png").write_bytes(PNG)
    write(pathlib.Path(name), content)
    path = name.split("/")[0]
    heads = [] if name == "unknown_heads.safetensors" else ["--model.overrides.num_heads", "4"]
    check_refused(["predict", "a.png", "--checkpoint", path, *heads], f"checkpoint {path}.*(?:{message})", capfd)


# {beside best.ckpt: (file, bytes, exit status of predict, of eval, what is said)}
BESIDE = {
    "too_few": ("classes.txt", b"a\nb\n", 0, 0, "classes.txt names 2 classes, the checkpoint has 10; the file is not"),
    "empty": ("classes.txt", b"", 0, 0, "classes.txt names 0 classes, the checkpoint has 10; the file is not used"),
    "too_long": ("classes.txt", b"\n" * 2**23, 2, 2, "classes.txt has 8,388,608 bytes, more than the 4,194,304 that"),
    "not_utf8": ("classes.txt", b"caf\xe9\n" * 10, 2, 2, "classes.txt is not UTF-8 text; save it as UTF-8"),
    "utf16": ("classes.txt", "a\n".encode("utf-16") * 10, 2, 2, "classes.txt is not UTF-8 text"),
    "others": ("classes.txt", b"".join(b"%d\n" % i for i in range(10)), 0, 2,
        "class folder class 0 in .* is none of the"),
    "duplicates": ("classes.txt", b"class 0\n" * 10, 0, 2, "class 0 in .* may be any of the classes 0, 1"),
    "marked": ("classes.txt", b"\xef\xbb\xbf" + b"".join(b"class %d\r\n" % i for i in range(10)), 0, 0, "40 images"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_bad_names_of_classes_are_told(name, digit_folder, digit_run, capfd):
    file, content, predicted, evaluated, message = BESIDE[name]
    shutil.copy(digit_run / "best.ckpt", "best.ckpt")
    pathlib.Path(file).write_bytes(content)
    pathlib.Path("a.png").write_bytes(PNG)
    said = ""
    for words, expected in ((["predict", "a.png"], predicted), (["eval", "--data.root", str(digit_folder)], evaluated)):
        words += ["--checkpoint", "best.ckpt", "--mode", "pynative"]
        if expected:
            check_refused(words, message, capfd)
            said += message
        else:
            assert main(words) == 0
            said += capfd.readouterr().out
    assert re.search(message, said) or message == said


def test_a_pipe_beside_a_checkpoint_is_not_waited_for(digit_run):
    shutil.copy(digit_run / "best.ckpt", "best.ckpt")
    os.mkfifo("classes.txt")
    pathlib.Path("a.png").write_bytes(PNG)
    assert main(["predict", "a.png", "--checkpoint", "best.ckpt", "--mode", "pynative"]) == 0


# {what config.json beside timm's tiny file holds: what is said}
JSON = {b"": "JSONDecodeError|Expecting value", b"[1]": "it is not a JSON object", b'{"num_heads": ': "Expecting",
        b'{"a":' * 100_000: "recursion|Recursion", b" " * 3_000_000 + b"{}": "it has 3,000,002 bytes, more than the",
        b"\xff\xfe{\0}\0": "codec"}


@pytest.mark.parametrize("content", JSON, ids=range(len(JSON)))
def test_bad_json_beside_a_checkpoint_is_one_sentence(content, capfd):
    pathlib.Path("model.safetensors").write_bytes(good("safetensors"))
    pathlib.Path("config.json").write_bytes(content)
    pathlib.Path("a.png").write_bytes(PNG)
    check_refused(["predict", "a.png", "--checkpoint", "model.safetensors"], f"config.json: .*({JSON[content]})", capfd)


TAGGED = b"!!python/object/apply:os.system ['touch executed']"
# {content of job.yaml: what is said}
CONFIGS = {
    b"train: {epoch: 3}": "the configuration has train.epoch, which is not known here; did you mean train.epochs",
    b"trian: {epochs: 3}": "the configuration has trian", b"train: [epochs, 3]": "holds .* as train",
    b"train: {epochs: three}": "--train.epochs is three; it takes a whole number",
    b"train: {epochs: 3.5}": "--train.epochs is 3.5; it takes a whole number",
    b"train: {epochs: .nan}": "--train.epochs is nan", b"train: {epochs: -1}": "train.epochs is -1",
    b"train: {epochs: 0}": "train.epochs is 0", b"train: {epochs: [3]}": r"--train.epochs is \[3\]",
    b"train: {epochs: 2020-01-01}": "--train.epochs is", b"train: {epochs: !!binary aGk=}": "has the tag !!binary",
    b"train: {lr: !!timestamp x}": "has the tag !!timestamp", b"train: {lr: !!int ''}": "has the tag !!int",
    b"train: {lr: 1}\ntrain: {epochs: 3}": "has train twice", b"train: {lr: 1, 'lr': 2}": "has lr twice",
    b"train: {lr: .inf}": "train.lr is inf", b"train: {lr: -1}": "train.lr is -1", b"train: {lr: 1e999}": "train.lr is",
    b"train: {optimizer: sdg}": "optimizer is 'sdg'; did you mean sgd",
    b"train: {optimizer: {sgd: {momentun: 1}}}": "sgd has no option 'momentun'; did you mean momentum",
    b"train: {seed: 99999999999999999999}": "train.seed is", b"train:\n\tepochs: 3": "is no YAML, line 2",
    b"train: {epochs: 3": "is no YAML", b"data: {mean: [0.5, 0.5]}": "--data.mean is",
    b"data: {root: ''}": "data.root is empty",
    b'data: {root: "a\\0b"}': "no path holds a zero byte", b"data: {augment: [flip, flap]}": "augment is 'flap'",
    b"model: {overrides: [1]}": "overrides is", b"model: {name: 5}": "name", b"&a {a: *a}": "has the anchor &a",
    b"data: " + TAGGED: "has the tag !!python/object", TAGGED: "has the tag !!python/object",
    b"data: {root: !!python/name:os.system }": "has the tag !!python/name:os.system",
    b"--- {}\n--- {}": "is no YAML", b"? [a, b]\n: 3": ".", b"? {a: 1}\n: 3": ".", b"1: 2": ".", b"null: 2": ".",
    b"epochs: 3": "the configuration has epochs", b"\xff\xfe" + "train: {}".encode("utf-16-le"): "is not UTF-8 text",
    b"config: job.yaml": "holds config, which", b"recipe: deit": "holds recipe, which",
    b"debug: true": "holds debug, which", b"class_path: os.system": ".",
    b"a: b\n" * 25_000: "longer than 100,000",
}


@pytest.mark.parametrize("content", CONFIGS, ids=lambda content: ascii(content[:40].decode("latin-1")))
def test_a_bad_configuration_is_one_sentence(content, capfd):
    pathlib.Path("job.yaml").write_bytes(content)
    check_refused(["train", "--config", "job.yaml"], CONFIGS[content], capfd)


FLAGS_OF = {  # a command line: what is said; GOOD is a checkpoint, A a picture
    "": "no command is given", "trian": "there is no command trian; did you mean train",
    "train --epoch 3": "no flag --epoch",
    "train extra": "extra is not expected", "train --train.epochs": "--train.epochs needs a value",
    "train --train.epochs=": "--train.epochs is ''; it takes a whole number",
    "train --train.epochs 1e3x": "whole number",
    "train --train.lr nan": "train.lr is nan", "train --data.mean 0,0": "--data.mean is",
    "train --data.mean 0,0,x": "mean",
    "train --model.overrides {": "overrides", "train --model.overrides.depth 3": "no argument 'depth'|dataset",
    "train --config absent.yaml": "absent.yaml", "train --config FIFO": "FIFO is a pipe",
    "train --config /proc/self/mem": "/proc/self/mem cannot be read: Input/output error",
    "train --train.lr !!timestamp": "--train.lr has the tag !!timestamp",
    "train --config .": ".", "train --recipe diet": "--recipe is 'diet'",
    "train --recipe": "--recipe is ''", "train --data.root A": "A|class folders", "train --data.root absent": "absent",
    "train --device_target TPU": "it takes auto, Ascend, GPU or CPU", "predict": "there are no weights",
    "predict A": "there are no weights to predict with",
    "predict absent.png --checkpoint GOOD": "absent.png does not exist",
    "predict A --checkpoint GOOD --json FIFO": "FIFO is a device or a pipe",
    "predict A --checkpoint GOOD --top_k 0": "top_k is 0",
    "predict . --checkpoint GOOD --batch_size -1": "batch_size is -1",
    "predict A --checkpoint GOOD --model.num_classes 3": "does not fill",
    "predict empty --checkpoint GOOD": "no images in empty",
    "predict A --checkpoint GOOD --model.name vit_b_16": "read as --model.name vit_b_16",
    "eval --checkpoint GOOD --data.root empty": "no class folders in empty",
    "eval --checkpoint": "--checkpoint needs a value",
    "convert GOOD b.ckpt --format keras": "it takes", "convert GOOD": "missing",
    "convert A b.ckpt --format suite": "A ends in",
    "download vit_b_61": "vit_b_61", "models x?y[": "no model is called", "show-batch absent.yaml": "absent.yaml",
    "train --data.root two\nlines": r"two\\nlines",
    "predict two\nlines.png --checkpoint GOOD": r"two\\nlines.png does not exist",
}


@pytest.mark.parametrize("words", FLAGS_OF)
def test_bad_flags_are_one_sentence(words, digit_run, capfd):
    pathlib.Path("A").write_bytes(PNG)
    pathlib.Path("empty").mkdir()
    os.mkfifo("FIFO")
    message = FLAGS_OF[words]
    words = [str(digit_run / "best.ckpt") if word == "GOOD" else word for word in words.split(" ")]
    status, lines, new = run([word for word in words if word], capfd)
    assert status == 2 and len(lines) == 1 and lines[0].startswith("mindvit"), lines
    assert re.search(message, lines[0]) and not new, lines


def test_debug_shows_where(capfd):
    pathlib.Path("a.png").write_bytes(PNG)
    with pytest.raises(ValueError, match="absent.ckpt|is empty"):
        pathlib.Path("a.ckpt").touch()
        main(["predict", "a.png", "--checkpoint", "a.ckpt", "--debug"])
