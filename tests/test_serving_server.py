"""`mindvit serve` as clients see it: a real process, asked over 127.0.0.1."""

import concurrent.futures
import http.client
import io
import json
import pathlib
import re
import signal
import socket
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny import TINY
from web import DIGITS, Program, ask, predict

from mindvit import save_weights
from mindvit.cli import main
from mindvit.models import ViT


@pytest.fixture(scope="module")
def server():
    with Program("serve", *DIGITS, "--port", "0") as program:
        yield program


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed, *shape):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def pictures():
    """{name: bytes} of images of many kinds."""
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 25)
    return {"a.jpg": encoded(noise(0, 50, 70, 3), "JPEG"),
            "turned.jpg": encoded(noise(1, 50, 70, 3), "JPEG", exif=turned),
            "cmyk.jpg": encoded(noise(2, 30, 30, 3).convert("CMYK"), "JPEG"), "alpha.png": encoded(noise(3, 40, 30, 4)),
            "deep.png": encoded(deep), "palette.gif": encoded(noise(4, 30, 60), "GIF"),
            "猫.webp": encoded(noise(5, 64, 64, 3), "WEBP"), "small.bmp": encoded(noise(6, 3, 2, 3), "BMP")}


def test_probabilities_are_those_of_mindvit_predict(server):
    """To the last digit where the network takes one image at a time; two or more are multiplied in another order."""
    images = pictures()
    for name, data in images.items():
        pathlib.Path(name).write_bytes(data)
    assert main(["predict", *images, *DIGITS, "--json", "records.json", "--batch_size", "1", "--top_k", "3"]) == 0
    records = json.loads(pathlib.Path("records.json").read_text("utf-8"))
    for record, image in zip(records, images.items()):
        status, _, answer = predict(server.port, [image], "?top_k=3")
        assert status == 200
        assert answer == {"images": [{"name": record["path"], "predictions": record["predictions"]}]}
    _, _, answer = predict(server.port, images.items(), "?top_k=3")
    for record, named in zip(records, answer["images"], strict=True):
        assert named["name"] == record["path"]
        for expected, found in zip(record["predictions"], named["predictions"], strict=True):
            assert found["index"] == expected["index"] and abs(found["probability"] - expected["probability"]) < 1e-6


@pytest.mark.long
def test_other_backends_serve_too(server):
    images = list(pictures().items())
    with Program("serve", *DIGITS, "--port", "0", "--backend", "onnxruntime") as other:
        for expected, found in zip(*(predict(each.port, images)[2]["images"] for each in (server, other)), strict=True):
            for one, two in zip(expected["predictions"], found["predictions"], strict=True):
                assert one["index"] == two["index"] and abs(one["probability"] - two["probability"]) < 1e-5


BAD = {"empty.jpg": (b"", "the file is empty"), "page.png": (b"<html>", "not a JPEG, PNG, BMP, WebP or GIF file"),
       "half.jpg": (encoded(noise(7, 90, 90, 3), "JPEG")[:2000], "truncated"),
       "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "convert to JPEG"),
       "bomb.png": (encoded(Image.new("1", (18_000, 10_000))), "180000000 pixels")}


def test_a_bad_image_is_a_4xx_alone_and_an_error_of_its_own_among_many(server):
    for name, (data, reason) in BAD.items():
        status, _, answer = predict(server.port, [(name, data)])
        assert status == 422 and list(answer) == ["error"], name
        assert f"cannot read the image {name}: " in answer["error"] and reason in answer["error"]
    good = ("good.png", encoded(noise(8, 28, 28)))
    status, _, answer = predict(server.port, [good, *((name, data) for name, (data, _) in BAD.items()), good])
    assert status == 200
    first, *middle, last = answer["images"]
    assert first == last and len(first["predictions"]) == 5
    assert all(set(image) == {"name", "error"} for image in middle) and [image["name"] for image in middle] == list(BAD)


def test_names_of_files_are_names_only(server):
    digit = encoded(noise(8, 28, 28))
    names = ["../../etc/passwd", "C:\\\\Users\\\\me\\\\a.png", "/abs/b.png", "", "a" * 999, "line%0Abreak.png"]
    status, _, answer = predict(server.port, [(name, digit) for name in names])
    assert status == 200
    assert [image["name"] for image in answer["images"]] == ["passwd", "a.png", "b.png", "image 4", "a" * 255,
                                                             "line%0Abreak.png"]


def test_what_the_server_tells_of_itself(server):
    status, _, model = ask(server.port, "GET", "/model")
    assert status == 200 and model["classes"] == [str(digit) for digit in range(10)]
    assert model["image_size"] == [28, 28] and model["preprocessing"]["crop_fraction"] == 0.9
    assert model["preparation"] in "".join(server.lines)
    assert model["weights"] == "digits" and {"mindspore", "numpy", "pillow"} <= set(model["versions"])
    assert ask(server.port, "GET", "/health")[::2] == (200, {"status": "ready", "waiting": 0})


