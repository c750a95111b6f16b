"""What waits goes through the network together."""

import threading
import time

import numpy as np
import pytest
from web import plain_classifier

from mindvit.serving.batching import Batcher, batch_sizes


def test_batches_have_few_sizes():
    assert batch_sizes(1) == [1] and batch_sizes(8) == [1, 2, 4, 8] and batch_sizes(6) == [1, 2, 4, 6]


def test_what_waits_goes_together_and_each_gets_its_own():
    gate = threading.Event()
    classifier, sizes = plain_classifier(lambda: gate.wait(10))
    with Batcher(classifier, 6) as batcher:
        assert sizes == [1, 2, 4, 6]  # all are compiled before an image comes
        futures = [batcher.logits(np.full((3, 8, 8), value, np.float32)) for value in range(1, 13)]
        while len(sizes) < 5:
            time.sleep(0.01)
        gate.set()
        assert [future.result(10)[1] for future in futures] == list(range(1, 13))
    first, *others = sizes[4:]  # as many as had come when the thread woke
    assert {first, *others} <= {1, 2, 4, 6} and first + sum(others) == 12 and len(others) <= 3  # nothing is filled up


def test_a_failing_batch_fails_alone():
    failing = True

    def fail():
        if failing:
            raise RuntimeError("there is no memory")

    with Batcher(plain_classifier(fail)[0], 2) as batcher:
        with pytest.raises(RuntimeError, match="no memory"):
            batcher.logits(np.ones((3, 8, 8), np.float32)).result(10)
        failing = False
        assert batcher.logits(np.ones((3, 8, 8), np.float32)).result(10)[1] == 1


def test_who_left_is_not_computed():
    gate = threading.Event()
    classifier, sizes = plain_classifier(lambda: gate.wait(10))
    with Batcher(classifier, 1) as batcher:
        first, second, third = (batcher.logits(np.ones((3, 8, 8), np.float32)) for _ in range(3))
        assert second.cancel()
        gate.set()
        assert first.result(10)[1] == third.result(10)[1] == 1
    assert sizes == [1, 1, 1]
