"""Optimizers: MindSpore's Adam, and AdamW, which MindSpore has only without Adam's bias correction."""

import logging
import os

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops


class AdamW(nn.Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019).

    Algorithm 2 with the learning rate in the decay, as in PyTorch's AdamW:
    p <- p - lr * weight_decay * p - lr * m_hat / (sqrt(v_hat) + eps).

    Weights decay; biases, norms, class and distillation token and the position embedding do not.

    Args:
        params (list of Parameter): what is trained.
        learning_rate (float, list of float or LearningRateSchedule): of all steps, or of each.
        weight_decay (float): usually 0.05 for a ViT.
        beta1, beta2 (float): how much of the running means of gradient and squared gradient stays.
        eps (float): keeps the quotient finite.

    Inputs: gradients, a tuple with one for each parameter.

    Example:
        >>> network = create_model("vit_t_16", num_layers=1)
        >>> optimizer = AdamW(network.trainable_params(), learning_rate=1e-3, weight_decay=0.05)
        >>> len(optimizer.parameters), sum(share > 0 for share in optimizer.decay_shares)
        (20, 6)
    """

    def __init__(self, params, learning_rate=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
        if weight_decay < 0:
            raise ValueError(f"weight_decay is {weight_decay}; it is at least 0, usually 0.05")
        super().__init__(learning_rate, params)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.beta1_power = Parameter(Tensor(1.0, ms.float32), "beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(1.0, ms.float32), "beta2_power", requires_grad=False)
        self.moment1 = self.parameters.clone("moment1", "zeros")
        self.moment2 = self.parameters.clone("moment2", "zeros")
        self.decay_shares = tuple(weight_decay if is_decayed(parameter) else 0.0 for parameter in self.parameters)
        self.adam = ops.Adam()

    def construct(self, gradients):
        lr = self.get_lr()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        self.beta1_power = self.beta1_power * self.beta1
        self.beta2_power = self.beta2_power * self.beta2
        eps = self.eps * ops.sqrt(1 - self.beta2_power)  # the operator adds it to sqrt(v), not to sqrt(v_hat)
        for i, gradient in enumerate(gradients):
            parameter = self.parameters[i]
            if self.decay_shares[i]:
                ops.assign(parameter, parameter * (1 - lr * self.decay_shares[i]))
            self.adam(parameter, self.moment1[i], self.moment2[i], self.beta1_power, self.beta2_power, lr, self.beta1,
                      self.beta2, eps, gradient)
        return True


def is_decayed(parameter):
    """Whether weight decay is for this parameter."""
    return parameter.ndim >= 2 and parameter.name.split(".")[-1] not in ("cls", "dist", "pos_embedding")


def build_optimizer(config, parameters, lr):
    """The optimizer of a TrainConfig.

    Raises:
        ValueError: weight decay is asked of adam.
    """
    if config.optimizer == "adamw":
        return AdamW(parameters, lr, config.weight_decay)
    if config.weight_decay:
        raise ValueError(f"train.weight_decay is {config.weight_decay}, but adam has none; add --train.optimizer "
                         "adamw or leave it out")
    return adam(parameters, lr)


def adam(parameters, lr):
    """nn.Adam without the warning that FusedSparseAdam is deprecated: it builds that operator, but does not run it."""
    def other(record):
        return "FusedSparseAdam" not in record.getMessage()

    logger = logging.getLogger(f"ME.mindspore.log.{os.getpid()}")  # MindSpore's
    logger.addFilter(other)
    try:
        return nn.Adam(parameters, lr)
    finally:
        logger.removeFilter(other)
