"""The optimizers: each function's name is what a configuration says, its options follow the star.

Each takes groups of parameters, as `parameter_groups` makes them, and the learning rate of all steps, or a list of it.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.nn.learning_rate_schedule import LearningRateSchedule

from mindvit.choices import Table, choose, entry, name_of
from mindvit.data.augment import check_range
from mindvit.optim.groups import parameter_groups

Parameters = Sequence[Parameter] | Sequence[dict]
Rate: TypeAlias = float | Sequence[float] | LearningRateSchedule
OPTIMIZERS: Table = {}
RANGES = {"beta1": (0, 0.999999), "beta2": (0, 0.999999), "momentum": (0, 0.999999), "eps": (1e-20, 1)}  # of options


class DecayingOptimizer(nn.Optimizer):
    """An optimizer whose subclass moves one parameter after the other, each by its own rate and weight decay.

    Of parameters in a plain list weights decay; biases, norms, tokens and the position embedding do not. Decoupled
    decay is p <- p - rate * decay * p before each move.
    """

    decoupled = True

    def __init__(self, params: Parameters, learning_rate: Rate, weight_decay: float) -> None:
        if weight_decay < 0:
            raise ValueError(f"weight_decay is {weight_decay}; it is at least 0, usually 0.05")
        params = list(params)
        if not isinstance(params[0], dict):
            params = parameter_groups(params, weight_decay)
        super().__init__(learning_rate, params)
        self.moment1 = self.parameters.clone("moment1", "zeros")
        self.each, self.bind, self.places = ops.HyperMap(), ops.Partial(), tuple(range(len(self.parameters)))

    def construct(self, gradients: tuple[Tensor, ...]) -> bool:
        lr, weight_decay = self.get_lr(), self.get_weight_decay()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        # As in TrainStep no `for`: 24 blocks have too many parameters for one.
        self.each(self.bind(self.step, lr, weight_decay, self.begin()), self.places, gradients)
        return True

    def step(self, lr: Any, weight_decay: tuple[float, ...], shared: tuple[Tensor, ...], i: int,
             gradient: Tensor) -> bool:
        """Decay and move of parameter i."""
        parameter, rate = self.parameters[i], lr[i] if self.is_group_lr else lr
        decay = weight_decay[i] if self.decay_flags[i] else 0.0
        if self.decoupled and self.decay_flags[i]:
            ops.assign_sub(parameter, rate * decay * parameter)
        self.move(i, parameter, gradient, rate, decay, shared)
        return True

    def begin(self) -> tuple[Tensor, ...]:
        """What a step computes once, for all its moves."""
        return ()


class AdamMoments(DecayingOptimizer):
    """Running means of gradients and squared gradients, and how far they are from their ends."""

    def __init__(self, params: Parameters, learning_rate: Rate, weight_decay: float, beta1: float, beta2: float,
                 eps: float) -> None:
        super().__init__(params, learning_rate, weight_decay)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.beta1_power = Parameter(Tensor(1.0, ms.float32), "beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(1.0, ms.float32), "beta2_power", requires_grad=False)
        self.moment2 = self.parameters.clone("moment2", "zeros")

    def begin(self) -> tuple[Tensor, ...]:
        """beta1^t, beta2^t and eps sqrt(1 - beta2^t), of the step t."""
        power1, power2 = self.beta1_power * self.beta1, self.beta2_power * self.beta2
        self.beta1_power, self.beta2_power = power1, power2
        return power1, power2, self.eps * ops.sqrt(1 - power2)


class AdamW(AdamMoments):
    """Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019).

    Algorithm 2 with the learning rate in the decay, as in PyTorch's AdamW:
    p <- p - lr * weight_decay * p - lr * m_hat / (sqrt(v_hat) + eps). MindSpore's `nn.AdamWeightDecay` lacks the bias
    correction.

    Weights decay; biases, norms, class and distillation token and the position embedding do not.

    Args:
        params (list of Parameter, or of dict): what is trained; groups have weight decay and rates of their own.
        learning_rate (float, list of float or LearningRateSchedule): of all steps, or of each.
        weight_decay (float): usually 0.05 for a ViT.
        beta1, beta2 (float): how much of the running means of gradient and squared gradient stays.
        eps (float): keeps the quotient finite.

    Inputs: gradients, a tuple with one for each parameter.

    Raises:
        ValueError: weight_decay is below 0.

    Example:
        >>> network = create_model("vit_t_16", num_layers=1)
        >>> optimizer = AdamW(network.trainable_params(), learning_rate=1e-3, weight_decay=0.05)
        >>> len(optimizer.parameters), sum(optimizer.decay_flags)
        (20, 6)
    """

    def __init__(self, params: Parameters, learning_rate: Rate = 1e-3, weight_decay: float = 0.01, beta1: float = 0.9,
                 beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(params, learning_rate, weight_decay, beta1, beta2, eps)
        self.adam = ops.Adam()

    def move(self, i: int, parameter: Parameter, gradient: Tensor, rate: Tensor, decay: Tensor,
             shared: tuple[Tensor, ...]) -> None:
        power1, power2, eps = shared  # the operator adds eps to sqrt(v), not to sqrt(v_hat)
        self.adam(parameter, self.moment1[i], self.moment2[i], power1, power2, rate, self.beta1, self.beta2, eps,
                  gradient)


class Lion(DecayingOptimizer):
    """Steps of one size in the direction of the sign of a momentum (Chen et al., "Symbolic Discovery of Optimization
    Algorithms", 2023, algorithm 2): p <- p - lr * weight_decay * p - lr * sign(beta1 m + (1 - beta1) g), then
    m <- beta2 m + (1 - beta2) g. The paper's learning rates are 3 to 10 times smaller than AdamW's, its decay as much
    larger.

    Args:
        params, learning_rate, weight_decay: as for `AdamW`.
        beta1, beta2 (float): how much of the momentum stays in the direction, and in the momentum.

    Inputs: gradients, a tuple with one for each parameter.

    Raises:
        ValueError: weight_decay is below 0.

    Example:
        >>> Lion(create_model("vit_t_16", num_layers=1).trainable_params(), learning_rate=1e-4).beta2
        0.99
    """

    def __init__(self, params: Parameters, learning_rate: Rate = 1e-4, weight_decay: float = 0.0, beta1: float = 0.9,
                 beta2: float = 0.99) -> None:
        super().__init__(params, learning_rate, weight_decay)
        self.beta1, self.beta2 = beta1, beta2

    def move(self, i: int, parameter: Parameter, gradient: Tensor, rate: Tensor, decay: Tensor,
             shared: tuple[Tensor, ...]) -> None:
        moment, gradient = self.moment1[i], gradient.astype(ms.float32)
        direction = ops.sign(self.beta1 * moment + (1 - self.beta1) * gradient)
        ops.assign(parameter, parameter - rate * direction)
        ops.assign(moment, self.beta2 * moment + (1 - self.beta2) * gradient)


class LAMB(AdamMoments):
    """Adam's step at the size of each parameter (You et al., "Large Batch Optimization for Deep Learning", 2020,
    algorithm 2): r = m_hat / (sqrt(v_hat) + eps) + weight_decay * p, then p <- p - lr * |p| / |r| * r. MindSpore's
    `nn.Lamb` has no CPU operator.

    Args:
        params, learning_rate, weight_decay, beta1, beta2, eps: as for `AdamW`.

    Inputs: gradients, a tuple with one for each parameter.

    Raises:
        ValueError: weight_decay is below 0.

    Example:
        >>> LAMB(create_model("vit_t_16", num_layers=1).trainable_params(), learning_rate=1e-3).eps
        1e-06
    """

    decoupled = False

    def __init__(self, params: Parameters, learning_rate: Rate = 1e-3, weight_decay: float = 0.0, beta1: float = 0.9,
                 beta2: float = 0.999, eps: float = 1e-6) -> None:
        super().__init__(params, learning_rate, weight_decay, beta1, beta2, eps)

    def move(self, i: int, parameter: Parameter, gradient: Tensor, rate: Tensor, decay: Tensor,
             shared: tuple[Tensor, ...]) -> None:
        power1, power2 = shared[:2]  # an unpacked third one that nobody uses is a warning of MindSpore's
        gradient = gradient.astype(ms.float32)
        first = self.beta1 * self.moment1[i] + (1 - self.beta1) * gradient
        second = self.beta2 * self.moment2[i] + (1 - self.beta2) * gradient * gradient
        ops.assign(self.moment1[i], first)
        ops.assign(self.moment2[i], second)
        step = first / (1 - power1) / (ops.sqrt(second / (1 - power2)) + self.eps)
        step = step + decay * parameter
        size, length = ops.sqrt((parameter * parameter).sum()), ops.sqrt((step * step).sum())
        trust = ops.select(ops.logical_and(size > 0, length > 0), size / ops.maximum(length, 1e-30),
                           ops.ones_like(size))
        ops.assign(parameter, parameter - rate * trust * step)


@entry(OPTIMIZERS)
def adam(groups, lr, *, beta1=0.9, beta2=0.999, eps=1e-8):
    """Kingma and Ba, 2015; weight decay is added to the gradient. MindSpore's `nn.Adam`, without the warning that
    FusedSparseAdam is deprecated: it builds that operator, but does not run it."""
    def other(record):
        return "FusedSparseAdam" not in record.getMessage()

    logger = logging.getLogger(f"ME.mindspore.log.{os.getpid()}")  # MindSpore's
    logger.addFilter(other)
    try:
        return nn.Adam(groups, lr, beta1, beta2, eps)
    finally:
        logger.removeFilter(other)


@entry(OPTIMIZERS)
def adamw(groups, lr, *, beta1=0.9, beta2=0.999, eps=1e-8):
    """See `AdamW`."""
    return AdamW(groups, lr, 0.0, beta1, beta2, eps)


@entry(OPTIMIZERS)
def sgd(groups, lr, *, momentum=0.9, nesterov=False):
    """Steps along a running sum of the gradients; weight decay is added to the gradient. `nn.Momentum`."""
    return nn.Momentum(groups, lr, momentum, use_nesterov=nesterov)


@entry(OPTIMIZERS)
def lion(groups, lr, *, beta1=0.9, beta2=0.99):
    """See `Lion`."""
    return Lion(groups, lr, 0.0, beta1, beta2)


@entry(OPTIMIZERS)
def lamb(groups, lr, *, beta1=0.9, beta2=0.999, eps=1e-6):
    """See `LAMB`."""
    return LAMB(groups, lr, 0.0, beta1, beta2, eps)


def build_optimizer(config, parameters: list[Parameter], lr: float | list[float], num_layers: int = 0) -> nn.Optimizer:
    """The optimizer of a TrainConfig.

    Args:
        config (TrainConfig): optimizer, weight_decay and layer_decay.
        parameters: what is trained.
        lr: of all steps, or of each.
        num_layers (int): blocks of the network.

    Raises:
        ValueError: weight decay is asked of adam, or an option is out of its range.
    """
    make = choose(config.optimizer, OPTIMIZERS, "train.optimizer")
    for option in make.keywords.keys() & RANGES.keys():
        check_range(f"{option} of {name_of(config.optimizer)}", make.keywords[option], *RANGES[option])
    if config.weight_decay and make.func is adam:
        raise ValueError(f"train.weight_decay is {config.weight_decay}, but adam has none; add --train.optimizer adamw "
                         "or leave it out")
    if config.weight_decay or config.layer_decay != 1:
        return make(parameter_groups(parameters, config.weight_decay, lr, config.layer_decay, num_layers), lr)
    return make(parameters, lr)
