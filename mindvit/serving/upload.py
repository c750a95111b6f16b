"""The images in the body of a request, with limits that hold while it is read."""

import asyncio
import contextlib
import logging
import re
from typing import Any

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mindvit.config import ServeJob

FIELD = "images"
FORM = f"send multipart/form-data with each image in a part named {FIELD}, as `curl -F {FIELD}=@cat.jpg` does"
BODY_SECONDS = 60  # in which a body has come
REST_SECONDS = 2  # in which a client that is refused comes to its end, before which it may not read the answer
LONGEST_NAME = 255  # characters
HELD = 16  # requests of max_bytes that are held at a time
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what it warns of is answered


class Held:
    """What the server holds of the requests that are being answered, as `images` and `bytes`."""

    def __init__(self, job: ServeJob) -> None:
        self.job, self.images, self.bytes = job, 0, 0

    def take(self, images: int = 0, bytes: int = 0) -> None:
        """Holds so many more, unless they are too many."""
        if self.images + images > self.job.max_waiting or self.bytes + bytes > HELD * self.job.max_bytes:
            raise HTTPException(503, f"the server is busy: {self.images} images wait; try again in a second",
                                {"Retry-After": "1"})
        self.images += images
        self.bytes += bytes


class Form:
    """What MultipartParser finds, as `images`, a list of (name, bytes)."""

    def __init__(self, most: int) -> None:
        self.most, self.ended = most, False
        self.images: list[tuple[str, bytes]] = []

    def on_part_begin(self) -> None:
        if len(self.images) == self.most:
            raise HTTPException(413, f"the request has more than {self.most} images; send fewer at a time "
                                     "(mindvit serve --max_images)")
        self.options: dict[bytes, bytes] = {}
        self.name, self.value = bytearray(), bytearray()
        self.data: list[bytes] = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        if self.name.lower() == b"content-disposition":
            _, self.options = parse_options_header(bytes(self.value))
        self.name.clear()
        self.value.clear()

    def on_headers_finished(self) -> None:
        if self.options.get(b"name") != FIELD.encode() or b"filename" not in self.options:
            name = self.options.get(b"name", b"").decode("utf-8", "replace")
            raise HTTPException(400, f"the part {name[:LONGEST_NAME]!r} is no file named {FIELD}; {FORM}")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def on_part_end(self) -> None:
        name = re.split(r"[/\\]", self.options[b"filename"].decode("utf-8", "replace"))[-1][:LONGEST_NAME]
        self.images.append((name or f"image {len(self.images) + 1}", b"".join(self.data)))

    def on_end(self) -> None:
        self.ended = True


class Body:
    """The body of a request, which is held within a `with`."""

    def __init__(self, request: Request, held: Held) -> None:
        self.request, self.held, self.more, self.bytes, self.count = request, held, True, 0, 0

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.held.take(-self.count, -self.bytes)

    async def images(self) -> list[tuple[str, bytes]]:
        """Reads all of it: (name, bytes) of each image.

        Raises:
            HTTPException: it is too large, comes too slowly, or is no form with images.
        """
        try:
            return await asyncio.wait_for(self.read(), BODY_SECONDS)
        except asyncio.TimeoutError:  # noqa: UP041  another one than TimeoutError in Python 3.10
            error = HTTPException(408, f"the images did not come within {BODY_SECONDS} seconds")
        except FormParserError as fault:
            error = HTTPException(400, f"the body is no such form: {fault}; {FORM}")
        except HTTPException as refusal:
            error = refusal
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.rest(), REST_SECONDS)
        error.headers = {**(error.headers or {}), "Connection": "close"}
        raise error

    async def read(self) -> list[tuple[str, bytes]]:
        kind, options = parse_options_header(self.request.headers.get("content-type"))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise HTTPException(415, f"the body is {kind[:LONGEST_NAME].decode('latin-1') or 'of no type'}"
                                     f"{' without a boundary' if kind == b'multipart/form-data' else ''}; {FORM}")
        self.check(int(self.request.headers.get("content-length", 0)))
        form = Form(self.held.job.max_images)
        callbacks: Any = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}
        parser = MultipartParser(options[b"boundary"], callbacks)
        while self.more:
            message = await self.request.receive()
            self.more, data = message.get("more_body", False), message.get("body", b"")
            self.check(self.bytes + len(data))
            self.held.take(bytes=len(data))
            self.bytes += len(data)
            parser.write(data)
        if not form.ended or not form.images:
            raise HTTPException(400, f"the body {'has no image' if form.ended else 'ends in the middle'}; {FORM}")
        self.held.take(images=len(form.images))
        self.count = len(form.images)
        return form.images

    def check(self, bytes: int) -> None:
        if bytes > (most := self.held.job.max_bytes):
            raise HTTPException(413, f"the request has more than {most:,} bytes; send fewer or smaller images at a "
                                     "time (mindvit serve --max_bytes)")

    async def rest(self) -> None:
        """Lets go of what still comes, but from a client that waits for a word before it sends."""
        while self.more and (self.bytes or "expect" not in self.request.headers):
            self.more = (await self.request.receive()).get("more_body", False)
