"""The application that answers requests; of the types of what it takes and gives /openapi.json is made."""

import asyncio
import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Executor
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException

from mindvit.config import ServeJob
from mindvit.data.images import MANY_PIXELS, image_in
from mindvit.data.transforms import opened_bytes
from mindvit.inference.classifier import Classifier, most_likely
from mindvit.preprocessing import pair
from mindvit.serving.batching import Batcher
from mindvit.serving.upload import FIELD, Body, Held

PAGE = pathlib.Path(__file__).with_name("page.html")
# The page shows what it holds itself and asks this server alone.
POLICY = ("default-src 'none'; connect-src 'self'; img-src 'self' blob: data:; script-src 'unsafe-inline'; "
          "style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
UNREADABLE = "it cannot be decoded or resized"
one_large = threading.Lock()  # an image of many pixels takes up to 3 GB while it is read


class Prediction(BaseModel):
    """A class that the image may be of."""

    index: int = Field(examples=[281])
    label: str = Field(examples=["tabby"])
    probability: float = Field(description="between 0 and 1; those of all classes add up to 1", examples=[0.83])


class Named(BaseModel):
    """One image's predictions, or why there are none."""

    name: str = Field(description="of the file, as it was sent, without folders", examples=["cat.jpg"])
    predictions: list[Prediction] | None = Field(default=None, description="best first; absent where there is an error")
    error: str | None = Field(default=None, description="in place of predictions",
                              examples=["cannot read the image cat.jpg: the file is empty"])


class Answer(BaseModel):
    """What is in the images, in the order in which they were sent."""

    images: list[Named]


class Problem(BaseModel):
    """Why a request got no answer."""

    error: str = Field(description="one sentence", examples=["there is no image"])


class Health(BaseModel):
    """Whether images are answered."""

    status: Literal["ready"]
    waiting: int = Field(description="images that have come and are not answered yet")


class Model(BaseModel):
    """What answers."""

    weights: str = Field(description="the checkpoint's file name, or the model's name", examples=["best.ckpt"])
    classes: list[str] = Field(description="their names in the order of index", examples=[["tench", "goldfish"]])
    image_size: tuple[int, int] = Field(description="height and width that the network takes", examples=[[224, 224]])
    preparation: str = Field(description="how images are prepared, in words")
    preprocessing: dict[str, Any] = Field(description="the same as values; see mindvit.Preprocessing")
    limits: dict[str, int] = Field(description="max_images and max_bytes of a request, max_waiting of the server")
    versions: dict[str, str]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is damaged, or has something else than images"},
    403: {"model": Problem, "description": "A page of another site sends it"},
    408: {"model": Problem, "description": "The images came too slowly"},
    413: {"model": Problem, "description": "Too many images, or bytes"},
    415: {"model": Problem, "description": "The body is not multipart/form-data"},
    422: {"model": Problem, "description": "The one image cannot be read, or top_k is no number from 1 on"},
    503: {"model": Problem, "description": "Too many images wait; try again after the seconds in Retry-After"}}
FORM = {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": [FIELD], "properties": {FIELD: {
        "type": "array", "items": {"type": "string", "format": "binary"},
        "description": f"JPEG, PNG, BMP, WebP or GIF files; each is a part named {FIELD}"}}}}}}


def versions() -> dict[str, str]:
    """Those of the libraries that an answer depends on."""
    found = {}
    for name in ("mindvit", "mindspore", "numpy", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def prepared(sent: list[bytes], name: str, classifier: Classifier) -> np.ndarray | str:
    """An image as the network takes it, (3, H, W), or why it cannot be read; `sent` is empty afterwards."""
    data = sent.pop()
    try:
        with image_in(data, name) as image:
            large = image.width * image.height > MANY_PIXELS
        with one_large if large else contextlib.nullcontext():
            return classifier.prepare(opened_bytes(data, name, classifier.preprocessing))
    except (OSError, ValueError) as error:
        return str(error)
    except (MemoryError, RuntimeError):  # of MindSpore, which tells where in its code
        return f"cannot read the image {name}: {UNREADABLE}"


async def while_there(request: Request, answer: Coroutine) -> Any:
    """What the coroutine gives, which is cancelled where the client leaves before."""
    work, left = map(asyncio.ensure_future, (answer, request.receive()))  # behind the body nothing else comes
    try:
        await asyncio.wait([work, left], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise HTTPException(499, "the client has left")
        return work.result()
    finally:
        left.cancel()
        work.cancel()


def build_app(job: ServeJob, classifier: Classifier, batcher: Batcher, readers: Executor) -> FastAPI:
    """The ASGI application.

    Args:
        job (ServeJob): its limits.
        classifier (Classifier): what names images.
        batcher (Batcher): what runs its network.
        readers (Executor): where images are decoded.
    """
    app = FastAPI(title="mindvit", description="Names what is in images.", version=versions().get("mindvit", ""),
                  docs_url=None, redoc_url=None)  # whose pages load scripts from elsewhere
    held, page = Held(job), PAGE.read_text(encoding="utf-8")
    model = Model(weights=pathlib.Path(classifier.source).name, classes=classifier.names,
                  image_size=pair(classifier.size), preparation=classifier.preprocessing.describe(classifier.size),
                  preprocessing=dataclasses.asdict(classifier.preprocessing), versions=versions(),
                  limits={name: getattr(job, name) for name in ("max_images", "max_bytes", "max_waiting")})

    async def named(name: str, data: bytes, top_k: int) -> Named:
        sent = [data]
        try:
            image = await asyncio.get_running_loop().run_in_executor(readers, prepared, sent, name, classifier)
        finally:
            sent.clear()  # what is cancelled stays in the queue until a reader is free
        if isinstance(image, str):
            return Named(name=name, error=image)
        logits = await asyncio.wrap_future(batcher.logits(image))
        if not np.isfinite(logits).all():
            return Named(name=name, error=f"the network gives no numbers for the image {name}")
        return Named(name=name, predictions=[Prediction(**found)  # type: ignore[arg-type]
                                             for found in most_likely(logits, classifier.names, top_k)])

    async def all_named(images: list[tuple[str, bytes]], top_k: int) -> list[Named]:
        return await asyncio.gather(*(named(*image, top_k) for image in images))

    @app.post("/predict", summary="Name images", responses=PROBLEMS, response_model_exclude_none=True,
              openapi_extra={"requestBody": FORM})
    async def predict(request: Request,
                      top_k: Annotated[int, Query(ge=1, description="predictions an image")] = 5) -> Answer:
        """Names one image or many. An image that cannot be read is an error of its own among many, and status 422
        alone."""
        with Body(request, held) as body:
            images = await body.images()
            answers = await while_there(request, all_named(images, top_k))
        if len(answers) == 1 and answers[0].error:
            raise HTTPException(422, answers[0].error)
        return Answer(images=answers)

    @app.get("/health", summary="Whether images are answered")
    async def health() -> Health:
        """Answers as long as the server does."""
        return Health(status="ready", waiting=held.images)

    @app.get("/model", summary="What answers")
    async def describe() -> Model:
        """The classes, how images are prepared, and versions."""
        return model

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException) -> JSONResponse:
        said = {404: f"there is no {request.url.path}; see /docs", 405: f"{request.method} is not for this; see /docs"}
        return JSONResponse({"error": said.get(error.status_code, error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        [*_, name], given = error.errors()[0]["loc"], error.errors()[0]["input"]
        return JSONResponse({"error": f"{name} is {given!r:.60}; it is a whole number of at least 1"}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed at this; its own output says why"}, 500)

    return app
