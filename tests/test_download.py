"""Fetching from a real server on this machine, which does what servers do wrong."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
import urllib.request

import pytest
from archives import make_zip, tree

import mindvit
from mindvit import DownLoad, DownloadError, download, download_file, download_imagenet_subset

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends `server.files`, unless `server.faults` has functions for a path: one an answer, the last for ever."""

    def do_GET(self):
        self.server.requests.append(self.path)
        path, range = self.path.partition("?")[0], self.headers.get("Range")
        self.server.ranges += [range] if range else []
        faults = self.server.faults.get(path)
        with contextlib.suppress(ConnectionError):
            if faults:
                (faults.pop(0) if len(faults) > 1 else faults[0])(self)
            elif path in self.server.files:
                self.send(self.server.files[path])
            else:
                self.send_error(404)

    def send(self, content, length=None, status=200, taken=None, **headers):
        """All of the content, or `taken` bytes, with `length` said to be its; "no": nothing is said."""
        self.send_response(status)
        if length != "no":
            self.send_header("Content-Length", len(content) if length is None else length)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[:taken])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.faults, server.requests, server.ranges = {}, {}, [], []
    server.url, server.gate = f"http://127.0.0.1:{server.server_port}", threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited, which here pass at once."""
    waits = []
    monkeypatch.setattr(download, "time", types.SimpleNamespace(sleep=waits.append))
    return waits


def test_file_is_fetched_once(server, tmp_path):
    content = server.files["/weights.ckpt"] = os.urandom(300_000)
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for _ in range(2):
        download_file(f"{server.url}/weights.ckpt", tmp_path / "a" / "w.ckpt", **known)
        seen = len(server.requests)
        assert tree(tmp_path) == {"a/w.ckpt": content}
    assert len(server.requests) == seen
    (tmp_path / "a" / "w.ckpt").write_bytes(content[:-1])
    with pytest.raises(DownloadError, match="w.ckpt is there, but it has 299999 bytes instead of 300000"):
        download_file(f"{server.url}/weights.ckpt", tmp_path / "a" / "w.ckpt", **known)
    assert tree(tmp_path) == {"a/w.ckpt": content[:-1]}
    for wrong, reason in ((b"", "it is empty"), (HTML, "it is a web page")):
        (tmp_path / "a" / "w.ckpt").write_bytes(wrong)
        with pytest.raises(DownloadError, match=f"w.ckpt is there, but {reason}"):
            download_file(f"{server.url}/weights.ckpt", tmp_path / "a" / "w.ckpt")


# What a server does wrong; `download` asks twice for the head before each transfer.

def good(handler):
    handler.send(CONTENT, ETag="1")


def in_parts(handler, size=200_000, shift=0, **headers):
    """Breaks off after `size` bytes, and goes on from where it is asked to, or elsewhere."""
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    if start:
        headers["Content_Range"] = f"bytes {start + shift}-{len(CONTENT) - 1}/{len(CONTENT)}"
    rest = CONTENT[start + shift:]
    handler.send(rest, len(CONTENT) - start, 206 if start else 200, size, ETag="1", **headers)


def another_part(handler):
    in_parts(handler, shift=5 if handler.headers.get("Range") else 0)


def another_file(handler):
    handler.send(CONTENT[::-1], ETag="2", taken=200_000)


def broken_off(handler):
    handler.send(CONTENT, taken=200_000, ETag="1")


def reset(handler):
    handler.send(CONTENT, taken=200_000, ETag="1")
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


def closed(handler):
    handler.close_connection = True


def stalled(handler):
    handler.send(CONTENT, taken=200_000, ETag="1")
    handler.wfile.flush()
    handler.server.gate.wait(20)


def cut_chunks(handler):
    handler.send(b"3e8\r\n" + CONTENT[:1000] + b"\r\n3e8\r\n" + CONTENT[:10], "no", Transfer_Encoding="chunked")


def endless(handler):
    handler.send(b"", "no")
    while True:  # until the other side closes
        handler.wfile.write(CONTENT)


def endless_in_chunks(handler):
    handler.send(b"", "no", Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT + b"\r\n")


def status(number):
    return lambda handler: handler.send_error(number)


def loop(handler):
    handler.send(b"", status=302, Location=handler.path)


def elsewhere(handler):
    handler.send(b"", status=302, Location="/whole")


HTML = b"\n<!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.mark.parametrize("faults, tries, resumed", [
    ([good], 1, []),
    ([elsewhere], 1, []),
    ([lambda handler: handler.send(CONTENT, "no")], 1, []),
    ([in_parts], 3, ["bytes=200000-", "bytes=400000-"]),
    ([good, good, broken_off, good], 2, ["bytes=200000-"]),  # the Range is ignored
    ([another_part, another_part, another_part, another_part, another_part, another_part, good], 2, ["bytes=200000-"]),
    ([another_file, another_file, another_file, good], 2, []),
    ([broken_off, broken_off, stalled, good], 2, None),
    ([broken_off, broken_off, reset, good], 2, None),
    ([closed, closed, good], 3, []),
    ([status(503), status(500), good], 3, []),
    ([good, good, status(503), good], 2, []),
    ([cut_chunks, cut_chunks, cut_chunks, good], 2, []),
], ids=["good", "redirect", "no length", "in parts", "no Range", "another part", "another file", "stall", "reset",
        "closed", "busy", "busy later", "chunks"])
def test_another_try_gets_the_whole_file(server, tmp_path, waits, monkeypatch, capsys, faults, tries, resumed):
    monkeypatch.setattr(download, "SILENCE", 0.3)
    server.faults["/f"], server.files["/whole"] = list(faults), CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    download_file(f"{server.url}/f", tmp_path / "f.bin", sha256=digest)
    assert tree(tmp_path) == {"f.bin": CONTENT} and waits == [1, 2, 4, 8][:tries - 1]
    assert resumed is None or server.ranges == resumed
    out, error = capsys.readouterr()
    assert out == "" and len(re.findall(r"^try \d of 5 in \d s: .+$", error, re.MULTILINE)) == tries - 1


@pytest.mark.parametrize("fault, known, tries, reason", [
    (broken_off, {}, 5, "it broke off after 200000 of 512000 bytes"),
    (lambda handler: in_parts(handler, 100_000), {}, 5, "it broke off after 500000 of 512000 bytes"),
    (stalled, {}, 5, "timed out"),
    (lambda handler: handler.send(CONTENT, len(CONTENT) + 1), {}, 5, "broke off after 512000 of 512001 bytes"),
    (closed, {}, 5, "closed connection without response"),
    (cut_chunks, {}, 5, "IncompleteRead"), (status(500), {}, 5, "HTTP Error 500"),
    (status(429), {}, 5, "HTTP Error 429"), (status(404), {}, 1, "HTTP Error 404"),
    (status(403), {}, 1, "HTTP Error 403"), (loop, {}, 1, "infinite loop. The last"),
    (lambda handler: handler.send(b""), {}, 1, "it is empty"),
    (lambda handler: handler.send(b"", "no"), {}, 1, "it is empty"),
    (lambda handler: handler.send(b"", "no", 204), {}, 1, "the server answers 204 in place of the file"),
    (lambda handler: handler.send(CONTENT, status=206, Content_Range="bytes 0-511999/600000"), {}, 1, "answers 206"),
    (lambda handler: handler.send(HTML, Content_Type="application/octet-stream"), {}, 1, "it is a web page"),
    (lambda handler: handler.send(CONTENT, "many"), {}, 1, "says that it has many bytes"),
    (lambda handler: handler.send(CONTENT, -5), {}, 1, "says that it has -5 bytes"),
    (lambda handler: handler.send(gzip.compress(CONTENT), Content_Encoding="gzip"), {}, 1, "encoded, as gzip"),
    (good, {"size": 511_999}, 1, "it has 512000 bytes instead of 511999"),
    (good, {"size": 512_001}, 1, "it has 512000 bytes instead of 512001"),
    (good, {"sha256": "ab" * 32}, 1, "its SHA-256 is [0-9a-f]{64} instead of abab"),
    (endless, {}, 1, "does not say how long it is, and it goes on after 5.0 MB"),
    (endless_in_chunks, {}, 1, "does not say how long it is, and it goes on after 5.0 MB"),
    (endless, {"size": 1_000_000}, 1, "does not say how long it is, and it goes on after 1.0 MB"),
])
def test_a_failed_transfer_ends_and_leaves_nothing(server, tmp_path, waits, monkeypatch, fault, known, tries, reason):
    monkeypatch.setattr(download, "SILENCE", 0.1)
    monkeypatch.setattr(download, "LONGEST", 5_000_000)
    server.faults["/f"] = [fault]
    with pytest.raises(DownloadError, match=f"^cannot fetch {server.url}/f: .*{reason}.* put it at .*here.bin") as said:
        download_file(f"{server.url}/f", tmp_path / "new" / "here.bin", **known)
    assert list((tmp_path / "new").iterdir()) == [] and "\n" not in str(said.value)
    assert waits == [1, 2, 4, 8][:tries - 1]


@pytest.mark.parametrize("error", [socket.gaierror(-3, "Temporary failure"), TimeoutError("timed out")])
def test_without_a_network_nobody_waits(tmp_path, waits, monkeypatch, error):
    """No name is found, or no packet comes back; "refused" stands in the next test."""
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(DownloadError, match=f"{error.args[-1]}.*put it at"):
        download_file("http://example.invalid/f", tmp_path / "f.bin")
    assert waits == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/f", "file:///etc/passwd", "f.bin"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match=f"cannot fetch {url}: it begins with neither http:// nor https://"):
        download_file(url, tmp_path / "f.bin")


def test_a_full_disk_is_named(server, tmp_path, waits, monkeypatch):
    server.faults["/f"] = [good]
    with monkeypatch.context() as patch:
        usage = download.shutil.disk_usage(tmp_path)
        patch.setattr(download.shutil, "disk_usage", lambda folder: usage._replace(free=400_000))
        with pytest.raises(DownloadError, match="it needs 0.5 MB, and the disk has 0.4 MB free; free .*out or"):
            download_file(f"{server.url}/f", tmp_path / "out" / "f.bin")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(DownloadError, match="File too large; free space on the disk of .*out or choose a folder"):
            download_file(f"{server.url}/f", tmp_path / "out" / "f.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "out").iterdir()) == [] == waits


def python(code):
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env={
        **os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1])})


@pytest.mark.parametrize("dies", [False, True])
def test_the_second_of_two_waits_for_the_first(server, tmp_path, capsys, dies):
    server.files["/f"], server.faults["/f"] = CONTENT, [good, good, stalled, good]
    if not dies:
        server.faults["/f"][2] = lambda handler: (server.gate.wait(20), good(handler))
    with python(f"import mindvit; mindvit.download_file('{server.url}/f', 'f.bin')") as first:
        while len(server.requests) < 3:
            assert first.poll() is None
            server.gate.wait(0.01)
        second = threading.Thread(target=download_file, args=(f"{server.url}/f", "f.bin"))
        second.start()
        said = ""
        while "another process is fetching f.bin; waiting for it" not in said:
            said += capsys.readouterr().err
            server.gate.wait(0.01)
        assert len(server.requests) == 3
        first.kill() if dies else server.gate.set()
        second.join(20)
        assert pathlib.Path("f.bin").read_bytes() == CONTENT and not os.path.exists(".f.bin.lock")
        assert len(server.requests) == (6 if dies else 3)
        assert first.wait(20) == (-signal.SIGKILL if dies else 0)


def test_ctrl_c_leaves_nothing(server, tmp_path):
    server.faults["/f.zip"] = [stalled]
    code = ("import signal, sys, mindvit.download as d; from mindvit.cli import main; "
            "signal.signal(signal.SIGINT, signal.default_int_handler); "
            f"d.IMAGENET_SUBSET_URL = '{server.url}/f.zip'; sys.exit(main(['download', 'dataset']))")
    with python(code) as process:
        while len(server.requests) < 3:
            assert process.poll() is None
            server.gate.wait(0.01)
        assert os.listdir()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().endswith("mindvit download: stopped\n")
    assert os.listdir() == []


def test_the_bar_is_for_terminals(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    server.faults["/f"] = [good]
    for kind, shown in ((Terminal, True), (io.StringIO, False)):
        monkeypatch.setattr(sys, "stderr", kind())
        download_file(f"{server.url}/f", f"{shown}.bin")
        assert ("100%" in sys.stderr.getvalue()) == shown and f"fetching {server.url}/f\n" in sys.stderr.getvalue()


def test_the_programs_own_opener_is_used_and_stays(server, monkeypatch):
    """As one that goes through a proxy; and other threads do not notice that a transfer runs."""
    class Opener(urllib.request.OpenerDirector):
        def open(self, *arguments):
            used.append(threading.get_ident())
            return plain.open(*arguments)

    def answer(handler):
        asker = threading.Thread(target=lambda: urllib.request.urlopen(f"{server.url}/204").close())
        asker.start()
        asker.join()
        good(handler)

    used, plain, opener = [], urllib.request.build_opener(), Opener()
    server.faults.update({"/f": [answer], "/204": [lambda handler: handler.send(b"", "no", 204)]})
    monkeypatch.setattr(urllib.request, "_opener", opener)
    download_file(f"{server.url}/f", "f.bin")
    assert urllib.request._opener is opener and tree(pathlib.Path()) == {"f.bin": CONTENT}
    assert used.count(threading.get_ident()) == 3 and len(used) == 6  # each with one of another thread


def test_no_network_names_the_way_out(server, tmp_path, monkeypatch):
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/older.zip")
    with pytest.raises(DownloadError, match="cannot fetch .*/subset.zip: .*refused.*; nor .*/older.zip: .*refused.*; "
                                            f"fetch it .*put it at {tmp_path}/subset.zip. .mindvit quickstart"):
        download_imagenet_subset(tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == []


SUBSET = {f"{split}/n01440764/a.JPEG": split.encode() for split in ("train", "val", "infer")}
SUBSET["ILSVRC2012_devkit_t12.tar.gz"] = b"kit"


@pytest.mark.parametrize("top", ["dataset/", "other name/inner/", ""])
def test_imagenet_subset(server, tmp_path, monkeypatch, top):
    mac = {"__MACOSX/dataset/train/._a": b"", "__MACOSX/dataset/val/._a": b""}
    server.files["/subset.zip"] = make_zip({**mac, **{top + name: content for name, content in SUBSET.items()}})
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    root = download_imagenet_subset(tmp_path / "pictures")
    assert tree(root) == SUBSET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "subset.zip"]
    seen = len(server.requests)
    assert download_imagenet_subset(root) == root and len(server.requests) == seen
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine is there but has no folder train"):
        download_imagenet_subset(tmp_path / "mine")


def test_the_subset_is_made_once(server, tmp_path, monkeypatch):
    server.files["/subset.zip"] = make_zip({f"dataset/{name}": content for name, content in SUBSET.items()})
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    found = []
    askers = [threading.Thread(target=lambda: found.append(download_imagenet_subset(tmp_path / "a"))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == [tmp_path / "a"] * 4 and tree(tmp_path / "a") == SUBSET and len(server.requests) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "subset.zip"]


def test_the_older_address_of_the_subset(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/short/vit_dataset.zip")
    archive = make_zip({f"dataset/{name}": content for name, content in SUBSET.items()})
    server.faults["/short/vit_dataset.zip"] = [lambda handler: handler.send(archive, taken=100)]
    with pytest.raises(DownloadError, match="subset.zip: .*404.*; nor .*vit_dataset.zip: .*; fetch it by other"):
        download_imagenet_subset(tmp_path / "pictures")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/vit_dataset.zip")
    server.files["/vit_dataset.zip"] = archive
    assert tree(download_imagenet_subset(tmp_path / "pictures")) == SUBSET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "vit_dataset.zip"]
    server.files["/subset.zip"], seen = make_zip({"train/a": b"", "val/a": b""}), len(server.requests)
    assert tree(download_imagenet_subset(tmp_path / "again")) == SUBSET and len(server.requests) == seen


def test_suite_download(server, tmp_path):
    server.files["/data/pack.zip"] = make_zip({"top/a.txt": b"a", "top/b/c.txt": b"c"})
    for _ in range(2):
        DownLoad().download_and_extract_archive(f"{server.url}/data/pack.zip?x=1", str(tmp_path))
    assert {name for name in tree(tmp_path)} == {"pack.zip", "top/a.txt", "top/b/c.txt"}
    DownLoad().download_and_extract_archive(f"{server.url}/data/pack.zip", tmp_path / "d", tmp_path / "e", "p.zip")
    assert {name for name in tree(tmp_path) if name[0] in "de"} == {"d/p.zip", "e/top/a.txt", "e/top/b/c.txt"}
