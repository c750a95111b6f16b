"""`mindvit demo`: a page on which a person drops an image and sees what it is named, and why."""

import contextlib
import dataclasses
import functools
import html
import inspect
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI
from gradio import processing_utils, utils
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mindvit.attention.capture import Evidence, Explainer
from mindvit.attention.methods import METHODS, saliency_map
from mindvit.choices import Choice
from mindvit.config import DemoJob, check_job
from mindvit.data import read_dataset
from mindvit.data.digits import write_digits
from mindvit.data.images import read_bytes
from mindvit.data.transforms import opened, opened_bytes
from mindvit.files import temporary_folder
from mindvit.inference.classifier import Classifier, most_likely, open_classifier
from mindvit.preprocessing import Preprocessing, pair, seen_part
from mindvit.serving.app import UNREADABLE
from mindvit.serving.server import listening, run
from mindvit.serving.words import WORDS, in_language
from mindvit.visualize.overlay import overlay
from mindvit.zoo import BROKEN, check_weights

KEPT = 4  # images whose evidence is kept, for other layers, heads and methods; that of ViT-B/16 has 45 MB
MOST_EXAMPLES = 30
KEPT_SECONDS = 3600  # that what was dropped is kept, to twice as many
LARGEST = 32 * 2**20  # bytes of an image
WAITING = 64  # visitors whose image waits
TOP = 5  # predictions
LARGEST_SIDE = 1024  # pixels of an image that is drawn on
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"
STYLE = """
.wrong { color: var(--error-text-color) } #image img { width: 100%; height: 100%; object-fit: contain }
#overlay .image-container, #overlay .image-frame { padding-top: 1rem }
"""
TEXTS = gr.I18n(**WORDS)
FIRST = "relevance"  # the method that is shown first
MEAN = -1  # the head that stands for the mean of all


@dataclasses.dataclass(frozen=True)
class Look:
    """What the network made of one image.

    Args:
        predictions (dict): {label: probability}, best first.
        seen (PIL.Image): the part of the image that the network saw.
        evidence (Evidence): of which maps are made.
        milliseconds (dict): {what took them: how many}.
    """

    predictions: dict[str, float]
    seen: Image.Image
    evidence: Evidence
    milliseconds: dict[str, float]


class Looker:
    """Looks at images, one at a time, in one thread."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.explainer = classifier, Explainer(classifier.network)
        self.thread = ThreadPoolExecutor(1)
        self.kept = functools.lru_cache(KEPT)(self.look)
        self.thread.submit(self.compile).result()

    def compile(self) -> None:
        """Runs what is compiled, so that no visitor waits for it.

        Raises:
            ValueError: the network gives no numbers.
        """
        print("compiling the network, and what tells where it looked", flush=True)
        nothing = np.zeros((3, *pair(self.classifier.size)), np.float32)
        if not np.isfinite([self.classifier.logits(nothing[None])[0], self.explainer(nothing, 0).logits]).all():
            raise ValueError(f"{self.classifier.source} gives no numbers: {BROKEN}")

    def __call__(self, file: str) -> Look:
        """The look at a file.

        Raises:
            ValueError: it cannot be read, or the network gives no numbers.
        """
        return self.thread.submit(self.kept, read_bytes(file), pathlib.Path(file).name).result()

    def look(self, data: bytes, name: str) -> Look:
        """The look at what is in a file."""
        classifier, times = self.classifier, [time.perf_counter()]
        try:
            image = opened_bytes(data, name, classifier.preprocessing)
            prepared = classifier.prepare(image)
        except RuntimeError:  # of MindSpore, which tells where in its code
            raise ValueError(f"cannot read the image {name}: {UNREADABLE}") from None
        times.append(time.perf_counter())
        logits = classifier.logits(prepared[None])[0]
        times.append(time.perf_counter())
        if not np.isfinite(logits).all():
            raise ValueError(f"the network gives no numbers for the image {name}")
        evidence = self.explainer(prepared, int(logits.argmax()))
        times.append(time.perf_counter())
        names = classifier.names
        found = [(int(each["index"]), float(each["probability"])) for each in most_likely(logits, names, TOP)]
        predictions = {names[index] if names.count(names[index]) == 1 else f"{names[index]} ({index})": probability
                       for index, probability in found}
        seen = seen_part(image, classifier.size, classifier.preprocessing)
        seen.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return Look(predictions, seen, evidence,
                    dict(zip(("opening", "network", "attention"), (1000 * np.diff(times)).tolist())))


class OwnSources:
    """Middleware by which browsers ask no other server for anything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def sent_file(payload: Any) -> str | None:
    """The path of what a visitor sent, in the place of gr.Image's own, which opens it in another way than mindvit
    predict, and any file of the machine that is named."""
    if payload is None:
        return None
    if not payload.path or not pathlib.Path(payload.path).resolve().is_relative_to(utils.get_upload_folder()):
        raise gr.Error("this file was not sent to this page")
    return payload.path


async def refuse(url: str, *_: object, **__: object) -> str:
    raise ValueError("an address is no image")


def options(method: str) -> list[str]:
    """Which of layer and head a method takes."""
    return [name for name in inspect.signature(METHODS[method]).parameters if name != "evidence"]


def readable(files: list[str], preprocessing: Preprocessing) -> Iterator[str]:
    """The files that can be read; of the others it is said why they are left out."""
    for file in files:
        try:
            opened(file, preprocessing)
            yield file
        except (OSError, ValueError, RuntimeError) as error:
            print(f"no example: {error}", flush=True)


