"""One thread that runs the network on what waits, several images at a time."""

import contextlib
import queue
import threading
from concurrent.futures import Future

import numpy as np

from mindvit.inference.classifier import Classifier
from mindvit.zoo import BROKEN


def batch_sizes(largest: int) -> list[int]:
    """1, 2, 4 and so on, and the largest."""
    return [*(2**i for i in range((largest - 1).bit_length())), largest]


class Batcher:
    """Gives the logits of single images, computed together where several wait.

    A batch has one of a few sizes, each compiled before the first image comes: the largest for which enough wait. Where
    somebody left, zeros fill it up. Use it in a `with`.

    Args:
        classifier (Classifier): what is run.
        largest (int): images a batch.

    Raises:
        ValueError: the network gives no numbers.
    """

    def __init__(self, classifier: Classifier, largest: int) -> None:
        self.classifier = classifier
        self.sizes = batch_sizes(largest)
        self.waiting: queue.SimpleQueue[tuple[np.ndarray, Future] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.run, daemon=True)
        print(f"compiling the network for batches of {', '.join(map(str, self.sizes))}", flush=True)
        height, width = np.broadcast_to(classifier.size, 2)
        for size in self.sizes:
            if not np.isfinite(classifier.logits(np.zeros((size, 3, height, width), np.float32))).all():
                raise ValueError(f"{classifier.source} gives no numbers: {BROKEN}")

    def __enter__(self) -> "Batcher":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.waiting.get_nowait()
        self.waiting.put(None)
        self.thread.join()

    def logits(self, image: np.ndarray) -> Future:
        """The future logits (num_classes,) of a prepared image (3, H, W)."""
        future: Future = Future()
        self.waiting.put((image, future))
        return future

    def run(self) -> None:
        """Takes what waits, batch after batch, until the None that ends it."""
        batch: list[tuple[np.ndarray, Future] | None] = []
        while None not in batch:
            batch = [self.waiting.get()]
            size = max(size for size in self.sizes if size <= 1 + self.waiting.qsize())
            batch += [self.waiting.get() for _ in range(size - 1)]
            if wanted := [each for each in batch if each and each[1].set_running_or_notify_cancel()]:
                self.answer(*zip(*wanted))

    def answer(self, images: tuple[np.ndarray, ...], futures: tuple[Future, ...]) -> None:
        """Runs one batch."""
        size = next(size for size in self.sizes if size >= len(images))
        batch = np.zeros((size, *images[0].shape), np.float32)
        batch[:len(images)] = images
        try:
            for future, logits in zip(futures, self.classifier.logits(batch)):
                future.set_result(logits)
        except Exception as error:  # the next batch may fit into the memory
            for future in futures:
                future.set_exception(error)
