"""Prediction: annotated copies, records, and that it computes what was validated."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
from tiny import NAMED

from mindvit import (
    from_checkpoint,
)
from mindvit.cli import main
from mindvit.inference import prediction
from mindvit.inference.prediction import copy_names, stem_of
from mindvit.preprocessing import Preprocessing


def test_predict_writes_copies_and_records_and_keeps_the_originals(digit_run, digit_folder, capsys):
    for name, source in (("a/digit.png", "class 1"), ("b/digit.png", "class 2")):
        pathlib.Path(name).parent.mkdir()
        shutil.copy(next((digit_folder / "val" / source).iterdir()), name)
    pathlib.Path("a/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    before = pathlib.Path("a/digit.png").read_bytes()
    arguments = ["predict", "a", "b/digit.png", *NAMED, "--checkpoint", str(digit_run / "best.ckpt"),
                 "--top_k", "3", "--out", "a", "--json", "records.json"]
    assert main(arguments) == 1  # one image is broken
    records = json.loads(pathlib.Path("records.json").read_text())
    assert [record["path"] for record in records] == ["a/broken.jpg", "a/digit.png", "b/digit.png"]
    assert "cannot read the image a/broken.jpg" in records[0]["error"]
    for record in records[1:]:
        best = [prediction["probability"] for prediction in record["predictions"]]
        assert best == sorted(best, reverse=True) and len(best) == 3 and sum(best) <= 1
        assert all(p["label"] == f"class {p['index']}" for p in record["predictions"])
    assert [record["annotated"] for record in records[1:]] == ["a/a_digit.jpg", "a/b_digit.jpg"]
    assert Image.open("a/a_digit.jpg").size > (320, 320) and pathlib.Path("a/digit.png").read_bytes() == before
    copied = pathlib.Path("a/b_digit.jpg").read_bytes()
    assert main(["predict", "a/digit.png", *arguments[2:]]) == 0  # again: nothing is written over
    records = json.loads(pathlib.Path("records.json").read_text())
    assert [record["annotated"] for record in records] == ["a/a_digit-2.jpg", "a/b_digit-2.jpg"]
    assert pathlib.Path("a/b_digit.jpg").read_bytes() == copied
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if re.fullmatch(r".*\{\d: 'class \d'\} 0\.\d{4}", line)][-3:]
    expected = [f"{{{p['index']}: {p['label']!r}}} {p['probability']:.4f}" for p in records[1]["predictions"]]
    assert lines == [f"b/digit.png: {expected[0]}", f"  {expected[1]}", f"  {expected[2]}"]


def test_a_copys_name_tells_its_picture():
    """The stem, the folder before it where stems are the same, and the suffix where those are the same too."""
    for files, names in ((["a/cat.png", "a/dog.png", "b/dog.png"], ["cat", "a_dog", "b_dog"]),
                         (["cats/00.png", "cats/00.jpg", "dogs/00.png"], ["cats_00.png", "cats_00.jpg", "dogs_00"]),
                         (["00.png", "00.jpg", "b/00.png"], ["00.png", "00.jpg", "b_00"])):
        assert copy_names(files) == dict(zip(files, names))
    for name, stem in (("猫", "猫"), ("a猫" * 99, "a猫" * 50), ("\udcb9\udcb7", "image"), ("\udcb9 dog", "\ufffd dog")):
        assert stem_of(name) == stem  # of file systems in GBK, \xb9\xb7 is a dog


def test_a_few_images_are_predicted_without_compiling_a_graph(digit_run, digit_folder, capsys):
    pictures = sorted(map(str, digit_folder.glob("val/*/*.png")))[:5]
    answers = {}
    for count, mode in ((4, "pynative"), (5, "graph")):
        arguments = ["predict", *pictures[:count], *NAMED, "--checkpoint", str(digit_run / "best.ckpt")]
        assert main([*arguments, "--json", "records.json", "--device_target", "CPU"]) == 0
        assert f"{mode} mode" in capsys.readouterr().out
        answers[mode] = [[p["probability"] for p in record["predictions"]]
                         for record in json.loads(pathlib.Path("records.json").read_text())]
    np.testing.assert_allclose(answers["pynative"], answers["graph"][:4], rtol=1e-5)


def test_a_trained_network_predicts_as_it_was_validated(digit_run):
    assert from_checkpoint(digit_run / "best.ckpt").preprocessing == Preprocessing(crop_fraction=1.0)


DIGITS = ["--model.name", "digits", "--model.pretrained", "true"]
MEASURED = """import re, sys
from mindvit.cli import main
status = main(sys.argv[1:])
# ru_maxrss would be that of the process that started this one, where it was larger
print("peak MiB", int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
sys.exit(status)"""


def test_one_bad_picture_or_copy_costs_no_other(tmp_path):
    """Tall and wide beyond what a JPEG holds, no file but a pipe, links to nowhere and to themselves, a name as long
    as there can be, one that is no UTF-8, a folder for copies that is a file: every other image has its result."""
    digit = Image.fromarray(np.full((28, 28), 90, np.uint8))
    Image.new("L", (1, 65500)).save("tall.jpg")
    Image.new("1", (70_000, 2)).save("wide.png")
    digit.save("a" * 251 + ".png")
    digit.save(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    digit.save("猫 😀.png")
    digit.save("line\nbreak.png")
    os.mkfifo("pipe.jpg")
    os.symlink("nowhere.jpg", "broken link.jpg")
    os.symlink("loop.jpg", "loop.jpg")
    pathlib.Path("empty.jpg").touch()
    pathlib.Path("page.png").write_text("<html>")
    names = os.listdir()
    command = [sys.executable, "-c", MEASURED, "predict", ".", *DIGITS, "--out", str(tmp_path / "copies"), "--json",
               str(tmp_path / "records.json")]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert done.returncode == 1, done.stderr.decode("utf-8", "replace")
    records = {record["path"]: record for record in json.loads((tmp_path / "records.json").read_text("utf-8"))}
    assert set(records) == set(names)
    reasons = {"pipe.jpg": "it is no file", "broken link.jpg": "No such file", "loop.jpg": "symbolic links",
               "empty.jpg": "the file is empty", "page.png": "not a JPEG"}
    for name, record in records.items():
        if name in reasons:
            assert reasons[name] in record["error"] and "predictions" not in record
        else:
            assert len(record["predictions"]) == 5 and "error" not in record and Image.open(record["annotated"]).load()
    assert int(done.stdout.split()[-1]) < 1500
    assert Image.open(tmp_path / "copies/tall.jpg").height == Image.open(tmp_path / "copies/wide.jpg").width == 8192


def test_copies_that_cannot_be_written_leave_the_records(capsys, monkeypatch):
    for name in ("1.png", "2.png"):
        Image.fromarray(np.full((28, 28), 90, np.uint8)).save(name)
    pathlib.Path("taken").touch()
    monkeypatch.setattr(prediction, "check_writable", lambda *arguments, **options: None)  # as if it came later
    assert main(["predict", "1.png", "2.png", *DIGITS, "--out", "taken", "--json", "records.json"]) == 1
    records = json.loads(pathlib.Path("records.json").read_text())
    assert [len(record["predictions"]) for record in records] == [5, 5]
    assert all(record["error"].startswith("no annotated copy: ") and "taken" in record["error"] for record in records)
    assert "1.png: no annotated copy: " in capsys.readouterr().out


def test_copies_of_one_name_written_at_once_are_all_there():
    """As by several processes: none takes the name of another's copy, which is not whole yet."""
    image = Image.new("RGB", (32, 32))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        written = [pool.submit(prediction.annotated_copy, image, "cat", [], pathlib.Path("out")) for _ in range(8)]
        paths = {future.result().name for future in written}
    assert paths == {path.name for path in pathlib.Path("out").iterdir()} and len(paths) == 8


def test_a_name_gives_no_orders_to_a_terminal(capsys):
    """ESC ] 0 ; ... BEL names the window, ESC [ 2 J clears it; a line break would begin a line of its own."""
    os.makedirs("data/val/0")
    for name in ("\x1b]0;x\x07\x1b[2Ja\nb.png", "\x9bz.png", "data/val/0/\x1b[2J.png"):
        Image.fromarray(np.full((28, 28), 90, np.uint8)).save(name)
        pathlib.Path(f"{name}.jpg").write_bytes(b"no image")
    names = [name for name in os.listdir() if name != "data"]
    for command in (["predict", *names], ["attention", *names, "--steps", "0"],
                    ["eval", "--data.root", "data", "--per_class", "true", "--data.max_skipped", "0.5"]):
        main([*command, *DIGITS])
        printed = capsys.readouterr()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed.out + printed.err)
        assert r"\x1b[2J" in printed.out and not printed.out.count("\nb.png")
