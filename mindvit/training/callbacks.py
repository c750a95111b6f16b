"""Callbacks for `mindspore.train.Model`: lines and bars, validation with best and last weights, the metrics file."""

import csv
import math
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore.dataset import Dataset
from mindspore.train import Callback, Model, RunContext

from mindvit.checkpoints import save_weights
from mindvit.checkpoints.save import check_savable
from mindvit.device import notice_pynative
from mindvit.files import StrPath, replacing
from mindvit.runtime.workers import workers
from mindvit.training.loss import CountedLoss
from mindvit.training.wrong import WentWrong
from mindvit.visualize import save_curves


def step_loss(params):
    """The loss of the step that just ended, as a float.

    Raises:
        ValueError: it is NaN or infinite, which ends the training; with a CountedLoss `StopWhenWrong` looks at that.
    """
    outputs = params.net_outputs
    loss = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    loss = float(np.mean(loss.asnumpy())) if isinstance(loss, ms.Tensor) else float(loss)
    if not math.isfinite(loss) and not counted_loss(params):
        raise ValueError(f"the loss is {loss} at step {params.cur_step_num} (epoch {params.cur_epoch_num}); training "
                         "stops. Lower the learning rate, warm up longer, or check the images and labels")
    return loss


def learning_rate_at(lr_init, step):
    """The learning rate of a step, counted from 1, in a schedule; a number stands for itself."""
    return lr_init[step - 1] if isinstance(lr_init, (list, tuple, np.ndarray)) else lr_init


def counted_loss(params):
    """The CountedLoss of a training, or None."""
    loss = params.get("loss_fn")
    return loss if isinstance(loss, CountedLoss) else None


class EpochLoss(Callback):
    """What the progress callbacks share: time and losses of the running epoch."""

    def on_train_begin(self, run_context: RunContext) -> None:
        notice_pynative()

    def on_train_epoch_begin(self, run_context: RunContext) -> None:
        self.losses: list[float] = []
        self.epoch_start = time.time()
        params = run_context.original_args()
        counted = counted_loss(params)
        if counted and params.cur_step_num % params.batch_num == 0:  # else an epoch goes on that was stopped
            counted.clear()

    def on_train_step_begin(self, run_context: RunContext) -> None:
        self.step_start = time.time()

    def on_train_step_end(self, run_context: RunContext) -> None:
        self.losses.append(step_loss(run_context.original_args()))

    def mean_loss(self, params: dict[str, Any]) -> float | None:
        """The running epoch's mean loss; None where nobody knows it: with data sink steps end once an epoch."""
        if counted := counted_loss(params):
            return counted.means()[0]
        return None if params.get("dataset_sink_mode") else float(np.mean(self.losses))


class LossMonitor(EpochLoss):
    """Prints loss, time and learning rate of steps and epochs in the Vision suite's format.

    With data sink MindSpore ends one step an epoch, the last: its loss is then called the last loss.

    Args:
        lr_init (float or sequence of float, optional): the learning rate, or that of each step.
        per_print_times (int): steps between two lines.

    Raises:
        ValueError: the loss is NaN or infinite.

    Example:
        >>> LossMonitor(lr_init=1e-3, per_print_times=10).per_print_times
        10
    """

    def __init__(self, lr_init: float | Sequence[float] | None = None, per_print_times: int = 1) -> None:
        super().__init__()
        self.lr_init, self.per_print_times = lr_init, per_print_times
        self.last_printed = 0

    def on_train_step_end(self, run_context: RunContext) -> None:
        super().on_train_step_end(run_context)
        params = run_context.original_args()
        if params.cur_step_num - self.last_printed < self.per_print_times:
            return
        self.last_printed = params.cur_step_num
        lr, mean = learning_rate_at(self.lr_init, params.cur_step_num), self.mean_loss(params)
        loss = f"last loss:[{self.losses[-1]:5.3f}]" if mean is None else f"loss:[{self.losses[-1]:5.3f}/{mean:5.3f}]"
        print(f"Epoch:[{params.cur_epoch_num - 1:3d}/{params.epoch_num:3d}], "
              f"step:[{(params.cur_step_num - 1) % params.batch_num + 1:5d}/{params.batch_num:5d}], "
              f"{loss}, time:{(time.time() - self.step_start) * 1000:5.3f} ms, "
              f"lr:{'None' if lr is None else format(lr, '5.5f')}", flush=True)

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        milliseconds, mean = (time.time() - self.epoch_start) * 1000, self.mean_loss(run_context.original_args())
        print(f"Epoch time: {milliseconds:5.3f} ms, "
              f"per step time: {milliseconds / run_context.original_args().batch_num:5.3f} ms, "
              + (f"last loss: {self.losses[-1]:5.3f}" if mean is None else f"avg loss: {mean:5.3f}"), flush=True)


