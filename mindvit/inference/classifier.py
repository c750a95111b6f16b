"""A network with the weights, classes and preparation of images of its checkpoint: what names images begins with it."""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from mindvit.attention.faithfulness import softmax
from mindvit.config import ClassifyJob
from mindvit.data import prepare_image
from mindvit.exporting.backends import backend_device, open_backend
from mindvit.models import ViT
from mindvit.preprocessing import Preprocessing, Size
from mindvit.zoo import image_size, ready_network


@dataclasses.dataclass(frozen=True)
class Classifier:
    """What names images.

    Args:
        network (ViT): in evaluation mode.
        logits (callable): from images (B, 3, H, W), float32, to logits (B, num_classes), both arrays.
        names (list[str]): of the classes.
        size (int or (int, int)): of the images it takes.
        preprocessing (Preprocessing): of prediction.
        source (str): what the weights are, for messages.
    """

    network: ViT
    logits: Callable[[np.ndarray], np.ndarray]
    names: list[str]
    size: Size
    preprocessing: Preprocessing
    source: str

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An opened image as the network takes it, float32 (3, H, W)."""
        return prepare_image(image, self.size, self.preprocessing)


def open_classifier(job: ClassifyJob, mode: str | None = None) -> Classifier:
    """The classifier of a job, in this mode where the job names none; prints what was taken and assumed.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: network, checkpoint or device do not fit.

    Example:
        >>> classifier = open_classifier(PredictJob(checkpoint="vit_tiny_patch16_224.safetensors"))
        device CPU ...
        >>> classifier.logits(classifier.prepare(open_rgb("cat.jpg"))[None]).shape
        (1, 1000)
    """
    device = backend_device(job, mode)
    network = ready_network(job)
    size, preprocessing = image_size(network), network.preprocessing.for_prediction()
    print(preprocessing.describe(size), flush=True)
    return Classifier(network, open_backend(job, network, device),
                      network.class_names or [f"class {index}" for index in range(network.num_classes)], size,
                      preprocessing, job.checkpoint or job.model.name or "vit_b_16")


def most_likely(logits: np.ndarray, names: list[str], top_k: int) -> list[dict[str, int | str | float]]:
    """The predictions of one image, best first: list of `index`, `label` and `probability`."""
    probabilities = softmax(logits[None])[0]
    best = np.argsort(-logits, kind="stable")[:top_k]
    return [{"index": int(i), "label": names[i], "probability": float(probabilities[i])} for i in best]
