"""How far a map can be believed: what the class's probability does when the patches it names go or come.

Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018, section 4.2.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """The class's probability while patches go and come, best first.

    Args:
        deletion (array): (steps + 1,), from the whole image to none of it; gray, the mean, stands in its place.
        insertion (array): (steps + 1,), from the blurred image to the whole.

    Example:
        >>> Faithfulness(np.array([1.0, 0.5, 0.0]), np.array([0.0, 1.0, 1.0])).insertion_area
        0.75
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """The area below the deletion curve over 0 to 1, small where the map names what the class needs."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """The area below the insertion curve over 0 to 1, large where the map names what suffices for the class."""
        return area(self.insertion)


def area(curve):
    return float((curve[1:] + curve[:-1]).mean() / 2)


def faithfulness(logits: Callable[[NDArray[np.float32]], NDArray[np.float32]], image: NDArray[np.float32],
                 saliency: NDArray, target: int, steps: int = 14) -> Faithfulness:
    """Measures a map by deletion and insertion; compare with the map of random numbers.

    Args:
        logits (callable): from images (steps + 1, C, height, width) to logits (steps + 1, K).
        image (array): (C, height, width), prepared: 0 is the mean colour.
        saliency (array): (rows, columns) of patches.
        target (int): the class.
        steps (int): in which the patches go, equal shares of them; of fewer patches, each is a step.

    Returns:
        Faithfulness.

    Raises:
        ValueError: steps is below 1, or the patches do not divide the image.

    Example:
        >>> logits = lambda images: images.mean((2, 3))  # the mean of each channel
        >>> image = np.zeros((3, 32, 32), "float32")
        >>> image[1, :8] = 9  # green at the top
        >>> found = faithfulness(logits, image, np.eye(4)[0][:, None] * np.ones(4), target=1, steps=4)
        >>> found.deletion_area < 0.5 < found.insertion_area
        True
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it is at least 1")
    height, width = image.shape[1:]
    if saliency.ndim != 2 or height % len(saliency) or width % saliency.shape[1]:
        raise ValueError(f"saliency has shape {saliency.shape}; it is (rows, columns) of patches of {height} x {width} "
                         "pixels")
    places = np.argsort(np.argsort(-saliency, None, kind="stable")).reshape(saliency.shape)  # 0 is the best patch
    patch = height // len(saliency), width // saliency.shape[1]
    places = np.kron(places, np.ones(patch, int))
    steps = min(steps, saliency.size)
    shares = np.round(np.linspace(0, saliency.size, steps + 1))  # patches that are gone, or have come
    chosen = places < shares[:, None, None, None]  # (steps + 1, 1, height, width)
    blurred = gaussian_filter(image, (0, *patch))  # deviations; RISE has 5 of 224 pixels, which leaves a digit legible
    curves = [softmax(logits(np.where(chosen, new, old).astype(np.float32)))[:, target]
              for new, old in ((np.float32(0), image), (image, blurred))]
    return Faithfulness(*curves)


def softmax(logits):
    """Probabilities (B, K), float64, of logits (B, K)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)