def test_the_pages_name_nothing_elsewhere(server):
    """FastAPI's own page loads its scripts from another server; see also tests/test_serving_pages.py."""
    status, headers, page = ask(server.port, "GET", "/docs")
    assert status == 200 and page == ask(server.port, "GET", "/")[2]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+", page)
    assert ask(server.port, "GET", "/redoc")[0] == 404
    status, _, told = ask(server.port, "GET", "/openapi.json")
    operation = told["paths"]["/predict"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    assert {"200", "400", "403", "408", "413", "415", "422", "503"} == set(operation["responses"])
    assert set(told["components"]["schemas"]["Prediction"]["properties"]) == {"index", "label", "probability"}


@pytest.mark.parametrize("method, path, status, message", [
    ("POST", "/predict?top_k=0", 422, "top_k is '0'; it is a whole number of at least 1"),
    ("POST", "/predict?top_k=many", 422, "top_k is 'many'"), ("GET", "/predict", 405, "GET is not for this"),
    ("GET", "/etc/passwd", 404, "there is no /etc/passwd"), ("GET", "/../../etc/passwd", 404, "there is no ")])
def test_wrong_requests_get_the_reason(server, method, path, status, message):
    found, headers, answer = ask(server.port, method, path)
    assert found == status and headers["content-type"] == "application/json" and message in answer["error"]


def test_a_hundred_clients_lose_nothing(server):
    """Each sends three requests of its own image, all at once: every answer is that of its image."""
    images = [(f"{i}.png", encoded(noise(i, 28, 28))) for i in range(100)]
    alone = [predict(server.port, [image])[2]["images"][0] for image in images]

    def client(image):
        return [predict(server.port, [image])[2]["images"][0] for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(client, images))
    for expected, found in zip(alone, answers, strict=True):
        for answer in found:
            assert answer["name"] == expected["name"]
            for one, other in zip(answer["predictions"], expected["predictions"], strict=True):
                assert one["index"] == other["index"] and abs(one["probability"] - other["probability"]) < 1e-6


def test_a_taken_port_is_one_sentence(server, capsys):
    assert main(["serve", *DIGITS, "--port", str(server.port)]) == 2
    assert capsys.readouterr().err == (f"mindvit serve: port {server.port} of 127.0.0.1 is taken; stop what listens "
                                       f"there, or take another: --port {server.port + 1}\n")


@pytest.mark.parametrize("words, message", [
    ([], "there are no weights to serve"), (["--port", "99999"], "port is 99999; it is a whole number from 0 to 65535"),
    (["--host", "no.such.host.invalid"], "host is 'no.such.host.invalid', which is neither an address nor a name"),
    (["--host", "192.0.2.1"], "no address of this machine"), (["--host", "a" * 70], "neither an address nor a name"),
    (["--max_images", "200"], "max_images is 200, more than the 128 of max_waiting"),
    (["--checkpoint", "nowhere.ckpt"], "nowhere.ckpt")])
def test_what_cannot_be_served_is_said_at_once(words, message, capsys):
    words = words if not words or "--checkpoint" in words else [*DIGITS, *words]
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_weights_without_numbers_are_not_served(capsys):
    network = ViT(**TINY)
    network.norm.gamma.set_data(network.norm.gamma * 3e38)
    network.dense.weight.set_data(network.dense.weight * 3e38)
    save_weights(network, "large.ckpt")
    assert main(["serve", "--checkpoint", "large.ckpt", "--model.overrides.num_heads", "4", "--port", "0"]) == 2
    assert "large.ckpt gives no numbers: its weights are broken" in capsys.readouterr().err


def test_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", *DIGITS]) == 2
    assert "pip install '.[serve]'" in capsys.readouterr().err


SLOW = """import sys, time
sys.path.insert(0, sys.argv.pop(1))
from tiny import TINY
from web import plain_classifier
from mindvit.cli import main
from mindvit.serving import server
server.open_classifier = lambda job, mode: plain_classifier(lambda: time.sleep(0.5))[0]
sys.exit(main())"""
SLOWLY = [str(pathlib.Path(__file__).parent), "serve", "--checkpoint", "x", "--port", "0"]


def wait_for(port, images):
    """Until so many have come."""
    deadline = time.monotonic() + 20
    while ask(port, "GET", "/health")[2]["waiting"] < images:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("number, host", [
    (signal.SIGTERM, "0.0.0.0"), pytest.param(signal.SIGINT, "127.0.0.1", marks=pytest.mark.long)])
def test_a_stop_answers_what_has_come(number, host):
    """Sixteen images take four seconds, two at a time."""
    image = encoded(noise(0, 8, 8, 3))
    with Program(*SLOWLY, "--host", host, "--batch_size", "2", code=SLOW) as program, \
            concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [pool.submit(predict, program.port, [("a.png", image)] * 8) for _ in range(2)]
        wait_for(program.port, 16)
        assert program.stop(number) == 128 + number
        assert [each.result()[0] for each in asked] == [200, 200]
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", program.port))
        said = "".join(program.lines)
        assert said.count("mindvit serve: stopped; what had come is answered") == 1 and "Traceback" not in said
        assert ("anybody who reaches this machine" in said) == (host == "0.0.0.0")


@pytest.mark.long
def test_a_second_signal_leaves_at_once():
    image = encoded(noise(0, 8, 8, 3))
    with Program(*SLOWLY, "--batch_size", "1", code=SLOW) as program, concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(predict, program.port, [("a.png", image)] * 30)  # which takes 15 seconds
        wait_for(program.port, 30)
        program.process.send_signal(signal.SIGINT)
        concurrent.futures.wait([asked], timeout=0.7)
        assert program.stop(signal.SIGINT) == 130
        assert isinstance(asked.exception(5), (OSError, http.client.HTTPException))
