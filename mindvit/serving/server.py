"""`mindvit serve`: from a ServeJob to a server that answers until it is stopped."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from mindvit.config import ServeJob, check_job
from mindvit.inference.classifier import open_classifier
from mindvit.serving.app import build_app
from mindvit.serving.batching import Batcher
from mindvit.zoo import check_weights

IDLE_SECONDS = 10  # in which a client asks for something, or reads what is answered
STOP_SECONDS = 30  # in which what has come is answered when the server is stopped
CONNECTIONS = 500  # at a time; one beyond gets status 503
READERS = min(4, os.cpu_count() or 1)  # threads that decode images
BLOCK = 64 * 2**20  # bytes; from 32 MB on, glibc gives memory back to the system when it is free


class Protocol(H11Protocol):
    """HTTP that waits for no client longer than IDLE_SECONDS: not for the header of its next request, nor until it
    reads an answer. For a body there is `upload.BODY_SECONDS`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.stuck: asyncio.TimerHandle | None = None
        self.expect_request(None)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        self.expect_request(answered)

    def expect_request(self, last: RequestResponseCycle | None) -> None:
        """Ends the connection unless another request than the last comes."""
        self.loop.call_later(IDLE_SECONDS, self.end_after, last)

    def end_after(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck = self.loop.call_later(IDLE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stuck:
            self.stuck.cancel()


def listening(host: str, port: int) -> socket.socket:
    """A socket on which clients wait from now on.

    Raises:
        ValueError: it is not to be had; the message says what to do.
    """
    reasons = {
        0: f"host is {host!r}, which is neither an address nor a name that is known here; take 127.0.0.1 or 0.0.0.0",
        errno.EADDRINUSE: f"port {port} of {host} is taken; stop what listens there, or take another: "
                          f"--port {port + 1 if port < 65535 else 8000}",
        errno.EADDRNOTAVAIL: f"host is {host}, which is no address of this machine; 127.0.0.1 is reached from here "
                             "alone, 0.0.0.0 from all of its networks",
        errno.EACCES: f"port {port} is kept for the system; take one from 1024 on: --port 8000"}
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or socket.EAI_NONAME  # negative where the name is at fault
        raise ValueError(reasons.get(max(number, 0), f"cannot listen on port {port} of {host}: {error}")) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer's second part waits 40 ms
    return listener


def refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status, {"Connection": "close"})


class Door:
    """Middleware before all others. It refuses what a page of another site sends, which its visitor's browser would
    bring even where this machine alone is listened to; and it tells who is not answered STOP_SECONDS after a stop."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["method"] == "POST" \
                and (b"sec-fetch-site", b"cross-site") in scope["headers"]:
            app = refusal(403, "a page of another site sent this")
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # the answer has begun
                await refusal(503, "the server stops")(scope, receive, send)


def web_server(app: FastAPI) -> uvicorn.Server:
    """Uvicorn with the limits of this module."""
    return uvicorn.Server(uvicorn.Config(
        Door(app), http=Protocol, ws="none", loop="asyncio", log_config=None, log_level="error",
        access_log=False, server_header=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS))


def run(app: FastAPI, listener: socket.socket, told: str, stopping: Callable[[], None] = lambda: None) -> None:
    """Answers what comes to a socket until a KeyboardInterrupt, and then what has come.

    Args:
        app (FastAPI): what answers.
        listener (socket): see `listening`.
        told (str): what is said behind the address.
        stopping (callable): what ends answers that would last as long as their client.

    Raises:
        KeyboardInterrupt: the one that came, with what is kept.
        RuntimeError: the server ended by itself.
    """
    server = web_server(app)
    ended = threading.Event()  # a join that a signal interrupts takes the thread for ended (CPython 3.10 to 3.12)

    def answer() -> None:
        try:
            server.run([listener])
        finally:
            ended.set()

    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host).is_loopback:
        print(f"anybody who reaches this machine at {host} can use it: it asks for no password", flush=True)
    try:
        threading.Thread(target=answer, daemon=True).start()
        print(f"ready: http://{f'[{host}]' if ':' in host else host}:{port}{told}; Ctrl-C stops", flush=True)
        ended.wait()
    except KeyboardInterrupt:
        stopping()
        server.should_exit = True
        ended.wait()
        raise KeyboardInterrupt("what had come is answered") from None
    raise RuntimeError("the server ended by itself")


def serve(job: ServeJob) -> None:
    """Names images over HTTP until it is stopped.

    Args:
        job (ServeJob): the run.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        KeyboardInterrupt: it was stopped.
        TypeError: it is no ServeJob.
        ValueError: no weights are given, the port is taken, or network, checkpoint or device do not fit.

    Example:
        >>> serve(ServeJob(checkpoint="runs/a/best.ckpt"))  # doctest: +SKIP
        device CPU ...
        ready: http://127.0.0.1:8000/predict takes images, /docs shows how; Ctrl-C stops
    """
    check_job(job, ServeJob, "serve")
    check_weights(job, "serve")
    Image.core.set_block_size(BLOCK)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(job.host, job.port))
        classifier = open_classifier(job, "graph")
        batcher = stack.enter_context(Batcher(classifier, job.batch_size))
        readers = ThreadPoolExecutor(READERS)
        stack.callback(readers.shutdown, wait=False, cancel_futures=True)
        run(build_app(job, classifier, batcher, readers), listener, "/predict takes images, /docs shows how")
