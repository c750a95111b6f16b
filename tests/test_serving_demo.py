"""`mindvit demo` without a browser, what looks at images and what it refuses; test_serving_pages.py has the page."""

import contextlib
import http.client
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from web import BOUNDARY, DIGITS, GUARDED, Program, ask, form

import mindvit
from mindvit import write_digits
from mindvit.cli import main
from mindvit.config import DemoJob, ModelConfig
from mindvit.files import HOST
from mindvit.inference.classifier import open_classifier
from mindvit.serving.demo import Looker, readable
from mindvit.serving.words import WORDS, in_language


def test_what_is_shown_is_what_mindvit_predict_says(capsys):
    digits = write_digits("digits") / "val"
    files = [str(min(digits.glob(f"{digit}/*"))) for digit in range(3)]
    assert main(["predict", *files, *DIGITS, "--json", "records.json", "--batch_size", "1"]) == 0
    looker = Looker(open_classifier(DemoJob(model=ModelConfig("digits", pretrained=True)), "graph"))
    for record in json.loads(pathlib.Path("records.json").read_text()):
        look = looker(record["path"])
        assert look.predictions == {each["label"]: each["probability"] for each in record["predictions"]}
        assert look.evidence.target == record["predictions"][0]["index"] and look is looker(record["path"])
        assert abs(look.evidence.logits - looker.classifier.logits(
            looker.classifier.prepare(mindvit.open_rgb(record["path"]))[None])[0]).max() < 1e-5
    looker.classifier.names[:] = ["crane"] * 10
    Image.fromarray(np.full((28, 28), 90, np.uint8)).save("gray.png")
    assert all(label.startswith("crane (") for label in looker("gray.png").predictions)  # each has a bar of its own
    pathlib.Path("no image.png").write_text("words")
    assert list(readable(["no image.png", "gray.png", "nowhere.png"], looker.classifier.preprocessing)) == ["gray.png"]
    printed = capsys.readouterr().out
    assert "no example: cannot read the image no image.png: not a JPEG" in printed and "nowhere.png" in printed
    with pytest.raises(ValueError, match="cannot read the image no image.png: not a JPEG"):
        looker("no image.png")


def test_both_languages_say_the_same():
    assert set(WORDS["en"]) == set(WORDS["zh"])
    for name, english in WORDS["en"].items():
        assert english.count("{") == WORDS["zh"][name].count("{"), name
    assert in_language("zh-TW,zh;q=0.9") is WORDS["zh"]
    assert in_language("de,zh;q=0.5") is in_language(None) is WORDS["en"]


def asked(port, data, session, method="relevance", layer=0):
    """What the page is sent when it asks about an image."""
    show = next(each["id"] for each in ask(port, "GET", "/config")[2]["dependencies"] if len(each["outputs"]) == 3)
    fields, kind = {"fn_index": show, "session_hash": session, "data": [data, method, layer, -1]}, "application/json"
    assert ask(port, "POST", "/gradio_api/queue/join", json.dumps(fields), **{"Content-Type": kind})[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        return next(line for line in connection.getresponse() if b"process_completed" in line).decode()


def test_the_demo_reads_what_was_sent_alone(tmp_path, monkeypatch):
    """Neither files of the machine nor addresses, whatever stands in the place of an uploaded file; and the program
    itself turns to no other machine. What was sent to one that was killed is gone."""
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = tmp_path / f".mindvit-demo-1.{HOST}-{killed.pid}"
    left.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    Image.new("L", (28, 28)).save(tmp_path / "private.png")
    private, meta = str(tmp_path / "private.png"), {"_type": "gradio.FileData"}
    with Program("demo", "--port", "0", code=GUARDED) as program:
        assert not left.exists() and len(list(tmp_path.glob(".mindvit-demo*"))) == 1
        assert program.lines[0].startswith("no weights are named: these are the packaged ones, which name handwritten")
        for i, data in enumerate(({"path": private, "meta": meta}, {"path": private}, private,
                                  {"path": "http://192.0.2.1/a.png", "meta": meta},
                                  {"path": "http://example.com/a.png", "meta": meta},
                                  {"path": "a.png", "url": "http://example.com/a.png", "meta": meta})):
            told = asked(program.port, data, f"session{i}")
            assert "confidences" not in told and '"success":false' in told, data
        before = len(program.lines)
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        sent = form([("mine.png", pathlib.Path(private).read_bytes())], "files")
        [path] = ask(program.port, "POST", "/gradio_api/upload", sent, **kind)[2]
        for layer, part in ((99, "layer is 99"), (None, "confidences")):  # whoever types a number may empty the field
            assert part in asked(program.port, {"path": path, "meta": meta}, f"layer{layer}", "attention", layer)
        assert "Traceback" not in "".join(program.lines[before:])
        for path in (f"/gradio_api/file={private}", "/gradio_api/file=/etc/passwd", "/monitoring"):
            assert ask(program.port, "GET", path)[0] == 403
        status, headers, page = ask(program.port, "GET", "/")
        assert status == 200 and "default-src 'self'" in headers["Content-Security-Policy"]
        assert main(["demo", "--port", str(program.port)]) == 2
        assert "ELSEWHERE" not in "".join(program.lines)
    assert not list(pathlib.Path(mindvit.__file__).parent.rglob("*.pyi"))  # gradio writes one beside its subclasses


@pytest.mark.parametrize("words, message", [
    (["--model.name", "digits"], "there are no weights to show"), (["nowhere.png"], "nowhere.png"),
    (["--checkpoint", "nowhere.ckpt"], "nowhere.ckpt"), (["--host", "192.0.2.1"], "no address of this machine")])
def test_what_cannot_be_shown_is_said_at_once(words, message, capsys):
    assert main(["demo", "--port", "0", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    assert "pip install '.[demo]'" in capsys.readouterr().err