def progress_bar(total, description, unit):
    """A bar of tqdm's, of 80 columns on a terminal that says no size."""
    from tqdm import tqdm

    sized = not sys.stderr.isatty() or os.get_terminal_size(sys.stderr.fileno()).columns
    return tqdm(total=total, desc=description, unit=unit,
                **({} if sized else {"ncols": 80, "nrows": 24}))  # in 0 x 0 tqdm shows nothing


class ProgressBar(EpochLoss):
    """A bar for each epoch on a terminal, with mean loss and learning rate.

    Args:
        lr_init (float or sequence of float): the learning rate, or that of each step.

    Example:
        >>> ProgressBar(lr_init=1e-3).lr_init
        0.001
    """

    def __init__(self, lr_init: float | Sequence[float]) -> None:
        super().__init__()
        self.lr_init = lr_init

    def on_train_epoch_begin(self, run_context: RunContext) -> None:
        super().on_train_epoch_begin(run_context)
        params = run_context.original_args()
        self.bar = progress_bar(params.batch_num, f"epoch {params.cur_epoch_num - 1}/{params.epoch_num}", "step")

    def on_train_step_end(self, run_context: RunContext) -> None:
        super().on_train_step_end(run_context)
        params = run_context.original_args()
        mean = self.mean_loss(params)
        self.bar.set_postfix(loss=f"{self.losses[-1] if mean is None else mean:.3f}",
                             lr=f"{learning_rate_at(self.lr_init, params.cur_step_num):.2e}", refresh=False)
        self.bar.update((params.cur_step_num - 1) % params.batch_num + 1 - self.bar.n)

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        self.bar.close()


def progress(lr_init, log_every):
    """A progress bar on a terminal, plain lines elsewhere."""
    return ProgressBar(lr_init) if sys.stderr.isatty() else LossMonitor(lr_init, log_every)


class KeepWeights:
    """Keeps last.ckpt of each epoch, and best.ckpt of the one whose metric is highest; of several workers the first
    writes them, and all know which epoch was best.

    Args:
        network (ViT): whose weights.
        folder (str): where to write.
        metric_name (str): what decides, a name in the records; losses are better when lower.

    Attributes:
        best (dict, optional): the record of the best epoch.
        epoch (int): the last epoch whose weights are kept; 0 before.
    """

    def __init__(self, network, folder, metric_name="Top_1_Accuracy"):
        check_savable(network)  # before an epoch is lost
        self.network, self.folder, self.metric_name = network, pathlib.Path(folder), metric_name
        self.best, self.epoch = None, 0

    def __call__(self, records):
        names = ("last.ckpt", "best.ckpt") if self.is_best(records[-1]) else ("last.ckpt",)
        for name in () if workers.rank else names:
            save_weights(self.network, self.folder / name)

    def is_best(self, record):
        """Whether a new record is the best so far, which is noted."""
        self.epoch = record["epoch"]
        better = self.metric_name in record and (not self.best or self.goodness(record) > self.goodness(self.best))
        self.best = record if better else self.best
        return better

    def goodness(self, record):
        """A number that is higher for better records."""
        return -record[self.metric_name] if "loss" in self.metric_name else record[self.metric_name]


def print_validation(record, best, epochs, metric_name):
    """The line on a validated epoch, in the form of the Vision suite's."""
    print(f"Epoch:[{record['epoch'] - 1:3d}/{epochs:3d}], {metric_name}: {record[metric_name]:.4f}, "
          f"best: {best[metric_name]:.4f}", flush=True)


class ValAccMonitor(Callback):
    """Validates after every `interval` epochs and at the end; keeps best.ckpt and last.ckpt.

    Args:
        model (mindspore.train.Model): the model being trained, with metrics.
        dataset_val (mindspore Dataset): validation images.
        num_epochs (int, optional): the last epoch, which is always validated; by default the training's.
        interval (int): epochs between validations.
        ckpt_directory (str): folder of best.ckpt and last.ckpt.
        metric_name (str): the metric that decides what is best, higher being better.
        dataset_sink_mode (bool): see `Model.eval`.

    The results of the latest validation stand in the callback parameters as `eval_results`, as in `Model.fit`.

    Example:
        >>> data = ImageNet("dataset", "val", batch_size=4, resize=32).run()
        >>> model = mindspore.train.Model(create_model("vit_t_16", image_size=32, num_layers=1))
        >>> ValAccMonitor(model, data, ckpt_directory="runs/a").metric_name
        'Top_1_Accuracy'
    """

    def __init__(self, model: Model, dataset_val: Dataset, num_epochs: int | None = None, interval: int = 1,
                 ckpt_directory: StrPath = "./", metric_name: str = "Top_1_Accuracy",
                 dataset_sink_mode: bool = False) -> None:
        super().__init__()
        self.model, self.dataset_val, self.num_epochs, self.interval = model, dataset_val, num_epochs, interval
        self.folder, self.metric_name, self.dataset_sink_mode = ckpt_directory, metric_name, dataset_sink_mode
        self.keep: KeepWeights | None = None

    def on_train_begin(self, run_context: RunContext) -> None:
        notice_pynative()
        if self.keep is None:  # a training that goes on keeps the best of before
            self.keep = KeepWeights(run_context.original_args().network, self.folder, self.metric_name)

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        params = run_context.original_args()
        due = params.cur_epoch_num % self.interval == 0
        params.eval_results = {}
        if due or params.cur_epoch_num == (self.num_epochs or params.epoch_num):
            params.eval_results = self.model.eval(self.dataset_val, dataset_sink_mode=self.dataset_sink_mode)
        record = {"epoch": params.cur_epoch_num, **params.eval_results}
        assert self.keep  # since the training began
        self.keep([record])
        if params.eval_results:
            print_validation(record, self.keep.best, params.epoch_num, self.metric_name)


