"""A real server, and clients that speak HTTP to it over 127.0.0.1."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading

import numpy as np

from mindvit.inference.classifier import Classifier
from mindvit.preprocessing import Preprocessing

DIGITS = ["--model.name", "digits", "--model.pretrained", "true"]
# The command in a process that says to which other machine it turns, and does not reach it.
GUARDED = """import socket, sys
connect, getaddrinfo, own = socket.socket.connect, socket.getaddrinfo, ("127.0.0.1", "::1", "localhost", None, "")
def guard(name, given):
    if name not in own:
        print("ELSEWHERE", name, flush=True)
        raise OSError("refused")
    return given
socket.socket.connect = lambda self, address: connect(
    self, address if self.family == socket.AF_UNIX else guard(address[0], address))
socket.getaddrinfo = lambda name, *rest, **options: getaddrinfo(guard(name, name), *rest, **options)
from mindvit.cli import main
sys.exit(main())"""
BOUNDARY = "between-two-images"


def form(images, field="images"):
    """The body of a request with (name, bytes) of each image."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
             + data + b"\r\n" for name, data in images]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ask(port, method, path, body=None, seconds=60, **headers):
    """(status, headers, what the JSON says or the text)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, answer.headers, json.loads(text) if "json" in answer.headers["content-type"] else text


def predict(port, images, query="", **options):
    """(status, headers, JSON) of POST /predict."""
    return ask(port, "POST", f"/predict{query}", form(images),
               **{"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, **options)


class Program:
    """A program that says at which address it is ready, as `mindvit serve` and `mindvit demo` do; ended at the end of a
    `with`.

    Args:
        *words: of the command line.
        code: what Python runs with them, the command by default.
    """

    def __init__(self, *words, code="import sys; from mindvit.cli import main; sys.exit(main())"):
        self.process = subprocess.Popen([sys.executable, "-c", code, *words], text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.match(r"ready: http://[^/]*:(\d+)/", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("".join(self.lines))
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()

    def memory(self):
        """MiB that the process has."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))

    def stop(self, number):
        """Sends a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def plain_classifier(wait=lambda: None):
    """(a classifier without a network, the sizes of the batches that it gets): the brighter an image, the likelier is
    its second class; before it answers on images, but not on zeros, it waits."""
    sizes = []

    def logits(images):
        sizes.append(len(images))
        if images.any():
            wait()
        bright = images.mean((1, 2, 3))
        return np.stack([-bright, bright], axis=1)

    preprocessing = Preprocessing(resize_mode="squash", crop_fraction=1.0)
    return Classifier(None, logits, ["dark", "bright"], 8, preprocessing, "/home/someone/plain.ckpt"), sizes
