"""The learning rate of each step."""

import math


def learning_rates(lr, epochs, steps_per_epoch, warmup_epochs=0.0):
    """The learning rate of each step: linear warm-up, then a cosine to zero (Loshchilov and Hutter, "SGDR", 2017).

    Args:
        lr (float): the highest learning rate.
        epochs, steps_per_epoch (int): length of the training.
        warmup_epochs (float): epochs of linear warm-up.

    Returns:
        list[float]: epochs * steps_per_epoch values.

    Raises:
        ValueError: the warm-up is as long as the training or longer.

    Example:
        >>> [round(rate, 3) for rate in learning_rates(1.0, epochs=2, steps_per_epoch=2)]
        [1.0, 0.854, 0.5, 0.146]
    """
    total, warmup = epochs * steps_per_epoch, round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs is {warmup_epochs}; it lies in [0, {epochs}), the number of epochs")
    rising = [lr * (step + 1) / warmup for step in range(warmup)]
    falling = [lr / 2 * (1 + math.cos(math.pi * step / (total - warmup))) for step in range(total - warmup)]
    return rising + falling