class EpochRecords(EpochLoss):
    """Makes one record an epoch, with its validation, and hands all records to those who read them.

    The training's loss is a CountedLoss, whose means over the epoch are `train_loss` and `train_Top_1_Accuracy`. Where
    the step keeps a running average of the weights, that is validated and read.

    Args:
        model (StepModel): the model being trained.
        validate (callable): gives the results of a validation by name.
        lr_init (float or sequence of float): the learning rate, or that of each step.
        readers (sequence of callables): each is called with the list of all records, the newest last; one that returns
            a text ends the training, and the text is printed.
        records (list of dict, optional): those of the epochs before.
        finish (callable, optional): called last, when the weights are back in their place.
    """

    def __init__(self, model, validate, lr_init, readers, records=None, finish=None):
        super().__init__()
        self.model, self.validate, self.lr_init, self.readers = model, validate, lr_init, readers
        self.records, self.finish = [] if records is None else records, finish

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        params = run_context.original_args()
        loss, accuracy = counted_loss(params).means()
        if not math.isfinite(loss):
            raise WentWrong(f"all batches of epoch {params.cur_epoch_num} were left out", params.cur_step_num)
        if self.model.step.measures().get("skipped_batches") == params.batch_num * params.epoch_num:
            raise WentWrong("all batches of the training were left out, as their gradients overflowed,",
                            params.cur_step_num)
        with self.model.step.averaged():
            validation, lr = self.validate(), float(learning_rate_at(self.lr_init, params.cur_step_num))
            if not math.isfinite(found := validation.get("val_loss", 0.0)):
                raise WentWrong(f"the validation loss is {found} after epoch {params.cur_epoch_num}",
                                params.cur_step_num)
            self.records.append({
                "epoch": params.cur_epoch_num, "step": params.cur_step_num, "lr": lr,
                "train_loss": loss, "train_Top_1_Accuracy": accuracy,
                **{name: float(value) for name, value in validation.items()}, **self.model.step.measures()})
            for read in self.readers:
                if reason := read(self.records):
                    print(reason, flush=True)
                    run_context.request_stop()
        if self.finish:
            self.finish()


class NameSkipped:
    """Writes the images that could not be read to a CSV file whenever there are more of them, and says so.

    Args:
        sets (dict): by split, each an ImageDataset.
        path (Path): the file.
    """

    def __init__(self, sets, path):
        self.sets, self.path, self.written = sets, path, 0

    def __call__(self):
        rows = [(split, images.name(index), reason) for split, images in self.sets.items()
                for index, reason in sorted(images.skipped.items())]
        if len(rows) <= self.written:
            return
        self.written = len(rows)
        with replacing(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8",
                                                     errors="backslashreplace") as file:
            csv.writer(file).writerows([("split", "path", "reason"), *rows])
        counts = ", ".join(f"{len(images.skipped)} of {WORDS[split]}" for split, images in self.sets.items()
                           if images.skipped)
        many = f"{len(rows)} images that cannot be read were" if rows[1:] else "1 image that cannot be read was"
        print(f"{many} left out ({counts}): {self.path}", flush=True)


WORDS = {"train": "training", "val": "validation", "test": "test"}


def enough(records, best, patience):
    """Why training ends, where the last `patience` epochs brought nothing better than the best; else None."""
    if patience and records[-1]["epoch"] - best["epoch"] >= patience:
        return f"no better epoch than {best['epoch']} in the last {patience}; training ends"
    return None


class DrawCurves:
    """Draws curves.png after an epoch, but once a minute at most: with short epochs drawing would take half the time.

    Args:
        path (Path): the picture.
    """

    def __init__(self, path):
        self.path, self.drawn = path, -math.inf

    def __call__(self, records):
        if time.monotonic() - self.drawn >= 60:
            save_curves(records, self.path)
            self.drawn = time.monotonic()


def write_metrics(records, path):
    """Writes the records as a CSV file."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
