"""What the server refuses, and how: real sockets, hostile and slow clients."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image
from test_serving_server import encoded
from web import BOUNDARY, ask, form, plain_classifier, predict

from mindvit.config import ServeJob
from mindvit.serving import app, server, upload
from mindvit.serving.app import build_app
from mindvit.serving.batching import Batcher

IMAGE = encoded(Image.new("RGB", (8, 8), "white"))


@contextlib.contextmanager
def running(classifier=None, **options):
    """(port, uvicorn) of a server in this process."""
    job = ServeJob(**options)
    with server.listening("127.0.0.1", 0) as listener, \
            Batcher(classifier or plain_classifier()[0], job.batch_size) as batcher, \
            concurrent.futures.ThreadPoolExecutor(2) as readers:
        uvicorn = server.web_server(build_app(job, batcher.classifier, batcher, readers))
        thread = threading.Thread(target=uvicorn.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1], uvicorn
        finally:
            uvicorn.should_exit = True
            thread.join(40)


@contextlib.contextmanager
def serving(classifier=None, **options):
    """The port of such a server, on which nothing waits in the end."""
    with running(classifier, **options) as (port, _):
        yield port
        assert ask(port, "GET", "/health")[2] == {"status": "ready", "waiting": 0}


@pytest.fixture(scope="module")
def port():
    with serving(max_images=3, max_bytes=100_000) as port:
        yield port


def said(connection):
    """(status, what the body says) of the one answer, until the server ends the connection or has sent it whole."""
    text = b""
    while chunk := connection.recv(65536):
        text += chunk
        head, _, body = text.partition(b"\r\n\r\n")
        if b"content-length: %d\r\n" % len(body) in head.lower():
            break
    return int(head.split()[1]), body.decode()


def send(port, *pieces, seconds=20):
    """(status, body) for a request sent as it is."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        return said(connection)


def head(*lines, kind=f"multipart/form-data; boundary={BOUNDARY}"):
    return "\r\n".join(["POST /predict HTTP/1.1", "Host: a", f"Content-Type: {kind}", *lines, "", ""]).encode()


def chunks():
    """A body without end, of which 40 times the limit is sent."""
    yield head("Transfer-Encoding: chunked")
    start = form([("a.png", b"")])[:-len(BOUNDARY) - 8]
    yield b"%x\r\n%s\r\n" % (len(start), start)
    for _ in range(400):
        yield b"2710\r\n" + bytes(10_000) + b"\r\n"


def body(data, kind=f"multipart/form-data; boundary={BOUNDARY}"):
    return [head(f"Content-Length: {len(data)}", kind=kind), data]


