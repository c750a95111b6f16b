"""The training loss."""

import math

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from mindvit.runtime.workers import workers


@ms.ops.constexpr(check=False)
def check_logits(shape, num_classes):
    if len(shape) != 2 or shape[1] != num_classes:
        raise ValueError(f"logits have shape {tuple(shape)}; this loss takes (batch, {num_classes}). "
                         "Give the loss the num_classes of the network's head")


class CrossEntropySmooth(nn.LossBase):
    """Cross entropy with label smoothing (Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7).

    As in the Vision suite, the true class gets 1 - smooth_factor and each other class
    smooth_factor / (num_classes - 1).

    Args:
        sparse (bool): labels are class indices (B,); otherwise distributions (B, num_classes), which are smoothed too.
        reduction (str): "mean", "sum" or "none" over the batch.
        smooth_factor (float): in [0, 1).
        num_classes (int): width of the head. The suite's word for it is `classes_num`.
        classes_num (int, optional): the same as num_classes.

    Inputs: logits (B, num_classes), or the pair that a distilled network gives in training, whose two losses are
    averaged; labels. Outputs: a float32 scalar, or (B,) with reduction "none".

    Raises:
        ValueError: smooth_factor is outside [0, 1), or smoothing with fewer than 2 classes; or, when called, logits of
            another width.

    Example:
        >>> loss = CrossEntropySmooth(smooth_factor=0.1, num_classes=2)
        >>> round(float(loss(mindspore.Tensor([[0.0, 0.0]]), mindspore.Tensor([1]))), 4)
        0.6931
    """

    def __init__(self, sparse: bool = True, reduction: str = "mean", smooth_factor: float = 0.0,
                 num_classes: int = 1000, classes_num: int | None = None) -> None:
        super().__init__(reduction)
        self.num_classes = num_classes if classes_num is None else classes_num
        if not 0 <= smooth_factor < 1:
            raise ValueError(f"smooth_factor is {smooth_factor}; it lies in [0, 1), usually 0.1")
        if smooth_factor and self.num_classes < 2:
            raise ValueError(f"smooth_factor {smooth_factor} needs at least 2 classes, not {self.num_classes}; use 0")
        self.sparse = sparse
        self.off = smooth_factor / max(self.num_classes - 1, 1)
        self.on = 1.0 - smooth_factor
        self.one, self.zero = Tensor(1.0, ms.float32), Tensor(0.0, ms.float32)
        self.cross_entropy = nn.SoftmaxCrossEntropyWithLogits(reduction=reduction)

    def construct(self, logits: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        if isinstance(logits, tuple):
            return (self.one_head(logits[0], labels) + self.one_head(logits[1], labels)) / 2
        return self.one_head(logits, labels)

    def one_head(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.cross_entropy(logits.astype(ms.float32), self.targets(logits, labels))

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The smoothed distributions (B, num_classes)."""
        check_logits(logits.shape, self.num_classes)
        if self.sparse or labels.ndim == 1:  # images are mixed in training, and plain in validation
            labels = ops.one_hot(labels.astype(ms.int32), self.num_classes, self.one, self.zero)
        return labels.astype(ms.float32) * (self.on - self.off) + self.off


class BinaryCrossEntropySmooth(CrossEntropySmooth):
    """Binary cross entropy of each class, averaged over classes and images, with label smoothing (Wightman et al.,
    "ResNet strikes back", 2021, section 2.2; DeiT III, 2022).

    Args and inputs are those of `CrossEntropySmooth`.

    Example:
        >>> loss = BinaryCrossEntropySmooth(num_classes=2)
        >>> round(float(loss(mindspore.Tensor([[0.0, 0.0]]), mindspore.Tensor([1]))), 4)
        0.6931
    """

    def one_head(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits, targets = logits.astype(ms.float32), self.targets(logits, labels)
        # log(1 + exp(x)) - x t, without overflow
        losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
        return self.get_loss(losses.mean(1))


LOSSES = {"cross_entropy": CrossEntropySmooth, "binary_cross_entropy": BinaryCrossEntropySmooth}


class CountedLoss(nn.Cell):
    """A mean loss that, while it trains, adds up on the device the loss of all images and how many were named right.

    So both are those of a whole epoch even where callbacks run once an epoch, as they do with data sink, and those of
    all workers, each of which knows them after each step. The loss itself and its gradient are unchanged.

    Args:
        loss (nn.Cell): mean over the batch of (logits (B, num_classes), labels (B,)), and a teacher's logits where
            there is one; logits may be the pair that a distilled network gives in training, whose mean counts.
        skip (bool): batches whose loss is not finite, which the step leaves out, do not count.
    """

    def __init__(self, loss, skip=False):
        super().__init__()
        self.loss, self.skip = loss, skip
        # loss, right ones, images; float32 counts to 16 million
        self.add_up = ops.AllReduce() if workers.count > 1 else None
        self.totals = Parameter(Tensor([0.0, 0.0, 0.0], ms.float32), "training_totals", requires_grad=False)

    def construct(self, logits, labels, taught=None):
        loss = self.loss(logits, labels) if taught is None else self.loss(logits, labels, taught)
        if self.training:
            counts = self.count(ops.stop_gradient(loss), logits, labels)
            ops.assign_add(self.totals, counts if self.add_up is None else self.add_up(counts))
        return loss

    def count(self, loss, logits, labels):
        """This batch's part of the totals (3,)."""
        if isinstance(logits, tuple):
            logits = (logits[0] + logits[1]) / 2
        images = labels.shape[0]
        if labels.ndim == 2:  # of mixed images the one with the larger share
            labels = ops.argmax(labels, 1)
        right = (ops.argmax(ops.stop_gradient(logits), 1).astype(ms.int32) == labels.astype(ms.int32))
        counts = ops.stack((loss.astype(ms.float32) * images, right.astype(ms.float32).sum(),
                            ops.zeros_like(loss).astype(ms.float32) + images))
        return ops.where(ops.isfinite(loss), counts, ops.zeros_like(counts)) if self.skip else counts

    def clear(self):
        """Starts a new epoch."""
        self.totals.set_data(Tensor([0.0, 0.0, 0.0], ms.float32))

    def means(self):
        """(mean loss, share of images named right) since `clear`, as floats; NaN where no image counted."""
        loss, right, images = self.totals.asnumpy().astype(float)
        return (loss / images, right / images) if images else (math.nan, math.nan)
