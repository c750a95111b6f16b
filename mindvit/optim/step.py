"""One training step: gradients, their scale, sum and norm, the optimizer, and a running average of the weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.train import Model

from mindvit.kernels import kernel


# What a step does to each parameter. A `for` over them would be unrolled into calls within calls, of which MindSpore
# takes a thousand: too few for clipped and accumulated gradients of twelve blocks.
def times(factor, x):
    return x * factor


def add(total, x):
    return ops.assign_add(total, x)


def clear(total):
    return ops.assign(total, ops.zeros_like(total))


def follow(share, average, weight):
    return ops.assign_add(average, share * (weight - average))


class Watch(nn.Cell):
    """Follows the length of the gradients on the device, for where callbacks run once an epoch.

    Attributes:
        norm (Parameter): global norm of the last move's gradients, before they are clipped.
        usual (Parameter): running mean of the norms, over the first 50 moves of all and then with a share of 1/50 for
            each new one, which counts as twice the mean at most.
        long_in_a_row (Parameter): moves in a row whose norm was above LONG times the mean, once there were SETTLED.
    """

    LONG, SETTLED = 100, 100

    def __init__(self) -> None:
        super().__init__()
        self.sum_of_squares, self.each = kernel("sum_of_squares"), ops.HyperMap()
        self.norm = Parameter(Tensor(0.0, ms.float32), "gradient_norm", requires_grad=False)
        self.usual = Parameter(Tensor(0.0, ms.float32), "usual_gradient_norm", requires_grad=False)
        self.moves = Parameter(Tensor(0.0, ms.float32), "watched_moves", requires_grad=False)
        self.long_in_a_row = Parameter(Tensor(0.0, ms.float32), "long_gradients_in_a_row", requires_grad=False)

    def construct(self, gradients: Any) -> Tensor:
        norm = ops.sqrt(ops.addn(self.each(self.sum_of_squares, gradients)))
        moves, usual = self.moves + 1, self.usual + 0
        long = ops.logical_and(moves > self.SETTLED, norm > self.LONG * usual).astype(ms.float32)
        counted = ops.minimum(norm, ops.where(moves > 1, 2 * usual, norm))
        counted = ops.where(ops.isnan(norm), usual, counted)
        return ops.depend(norm, (
            ops.assign(self.usual, usual + ops.maximum(1 / moves, 0.02) * (counted - usual)),
            ops.assign(self.long_in_a_row, long * (self.long_in_a_row + 1)),
            ops.assign(self.moves, moves), ops.assign(self.norm, norm)))


class TrainStep(nn.TrainOneStepCell):
    """Forward, backward and update, as one graph of static shapes.

    With MindSpore's data_parallel mode gradients are averaged over the workers, once an update.

    Args:
        network (nn.Cell): gives the loss of (images, labels).
        optimizer (nn.Optimizer): moves the weights.
        accumulate (int): batches whose gradients are averaged before an update. The last group of an epoch is as short
            as what is left of it, and counts by its own number of batches.
        steps_per_epoch (int): batches an epoch; needed to accumulate.
        clip_norm (float): gradients whose global norm is longer are shortened to it; 0 leaves them.
        ema (float): share of the running average of the weights that stays at each update; 0 keeps no average.
        scaler (mindspore.amp.LossScaler, optional): scales the loss for float16; a batch whose gradients overflow is
            left out.
        skip (bool): leave out batches whose loss or gradients are not finite, without a scaler too.

    Inputs: images (B, C, H, W), labels. Outputs: the loss, a scalar.
    """

    def __init__(self, network: nn.Cell, optimizer: nn.Optimizer, accumulate: int = 1, steps_per_epoch: int = 0,
                 clip_norm: float = 0.0, ema: float = 0.0, scaler: Any = None, skip: bool = False) -> None:
        super().__init__(network, optimizer)
        self.accumulate, self.steps_per_epoch = accumulate, steps_per_epoch
        self.clip_norm, self.ema, self.scaler, self.skip = clip_norm, ema, scaler, skip
        self.watch = Watch()
        self.add_up: Any = ops.AllReduce() if self.reducer_flag else None
        self.each, self.bind = ops.HyperMap(), ops.Partial()
        self.average = self.weights.clone("average", "zeros") if ema else ()  # "same" would undo what was loaded
        for average, weight in zip(self.average, self.weights):
            average.set_data(Tensor(weight.asnumpy().copy()))
        self.sums = self.weights.clone("sum", "zeros") if accumulate > 1 else ()
        self.batch = Parameter(Tensor(0, ms.int32), "batch", requires_grad=False)  # of the epoch, while accumulating
        self.added = Parameter(Tensor(0, ms.int32), "added", requires_grad=False)  # batches in the sums
        self.skipped = Parameter(Tensor(0, ms.int32), "skipped", requires_grad=False)  # batches that were left out
        self.skipped_in_a_row = Parameter(Tensor(0, ms.int32), "skipped_in_a_row", requires_grad=False)

    def construct(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self.network(images, labels)
        scale = ops.ones_like(loss)
        if self.scaler is not None:
            scale = self.scaler.scale(scale)
        gradients = self.grad(self.network, self.weights)(images, labels, scale)
        if self.scaler is None and not self.skip:
            return ops.depend(loss, self.take(gradients))
        finite = ms.amp.all_finite(gradients)
        if self.skip:
            finite = ops.logical_and(finite, ops.isfinite(loss))
        if self.reducer_flag:  # one worker's overflow is everybody's
            finite = self.add_up(ops.cast(ops.logical_not(finite), ms.float32)) == 0
        if self.scaler is not None:
            gradients = self.scaler.unscale(gradients)
            loss = ops.depend(loss, self.scaler.adjust(finite))
        if finite:
            loss = ops.depend(loss, self.take(gradients))
        else:
            loss = ops.depend(loss, self.leave_out())
        return loss

    def leave_out(self):
        """Counts a batch that overflowed."""
        ops.assign_add(self.skipped, Tensor(1, ms.int32))
        ops.assign_add(self.skipped_in_a_row, Tensor(1, ms.int32))
        return self.close_group() if self.accumulate > 1 else self.leave_rate()

    def leave_rate(self):
        """Goes on to the next learning rate without moving the weights."""
        ops.assign_add(self.optimizer.global_step, Tensor([1], ms.int32))
        return True

    def take(self, gradients):
        """Updates the weights, or adds a batch's gradients to those of its group."""
        ops.assign(self.skipped_in_a_row, Tensor(0, ms.int32))
        if self.accumulate == 1:
            return self.update(gradients)
        self.each(add, self.sums, gradients)
        ops.assign_add(self.added, Tensor(1, ms.int32))
        return self.close_group()

    def close_group(self):
        """Counts a batch; where it is the last of its group, updates the weights by the group's mean."""
        batch = self.batch + 1
        ops.assign(self.batch, batch % self.steps_per_epoch)
        if batch % self.accumulate == 0 or batch == self.steps_per_epoch:
            if self.added > 0:
                share = 1 / self.added.astype(ms.float32)
                self.update(self.each(self.bind(times, share), self.sums))
            else:
                self.leave_rate()
            self.each(clear, self.sums)
            ops.assign(self.added, Tensor(0, ms.int32))
        return True

    def update(self, gradients):
        """Moves the weights and their average."""
        gradients = self.grad_reducer(gradients)
        norm = self.watch(gradients)
        if self.clip_norm:  # Pascanu et al., "On the difficulty of training recurrent networks", 2013, algorithm 1
            share = ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
            gradients = self.each(self.bind(times, share), gradients)
        done = ops.depend(self.optimizer(gradients), norm)
        if self.ema:
            self.each(self.bind(follow, 1 - self.ema), self.average, self.weights)
        return done

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the running average, if there is one, stands in the place of the weights."""
        self.swap_average()
        try:
            yield
        finally:
            self.swap_average()

    def swap_average(self) -> None:
        for weight, average in zip(self.weights, self.average):
            values = Tensor(weight.asnumpy().copy()), Tensor(average.asnumpy().copy())
            ops.assign(average, values[0])  # after set_data the branches of a compiled step would go on with the old
            ops.assign(weight, values[1])

    def measures(self) -> dict[str, float]:
        """What a record of an epoch has of it: the last gradients' norm, the loss scale, and how many batches were left
        out so far."""
        found = {"gradient_norm": float(self.watch.norm.asnumpy())}
        if self.scaler is not None:
            found["loss_scale"] = float(self.scaler.scale_value.asnumpy())
        if self.scaler is not None or self.skip:
            found["skipped_batches"] = int(self.skipped.asnumpy())
        return found


class StepModel(Model):
    """A Model that trains by a TrainStep.

    Args:
        step (TrainStep): the step.
        network (nn.Cell), **options: as for Model.
    """

    def __init__(self, step: TrainStep, network: nn.Cell, **options: Any) -> None:
        self.step = step  # the constructor asks for it
        super().__init__(network, **options)

    def _build_train_network(self) -> nn.Cell:
        return self.step
