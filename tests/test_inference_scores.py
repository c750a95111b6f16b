"""Intervals, calibration, precision, recall and F1 against scipy, scikit-learn and the definitions written out."""

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mindvit.inference.scores import calibration, class_scores, wilson


@pytest.mark.parametrize("correct, images", [(0, 1), (1, 1), (0, 40), (40, 40), (7, 10), (354, 360), (38000, 50000)])
def test_wilsons_interval_is_scipys(correct, images):
    expected = binomtest(correct, images).proportion_ci(0.95, "wilson")
    assert wilson(correct, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_calibration_is_scikit_learns_and_the_papers():
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.beta(5, 2, 2000), np.arange(16) / 15, [0.0, 1.0]])  # the edges of the bins too
    right = rng.uniform(size=len(confidence)) < confidence**2
    bins, error = calibration(confidence, right)
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    known = bins[:, 0] > 0
    np.testing.assert_allclose(bins[known, 2], accuracy)
    np.testing.assert_allclose(bins[known, 1], mean)
    expected = 0.0
    for m in range(1, 16):  # B_m, in words of the paper: ((m - 1) / M, m / M]
        inside = (confidence > np.linspace(0, 1, 16)[m - 1]) & (confidence <= np.linspace(0, 1, 16)[m])
        if inside.any():
            expected += inside.sum() / len(confidence) * abs(right[inside].mean() - confidence[inside].mean())
    assert error == pytest.approx(expected, abs=1 / len(confidence))  # the one of confidence 0 is in no bin there
    assert bins[:, 0].sum() == len(confidence)
    assert calibration(np.array([1.0, 1.0]), np.array([True, False]))[1] == 0.5
    assert calibration(np.array([0.05]), np.array([True]))[1] == pytest.approx(0.95)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_scores_of_classes_are_scikit_learns(classes):
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, classes, (2, 300))
    predicted[::3] = labels[::3]
    labels[labels == 1] = predicted[predicted == classes - 1] = 0  # a class without images, one never predicted
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is divided by zero aloud
        found = class_scores(confusion_matrix(labels, predicted, labels=range(classes)))
    expected = precision_recall_fscore_support(labels, predicted, labels=range(classes), zero_division=np.nan)
    np.testing.assert_allclose(found, expected[:3])
    assert np.isnan(found[1, 1]) and np.isnan(found[0, classes - 1])
