"""Learning from a teacher: what its logits add to the loss (Touvron et al., "DeiT", 2021, arXiv 2012.12877, section 4).
"""

from collections.abc import Callable

import numpy as np
from mindspore import Tensor, nn, ops

from mindvit.choices import Table, entry
from mindvit.data.augment import check_range
from mindvit.preprocessing import Preprocessing

Compare = Callable[[Tensor, Tensor], Tensor]  # the loss of logits (B, C) against the teacher's
DISTILLATIONS: Table = {}  # name: its options -> (the teacher's file, the teacher's share of the loss, Compare)


@entry(DISTILLATIONS)
def hard(*, teacher="", alpha=0.5) -> tuple[str, float, Compare]:
    """The class that the teacher names counts as a label (equation 3)."""
    def compare(logits, taught):
        return ops.cross_entropy(logits, ops.argmax(taught, 1))

    return checked(teacher, alpha, compare)


@entry(DISTILLATIONS)
def soft(*, teacher="", alpha=0.1, tau=3.0) -> tuple[str, float, Compare]:
    """The Kullback-Leibler divergence from the teacher's probabilities, both softened by tau, times tau^2 (equation 2).

    It is a mean over images, as in the paper; DeiT's code divides by the number of classes too.
    """
    check_range("tau of distillation", tau, 0.01, 100)

    def compare(logits, taught):
        student, taught = ops.log_softmax(logits / tau, 1), ops.log_softmax(taught / tau, 1)
        return (ops.exp(taught) * (taught - student)).sum(1).mean() * tau**2

    return checked(teacher, alpha, compare)


def checked(teacher: str, alpha: float, compare: Compare) -> tuple[str, float, Compare]:
    if not teacher:
        raise ValueError("distillation has no teacher; name its checkpoint: {hard: {teacher: FILE}}")
    check_range("alpha of distillation", alpha, 0, 1)
    return teacher, alpha, compare


class TaughtLoss(nn.Cell):
    """(1 - alpha) loss(class head, labels) + alpha compare(distillation head, teacher); without a teacher's logits,
    as in validation, the loss alone.

    Args:
        loss (nn.Cell): of logits (B, C) and labels.
        alpha (float): the teacher's share.
        compare (Compare): of logits (B, C) and the teacher's (B, C).

    Inputs: logits (B, C), which both terms take, or the pair of a network with a distillation token; labels; the
    teacher's logits (B, C). Outputs: a scalar.
    """

    def __init__(self, loss: nn.Cell, alpha: float, compare: Compare) -> None:
        super().__init__()
        self.loss, self.alpha, self.compare = loss, alpha, compare

    def construct(self, logits: Tensor | tuple[Tensor, Tensor], labels: Tensor, taught: Tensor | None = None) -> Tensor:
        if taught is None:
            return self.loss(logits, labels)
        first, second = logits if isinstance(logits, tuple) else (logits, logits)
        told = self.compare(second.astype("float32"), taught.astype("float32"))
        return (1 - self.alpha) * self.loss(first, labels) + self.alpha * told


class Teacher(nn.Cell):
    """A network that stays in evaluation and as it is while the cells around it train.

    Args:
        network (ViT): the teacher; its parameters are renamed, as a student's may have the same names.
        prepared (Preprocessing): how the student's images are prepared, from which the teacher's differ at most in
            mean and standard deviation.

    Inputs: the student's images (B, C, H, W). Outputs: logits (B, C).
    """

    NAME = "teacher"

    def __init__(self, network: nn.Cell, prepared: Preprocessing) -> None:
        super().__init__()
        self.network = network
        network.update_parameters_name(f"{self.NAME}.")
        for parameter in network.get_parameters():
            parameter.requires_grad = False
        mine = network.preprocessing
        self.same = (mine.mean, mine.std) == (prepared.mean, prepared.std)
        mean, std, to_mean, to_std = (np.array(value, np.float32).reshape(1, 3, 1, 1)
                                      for value in (prepared.mean, prepared.std, mine.mean, mine.std))
        self.factor, self.shift = Tensor(std / to_std), Tensor((mean - to_mean) / to_std)
        self.set_train(False)

    def add_flags_recursive(self, **flags):
        super().add_flags_recursive(**{**flags, "training": False})

    def construct(self, images):
        return ops.stop_gradient(self.network(images if self.same else images * self.factor + self.shift))


class WithTeacher(nn.Cell):
    """The loss of a network that learns from a teacher.

    Args:
        network, loss, teacher (nn.Cell): the loss takes the network's logits, labels and the teacher's logits.

    Inputs: images (B, C, H, W), labels. Outputs: the loss.
    """

    def __init__(self, network: nn.Cell, loss: nn.Cell, teacher: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.loss, self.teacher = network, loss, teacher

    def construct(self, images, labels):
        return self.loss(self.network(images), labels, self.teacher(images))
