"""The learning rate of each step, by its formula."""

import math

import numpy as np
import pytest

from mindvit import learning_rates


def test_learning_rates_rise_linearly_and_fall_along_a_cosine():
    lr = learning_rates(0.1, 10, 5, warmup_epochs=2)
    assert len(lr) == 50 and lr[:10] == pytest.approx(0.01 * np.arange(1, 11))
    assert lr[10:] == pytest.approx(0.05 * (1 + np.cos(np.pi * np.arange(40) / 40)))
    with pytest.raises(ValueError, match=r"warmup_epochs is 10; it lies in \[0, 10\)"):
        learning_rates(0.1, 10, 5, 10)


def test_step_and_constant():
    rates = learning_rates(0.8, 7, 5, 1, {"step": {"every": 2, "factor": 0.5}})
    assert rates[:5] == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
    assert rates[5:] == pytest.approx(np.repeat([0.8, 0.4, 0.2], 10))  # after the warm-up, epochs count from 0
    assert learning_rates(0.8, 2, 3, schedule="constant") == [0.8] * 6


def test_a_cosine_falls_to_the_share_asked_for():
    rates = learning_rates(2.0, 4, 25, schedule={"cosine": 0.1})
    assert rates[0] == 2.0 and rates[50] == pytest.approx(1.1) and min(rates) == rates[-1]
    assert rates[99] == pytest.approx(0.2 + 0.9 * (1 + math.cos(0.99 * math.pi)))


@pytest.mark.parametrize("words, message", [
    ({"warmup_epochs": 3}, "warmup_epochs is 3; it lies in"), ({"schedule": "cosin"}, "did you mean cosine?"),
    ({"schedule": {"step": {"gamma": 1}}}, "step has no option 'gamma'"),
    ({"schedule": {"step": 0}}, "every of step is 0.0; it is a number of epochs above 0"),
    ({"schedule": {"step": {"factor": -1}}}, r"factor of step is -1.0; it lies in \[0, 1\]"),
    ({"schedule": {"cosine": -1}}, r"final of cosine is -1.0; it lies in \[0, 1\]"),
])
def test_wrong_schedules_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        learning_rates(0.1, 3, 5, **words)
