"""The learning rate of each step."""

import math

from mindvit.choices import Choice, Table, choose, entry
from mindvit.data.augment import check_range

SCHEDULES: Table = {}  # name: share of the highest rate at a step


@entry(SCHEDULES)
def cosine(step, steps, steps_per_epoch, *, final=0.0):
    """A cosine from 1 to `final` (Loshchilov and Hutter, "SGDR", 2017, equation 5)."""
    check_range("final of cosine", final, 0, 1)
    return final + (1 - final) / 2 * (1 + math.cos(math.pi * step / steps))


@entry(SCHEDULES)
def step(step, steps, steps_per_epoch, *, every=30.0, factor=0.1):
    """Times `factor` every so many epochs."""
    check_range("factor of step", factor, 0, 1)
    if every <= 0:
        raise ValueError(f"every of step is {every}; it is a number of epochs above 0")
    return factor ** (step // (every * steps_per_epoch))


@entry(SCHEDULES)
def constant(step, steps, steps_per_epoch):
    """As high as it is."""
    return 1.0


def learning_rates(lr: float, epochs: int, steps_per_epoch: int, warmup_epochs: float = 0.0,
                   schedule: Choice = "cosine") -> list[float]:
    """The learning rate of each step: linear warm-up, then a schedule, by default a cosine to zero.

    Args:
        lr (float): the highest learning rate.
        epochs, steps_per_epoch (int): length of the training.
        warmup_epochs (float): epochs of linear warm-up.
        schedule (str or dict): cosine, step or constant, and options: {"step": {"every": 30, "factor": 0.1}}.

    Returns:
        list[float]: epochs * steps_per_epoch values.

    Raises:
        ValueError: the warm-up is as long as the training or longer, or there is no such schedule.

    Example:
        >>> [round(rate, 3) for rate in learning_rates(1.0, epochs=2, steps_per_epoch=2)]
        [1.0, 0.854, 0.5, 0.146]
    """
    share = choose(schedule, SCHEDULES, "schedule")
    total, warmup = epochs * steps_per_epoch, round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs is {warmup_epochs}; it lies in [0, {epochs}), the number of epochs")
    rising = [lr * (step + 1) / warmup for step in range(warmup)]
    return rising + [lr * share(step, total - warmup, steps_per_epoch) for step in range(total - warmup)]