def build_page(looker: Looker, examples: list[str]) -> gr.Blocks:
    """The page.

    Args:
        looker (Looker): what looks at images.
        examples (list[str]): images that can be clicked.
    """
    classifier, layers = looker.classifier, looker.explainer.layers
    heads = classifier.network.transformer.layers[0].attention.num_heads

    def show(file, method, layer, head, request: gr.Request):
        """(predictions, overlay, the line below) of an image."""
        words = in_language(request.headers.get("accept-language"))
        if file is None:
            return None, None, ""
        try:
            look, given = looker(file), {"layer": int(layer or 0), "head": int(head)}
            choice: Choice = {method: {name: given[name] for name in options(method)}}
            drawn = overlay(look.seen, saliency_map(look.evidence, choice))
            return look.predictions, drawn, words["milliseconds"].format(**look.milliseconds)
        except FileNotFoundError:
            reason = words["gone"]
        except (OSError, ValueError) as error:
            reason = words["wrong"].format(reason=error)
        return None, None, f'<p role="alert" class="wrong">{html.escape(reason)}</p>'

    def fitting(method):
        """The layer and the head where the method takes them."""
        return [gr.update(visible=name in options(method)) for name in ("layer", "head")]

    with gr.Blocks(title="mindvit demo", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(TEXTS("title"))
        gr.HTML(html.escape(f"{pathlib.Path(classifier.source).name}: {', '.join(classifier.names[:5])}"
                            f"{' …' if len(classifier.names) > 5 else ''} ({len(classifier.names)})"))
        with gr.Row():
            with gr.Column():
                image = gr.Image(label=TEXTS("drop"), type="filepath", sources=["upload", "clipboard"], buttons=[],
                                 elem_id="image", height=360)
                image.preprocess = sent_file  # type: ignore
                said = gr.HTML(elem_id="said")
                method = gr.Dropdown([(TEXTS(name), name) for name in METHODS], value=FIRST, label=TEXTS("method"),
                                     elem_id="method")
                layer = gr.Slider(0, layers - 1, layers - 1, step=1, label=TEXTS("layer"), elem_id="layer",
                                  visible="layer" in options(FIRST))
                layer.preprocess = lambda typed: typed  # type: ignore  # else one too large is a trace of the stack
                head = gr.Dropdown([(TEXTS("mean"), MEAN), *((str(i), i) for i in range(heads))], value=MEAN,
                                   label=TEXTS("head"), elem_id="head", visible="head" in options(FIRST))
            with gr.Column():
                predictions = gr.Label(label=TEXTS("predictions"), num_top_classes=TOP, elem_id="predictions")
                drawn = gr.Image(label=TEXTS("overlay"), format="png", interactive=False, buttons=["fullscreen"],
                                 elem_id="overlay", height=420)
        if examples:
            gr.Examples(examples, image, label=TEXTS("examples"), examples_per_page=MOST_EXAMPLES, cache_examples=False)
        method.change(fitting, method, [layer, head], api_visibility="private", queue=False)
        gr.on([image.change, method.change, layer.change, head.change], show, [image, method, layer, head],
              [predictions, drawn, said], api_visibility="private", trigger_mode="always_last", show_progress_on=drawn)
    return page.queue(max_size=WAITING)


def serve_demo(job: DemoJob) -> None:
    """Shows the page until it is stopped.

    Args:
        job (DemoJob): the run.

    Raises:
        FileNotFoundError: a path, or the checkpoint, is absent.
        KeyboardInterrupt: it was stopped.
        TypeError: it is no DemoJob.
        ValueError: the port is taken, or network, checkpoint or device do not fit.

    Example:
        >>> serve_demo(DemoJob(checkpoint="runs/a/best.ckpt"))  # doctest: +SKIP
        device CPU ...
        ready: http://127.0.0.1:7860/ is the page; Ctrl-C stops
    """
    check_job(job, DemoJob, "serve_demo")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(job.host, job.port))
        folder = stack.enter_context(temporary_folder(pathlib.Path(tempfile.gettempdir()), "mindvit-demo")).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # else what visitors drop stays
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        if not (job.checkpoint or job.model.name):
            print("no weights are named: these are the packaged ones, which name handwritten digits, white on black",
                  flush=True)
            job = dataclasses.replace(job, model=dataclasses.replace(job.model, name="digits", pretrained=True))
        check_weights(job, "show")
        examples = [str(file) for path in job.paths for file in read_dataset(path)[0]][:MOST_EXAMPLES]
        if not examples and job.model.name == "digits":
            digits = write_digits(folder / "digits") / "val"
            examples = [str(min(digit.iterdir())) for digit in sorted(digits.iterdir())]
        looker = Looker(open_classifier(job, "graph"))
        page = build_page(looker, list(readable(examples, looker.classifier.preprocessing)))
        page.has_launched = True  # of a page that it did not launch, gradio would take any file of the machine
        processing_utils.async_ssrf_protected_download = refuse  # and addresses in a file's place, which it would fetch
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        gr.mount_gradio_app(
            app, page, "/", footer_links=[], run_history=False, show_error=False, max_file_size=LARGEST, ssr_mode=False,
            enable_monitoring=False, mcp_server=False, pwa=False, i18n=TEXTS, css=STYLE)
        app.add_middleware(OwnSources)
        run(app, listener, "/ is the page", app.routes[-1].app.stop_event.set)  # type: ignore[attr-defined]