ONE = form([("a.png", IMAGE)])
LONG = "a" * 100_000
REQUESTS = {
    "four images": (body(form([("a.png", IMAGE)] * 4)), 413, "more than 3 images"),
    "a thousand parts": (body(form([("a", b"1")] * 1000)), 413, "more than 3 images"),
    "too many bytes": (body(form([("a.png", bytes(200_000))])), 413, "more than 100,000 bytes"),
    "a length that is not sent": ([head("Content-Length: 99999999999999")], 413, "more than 100,000 bytes"),
    "chunks without end": (chunks(), 413, "more than 100,000 bytes"),
    "JSON": (body(b'{"image": "a.png"}', "application/json"), 415, "the body is application/json; send multipart"),
    "an image as it is": (body(IMAGE, "image/png"), 415, "the body is image/png; send multipart/form-data"),
    "no type": ([b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"], 415, "of no type"),
    "no boundary": (body(ONE, "multipart/form-data"), 415, "without a boundary"),
    "a long boundary": (body(ONE, "multipart/form-data; boundary=" + "x" * 5000), 400, "no such form"),
    "another boundary": (body(ONE, "multipart/form-data; boundary=other"), 400, "no such form"),
    "another field": (body(form([("a.png", IMAGE)], "file")), 400, "the part 'file' is no file named images"),
    "text": (body(ONE.replace(b'; filename="a.png"', b"")), 400, "the part 'images' is no file"),
    "no headers": (body(f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()), 400, "the part '' is no file"),
    "a long header": (body(form([("a" * 50_000, IMAGE)])), 400, "no such form"),
    "noise": (body(os.urandom(5000)), 400, "no such form"), "empty": (body(b""), 400, "ends in the middle"),
    "cut": (body(ONE[:-9]), 400, "ends in the middle"), "no image": (body(form([])), 400, "has no image"),
    "encoded": (body(b"\x1f\x8b" + bytes(50)), 400, "no such form"),
    "a query that is no number": ([head("Content-Length: 0").replace(b"/predict", b"/predict?top_k=" + b"9" * 5000)],
                                  422, "whole number"),
    "a long header of the request": ([head(f"X-Long: {LONG}")], 400, ""),
    "two lengths": ([head("Content-Length: 5", "Content-Length: 6")], 400, ""),
    "no HTTP": ([b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n"], 400, ""),
    "a page of another site": ([head("Sec-Fetch-Site: cross-site", f"Content-Length: {len(ONE)}"), ONE], 403,
                               "another site"),
    "a web socket": ([head("Connection: upgrade", "Upgrade: websocket", "Content-Length: 0")], 400, "")}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_wrong_request_gets_the_reason(port, kind):
    pieces, status, reason = REQUESTS[kind]
    found, text = send(port, *pieces)
    assert found == status, text
    assert not reason or reason in json.loads(text)["error"]
    assert "/home" not in text and "Traceback" not in text
    assert predict(port, [("a.png", IMAGE)])[0] == 200


def test_a_client_that_waits_for_a_word_is_refused_before_it_sends(port):
    started = time.monotonic()
    assert send(port, head("Content-Length: 200000", "Expect: 100-continue"))[0] == 413
    assert time.monotonic() - started < 1


def test_an_answer_goes_out_at_once():
    """Without this option its body waits 40 ms for the word that its head has come; asyncio does not set it."""
    with server.listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()), \
            listener.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_who_comes_when_too_many_wait_is_told_to_come_back():
    """Two images may wait: the third request gets 503, and its answer when it comes again."""
    gate = threading.Event()
    with serving(plain_classifier(lambda: gate.wait(20))[0], max_images=2, max_waiting=2) as port, \
            concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(predict, port, [("a.png", IMAGE)] * 2)
        while ask(port, "GET", "/health")[2]["waiting"] < 2:
            time.sleep(0.01)
        status, headers, answer = predict(port, [("a.png", IMAGE)])
        assert (status, headers["Retry-After"]) == (503, "1") and "2 images wait" in answer["error"]
        gate.set()
        assert asked.result(20)[0] == predict(port, [("a.png", IMAGE)])[0] == 200


def test_bytes_that_are_held_have_a_limit(monkeypatch):
    monkeypatch.setattr(upload, "HELD", 1)
    with serving(max_bytes=10_000) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head("Content-Length: 9000") + ONE[:200] + bytes(8000))
            deadline = time.monotonic() + 10
            while predict(port, [("a.png", bytes(3000))])[0] != 503:
                assert time.monotonic() < deadline
        while (status := predict(port, [("a.png", IMAGE)])[0]) == 503:  # once its client has left, they are free
            assert time.monotonic() < deadline + 10
        assert status == 200


def test_slow_clients_are_left(monkeypatch):
    """Half a header, a body that does not come, an answer that is not read: each ends within its time."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(upload, "BODY_SECONDS", 0.5)
    classifier, _ = plain_classifier()
    classifier.names[0] = "dark" * 5_000_000
    with serving(classifier) as port:
        for start in (b"", b"POST /predict HTTP/1.1\r\nHost:"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(start)
                with contextlib.suppress(ConnectionError):
                    assert connection.recv(100) == b""
        status, text = send(port, head("Content-Length: 5000") + ONE[:100])
        assert status == 408 and "did not come within 0.5 seconds" in text
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:  # half of a second request
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert said(connection)[0] == 200
            connection.sendall(b"GET /health HTTP/1.1\r\nHo")
            with contextlib.suppress(ConnectionError):
                assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /model HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(1)
            received = 0
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(2**20):
                    received += len(chunk)
            assert received < 20_000_000  # what lay in the buffers


def test_who_leaves_is_not_computed_and_holds_no_place(caplog):
    gate = threading.Event()
    classifier, sizes = plain_classifier(lambda: gate.wait(20))
    with serving(classifier, batch_size=1, max_images=4, max_waiting=4) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"".join(body(form([("a.png", IMAGE)] * 4))))
            deadline = time.monotonic() + 10
            while len(sizes) < 2:  # one when the network was compiled
                assert time.monotonic() < deadline
        while ask(port, "GET", "/health")[2]["waiting"]:
            assert time.monotonic() < deadline
        ask(port, "GET", "/health")  # the loop reaches the batcher's futures one turn after it counts no image
        gate.set()
        assert predict(port, [("a.png", IMAGE)])[0] == 200
    assert len(sizes) == 3 and not caplog.text


def resident():
    """Bytes of memory that this process has."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_they_sent_who_left_is_let_go(monkeypatch):
    """Also where it waits for a thread that decodes it, of which each is at work."""
    gate, image_in = threading.Event(), app.image_in
    monkeypatch.setattr(app, "image_in", lambda *given: gate.wait(20) and image_in(*given))
    with serving(max_bytes=10**7) as port:
        before = resident()
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(b"".join(body(form([("a.png", bytes(5_000_000))]))))
                while not ask(port, "GET", "/health")[2]["waiting"]:
                    time.sleep(0.01)
            while ask(port, "GET", "/health")[2]["waiting"]:
                time.sleep(0.01)
        held = resident() - before
        gate.set()
    assert held < 60_000_000


def test_a_stop_ends_what_does_not_end(monkeypatch, caplog):
    """A body that does not come, and a network that does not answer; both clients are told."""
    monkeypatch.setattr(server, "STOP_SECONDS", 1)
    gate = threading.Event()
    with running(plain_classifier(lambda: gate.wait(20))[0]) as (port, uvicorn), contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(2)]
        for client, sent in zip(clients, (ONE[:100], ONE)):
            client.sendall(head(f"Content-Length: {len(ONE)}") + sent)
        while ask(port, "GET", "/health")[2]["waiting"] < 1:
            time.sleep(0.01)
        uvicorn.should_exit = True
        for client in clients:
            status, text = said(client)
            assert status == 503 and json.loads(text)["error"] == "the server stops"
    assert "Traceback" not in caplog.text


def test_a_failing_network_is_a_500_without_its_message(caplog):
    def fail():
        raise RuntimeError("secret of /home/someone")

    with serving(plain_classifier(fail)[0]) as port:
        status, _, answer = predict(port, [("a.png", IMAGE)])
        assert status == 500 and "secret" not in json.dumps(answer)
    assert "secret of /home/someone" in caplog.text


def test_numbers_that_are_none_are_an_error_of_the_image():
    classifier, _ = plain_classifier()
    object.__setattr__(classifier, "logits", lambda images: np.where(images.any(), np.inf, images.mean((2, 3))))
    with serving(classifier) as port:
        status, _, answer = predict(port, [("a.png", IMAGE)])
        assert status == 422 and answer["error"] == "the network gives no numbers for the image a.png"
