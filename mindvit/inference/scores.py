"""What predictions are worth: intervals of accuracies, calibration, precision, recall and F1 of classes."""

import math
import statistics

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as Guo et al. have them
Z = statistics.NormalDist().inv_cdf(0.975)  # of 95%


def wilson(correct: int, images: int) -> tuple[float, float]:
    """The 95% confidence interval of an accuracy, by Wilson's score (JASA 22, 1927).

    Unlike the accuracy plus and minus 1.96 standard errors it stays within 0 and 1, and is no point at 0 or 1.
    """
    share, weight = correct / images, Z**2 / images
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / images + weight / (4 * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """How far probabilities can be taken at their word, by Guo et al., "On Calibration of Modern Neural Networks" (ICML
    2017), equations 2 and 3.

    Args:
        confidence (array): (N,), the probabilities of the predicted classes.
        right (array): (N,), whether these are right.

    Returns:
        (bins, error): for each of 15 bins (0, 1/15], ..., (14/15, 1] its images, their mean confidence and accuracy,
        (15, 3), zeros where there is none; and the expected calibration error.
    """
    which = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    images, *sums = (np.bincount(which, weights, BINS) for weights in (None, confidence, right))
    mean, accuracy = sums / np.maximum(images, 1)
    return np.stack([images, mean, accuracy], 1), float((images * abs(accuracy - mean)).sum() / images.sum())


def class_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Precision, recall and F1 of each class, (3, classes), NaN where nothing can be said: of a class without images,
    or that was never predicted.

    Args:
        confusion (array): counts (classes, classes), rows the true class, columns the predicted one.
    """
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        return np.stack([right / predicted, right / true, 2 * right / (true + predicted)])
