"""When a training ends because its numbers went wrong, and what it says then."""

import math

from mindspore.train import Callback, RunContext

SKIPPED = 50  # batches in a row that are left out before a run ends
LONG = 10  # moves of the weights in a row with gradients far longer than usual
AT_CHANCE = 10  # epochs in a row no better than naming the largest class
ENOUGH_IMAGES = 100  # of validation; among fewer, chance itself spreads too far
REWINDS = 3  # how often a run goes back before it ends


class WentWrong(ValueError):
    """The numbers of a training went wrong.

    Args:
        reason: how.
        step: the step after which it was seen.
        remedy (optional): what to do, where it is not to lower the learning rate.

    Attributes:
        state (Path), rewinds (int): the run's, once it is `explained`.
        found (str): the same without what to do.
    """

    def __init__(self, reason, step, remedy=None):
        super().__init__(f"{reason} at step {step}")
        self.step, self.remedy = step, remedy

    def explained(self, step, rate, sound, state, rewinds):
        """The same with the numbers around it, and what to do.

        Args:
            step (TrainStep): the step.
            rate (float): the learning rate.
            sound (int, optional): the step that the state holds, if it is a good one.
            state (Path), rewinds (int): the file of the state, and how often the run went back before.
        """
        found = step.measures()
        scale = f"{found['loss_scale']:g}" if "loss_scale" in found else "none"
        self.found = (f"{self} (learning rate {rate:g}, loss scale {scale}, gradient norm {found['gradient_norm']:g}, "
                      f"usually {float(step.watch.usual.asnumpy()):g})")
        if sound:
            kept = f"{state} holds step {sound}, the last good one: " + (self.remedy or (
                "go on from there by --resume auto --resume.override true with a lower --train.lr, or have that done "
                "by --train.on_nan rewind"))
        else:
            kept = f"{'No good state' if state.exists() else 'Nothing'} was saved before: " + (
                self.remedy or "begin again with a lower --train.lr, a warm-up or --train.clip_norm 1")
        self.args, self.state, self.rewinds = (f"{self.found}. {kept}",), state, rewinds
        return self


class StopWhenWrong(Callback):
    """Ends a training whose loss or gradients are not finite, or whose gradients explode.

    With data sink it looks once an epoch. All workers see the same numbers, and end at the same step.

    Args:
        step (TrainStep): the step.
        loss (CountedLoss): the loss, whose mean over the epoch is NaN since one batch's was.
    """

    def __init__(self, step, loss):
        super().__init__()
        self.step, self.loss = step, loss

    def on_train_step_end(self, run_context: RunContext) -> None:
        if reason := self.reason():
            raise WentWrong(reason, run_context.original_args().cur_step_num)

    def reason(self):
        """What is wrong after a step, or None."""
        step, watch = self.step, self.step.watch
        if (skipped := int(step.skipped_in_a_row.asnumpy())) >= SKIPPED:
            return f"the gradients of {skipped} batches in a row are not finite, so they were left out,"
        loss, norm = self.loss.means()[0], float(watch.norm.asnumpy())
        if not math.isfinite(loss) and not self.loss.skip:
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradients are not finite (their norm is {norm})"
        if (long := int(watch.long_in_a_row.asnumpy())) >= LONG:
            return f"the gradients of {long} steps in a row are over {watch.LONG} times as long as usual"
        return None


class StopAtChance(Callback):
    """Ends a training whose loss falls while validation is no better than naming the largest class each time.

    That is: for AT_CHANCE epochs in a row, and not more, so that a run that goes on is not ended again. The accuracy
    may be one standard deviation of chance above the largest class's share p of N images, sqrt(p (1 - p) / N).

    Args:
        records (list of dict): one an epoch, the newest last.
        labels (sequence of int): of the validation images.
        epochs (int): length of the training, after which there is nothing to end.
    """

    def __init__(self, records, labels, epochs):
        super().__init__()
        self.records, self.epochs = records, epochs
        largest = max(map(labels.count, set(labels))) / len(labels)
        self.chance = largest + math.sqrt(largest * (1 - largest) / len(labels))
        self.enough = len(labels) >= ENOUGH_IMAGES

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        since = next((i for i, record in enumerate(reversed(self.records))
                      if record["Top_1_Accuracy"] > self.chance), len(self.records))
        first, last = self.records[-since:][0], self.records[-1]
        if (self.enough and since == AT_CHANCE and last["epoch"] < self.epochs
                and last["train_loss"] < first["train_loss"]):
            raise WentWrong(
                f"the training loss fell from {first['train_loss']:.3f} to {last['train_loss']:.3f} in {since} epochs, "
                f"but top-1 in validation is {last['Top_1_Accuracy']:.4f}, no better than naming the largest class "
                "each time,", last["step"], "see with `mindvit show-batch` whether images and labels belong together; "
                "lower --train.lr if one class is named always; --resume auto goes on all the same")
