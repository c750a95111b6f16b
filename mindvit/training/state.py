"""The whole state of a training in one file, and the one before, so that a killed run goes on bit for bit."""

import dataclasses
import json
import math
import os
import pathlib
import random
import re
import shutil
import time
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.train import Callback, RunContext
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mindvit.config import TrainJob
from mindvit.files import replacing, sha256
from mindvit.kernels import dropout_states
from mindvit.optim.distillation import Teacher
from mindvit.optim.step import TrainStep
from mindvit.runtime.signals import asked
from mindvit.runtime.workers import workers
from mindvit.training.wrong import WentWrong

STATE, PREVIOUS = "state.safetensors", "state-previous.safetensors"
SUMS = "SHA256SUMS"  # of both, as sha256sum -c reads it: a state whose hash it does not have is damaged
# What may be another when a run goes on: it changes nothing in the weights.
FREE = ("out", "resume", "resume_override", "ckpt_dir", "distributed", "data.max_skipped", "data.strict",
        "train.log_every", "train.on_nan", "train.save_every")
DATA = ("images", "classes", "batches an epoch", "images a batch", "workers")


@dataclasses.dataclass
class Progress:
    """How far a training is.

    Attributes:
        steps: batches that were trained on.
        records: one an epoch.
        settings: the job, flat: {"train.lr": 5e-05, ...}.
        data: what DATA names: the number of images and the classes; the batches an epoch, the images that a batch has
            in all workers, and the number of workers.
        rewinds: how often it went back, each time with half the learning rate; see `train.on_nan`.
        best: SHA-256 of the best.ckpt that goes with it; None where there is none, or an older version saved it.
    """

    steps: int
    records: list[dict]
    settings: dict[str, Any]
    data: dict[str, Any]
    rewinds: int = 0
    best: str | None = None


def variables(step: TrainStep) -> dict[str, Parameter]:
    """All that a step changes, by name: weights, their average, moments, counters, dropouts, loss scale.

    The tables of learning rates and a teacher's weights are left out: the settings tell them.
    """
    found = {parameter.name: parameter for parameter in step.get_parameters()
             if "learning_rate" not in parameter.name and not parameter.name.startswith(f"{Teacher.NAME}.")}
    found |= {f"dropout.{i}": parameter for i, parameter in enumerate(dropout_states(step))}
    if isinstance(step.scaler, ms.amp.DynamicLossScaler):
        found |= {"loss_scale": step.scaler.scale_value, "loss_scale_counter": step.scaler.counter}
    return found


def broken(step: TrainStep) -> str | None:
    """The name of a parameter, of those that a step changes, with values that are not finite."""
    return next((name for name, parameter in variables(step).items() if not np.isfinite(parameter.asnumpy()).all()),
                None)


def save_state(path: pathlib.Path, step: TrainStep, progress: Progress) -> None:
    """Writes a state, whole or not at all, and keeps the one before; both stand in SHA256SUMS before either is renamed,
    so that a kill at any point leaves one that is known to be whole."""
    arrays = {name: np.array(parameter.asnumpy(), order="C") for name, parameter in variables(step).items()}
    generator: Any = np.random.get_state()
    arrays["random.numpy"] = generator[1]
    arrays["random.mindspore"] = ms.get_rng_state().asnumpy()
    best = path.with_name("best.ckpt")
    progress.best = sha256(best) if best.is_file() else None
    told = {**dataclasses.asdict(progress), "mindspore": ms.__version__, "python_random": random.getstate(),
            "numpy_random": [generator[0], *generator[2:]]}
    with replacing(path, sum(array.nbytes for array in arrays.values())) as temporary:
        save_file(arrays, temporary, {"mindvit": json.dumps(told)})
        sums = {path.name: sha256(temporary)}
        if path.is_file():
            sums[PREVIOUS] = read_sums(path.parent).get(path.name) or sha256(path)
        write_sums(path.parent, sums)
        if path.is_file():
            os.replace(path, path.with_name(PREVIOUS))


def read_sums(folder: pathlib.Path) -> dict[str, str]:
    """{name: SHA-256} of a folder's SHA256SUMS; empty where there is none."""
    path = folder / SUMS
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}


def write_sums(folder, sums):
    with replacing(folder / SUMS) as temporary:
        temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")


def whole_state(folder: pathlib.Path) -> pathlib.Path | None:
    """The newest state in a folder that is whole by SHA256SUMS, and a line on one that is not; None where there is
    none.

    Raises:
        ValueError: none of them is whole.
    """
    found = [path for path in (folder / STATE, folder / PREVIOUS) if path.is_file()]
    sums = read_sums(folder)
    if found and not sums:
        print(f"{folder / SUMS} is not there, or has no hash, so whether {found[0]} is damaged was not checked",
              flush=True)
        return found[0]
    whole = next((path for path in found if sha256(path) in sums.values()), None)
    if found and not whole:
        raise ValueError(f"damaged, as {folder / SUMS} has another SHA-256: {', '.join(map(str, found))}; to train "
                         "from the run's last weights, give its last.ckpt as --checkpoint and another --out")
    if found and whole != found[0]:
        print(f"{found[0]} is damaged, as {folder / SUMS} has another SHA-256; {whole} is taken", flush=True)
    return whole


def settle(state: pathlib.Path) -> None:
    """Puts the state that a training goes on from in the place of a newer one that is damaged or was never there."""
    digest, usual = sha256(state), state.with_name(STATE)
    if (state, digest) != (usual, read_sums(state.parent).get(STATE)):
        os.replace(state, usual)
        write_sums(state.parent, {STATE: digest})


def back_to_sound(folder: pathlib.Path, error: WentWrong, step: TrainStep, batches: int) -> int | None:
    """The step of the newest state whose weights gave a finite loss, in a validation or in the step after it; a newer
    one gives way to it. None where there is no such state.

    Args:
        folder (Path): the run's.
        error (WentWrong): what ended the run.
        step (TrainStep): the step.
        batches (int): of an epoch.
    """
    left_out = int(step.skipped_in_a_row.asnumpy())
    for path in (folder / STATE, folder / PREVIOUS):
        if path.is_file() and ((steps := read_progress(path).steps) < error.step - max(left_out, 1)
                               or steps % batches == 0 and not left_out):
            settle(path)
            return steps
    return None


def check_space(folder: pathlib.Path, step: TrainStep, network: nn.Cell) -> None:
    """OSError where a disk is too small for a training's checkpoints: best.ckpt, last.ckpt, and while one of them is
    written three states."""
    def size(parameters):
        return sum(parameter.size * parameter.itemsize for parameter in parameters)

    needed = 3 * size(variables(step).values()) + 2 * size(network.get_parameters())
    there = sum((folder / name).stat().st_size for name in (STATE, PREVIOUS, "best.ckpt", "last.ckpt")
                if (folder / name).is_file())
    disk = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if needed - there > (free := shutil.disk_usage(disk).free):
        raise OSError(f"{folder} has {free / 1e6:.1f} MB free, and the checkpoints of this training take "
                      f"{(needed - there) / 1e6:.1f} MB (three states, of which one is being written, best.ckpt and "
                      "last.ckpt); make room, or name another --out")


def read_progress(path: pathlib.Path) -> Progress:
    """How far a saved training is.

    Raises:
        ValueError: the file is no state.
    """
    try:
        with safe_open(path, "np") as file:
            told = json.loads((file.metadata() or {})["mindvit"])
        progress = Progress(**{field.name: told[field.name] for field in dataclasses.fields(Progress)
                               if field.name in told})
        progress.data = {name: progress.data[name] for name in DATA}
        return progress
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole state of a training ({error}); to train from the run's "
                         "last weights, give its last.ckpt as --checkpoint and another --out") from None


def load_state(path: pathlib.Path, step: TrainStep) -> None:
    """Sets all that a step changes, and the random states, to what a file has.

    Raises:
        ValueError: the file is of another network, optimizer or loss.
    """
    wanted = variables(step)
    with safe_open(path, "np") as file:
        told, names = json.loads(file.metadata()["mindvit"]), set(file.keys())
        if wrong := names ^ {*wanted, "random.numpy", "random.mindspore"}:
            raise ValueError(f"{path} is of another training: {', '.join(sorted(wrong)[:4])} "
                             f"{'are' if len(wrong) > 1 else 'is'} in one of both only")
        for name, parameter in wanted.items():
            values = file.get_tensor(name)
            if values.shape != parameter.shape:
                raise ValueError(f"{path} is of another training: {name} has shape {values.shape}, here "
                                 f"{parameter.shape}")
            parameter.set_data(Tensor(values, parameter.dtype))
        version, internal, gauss = told["python_random"]
        random.setstate((version, tuple(internal), gauss))
        kind, *rest = told["numpy_random"]
        np.random.set_state((kind, file.get_tensor("random.numpy"), *rest))
        ms.set_rng_state(Tensor(file.get_tensor("random.mindspore")))


def settings_of(job: TrainJob) -> dict[str, Any]:
    """The job's fields by name, but for those that change nothing in the weights, as JSON has them."""
    def flat(values, prefix=""):
        for name, value in values.items():
            if isinstance(value, dict) and f"{prefix}{name}" in ("data", "model", "train"):
                yield from flat(value, f"{prefix}{name}.")
            elif f"{prefix}{name}" not in FREE:
                yield f"{prefix}{name}", value

    return json.loads(json.dumps(dict(flat(dataclasses.asdict(job)))))


def check_same(path: pathlib.Path, saved: Progress, settings: dict[str, Any], data: dict[str, Any],
               override: bool) -> None:
    """ValueError where a saved training had other settings or images, unless they are to be overridden.

    Another number of workers is only told; and so is the batch size of each where together they take as many images.

    Raises:
        ValueError: the message has what differs; other numbers of images or classes cannot be overridden.
    """
    same_batch = saved.data["images a batch"] == data["images a batch"]
    names = {**saved.settings, **settings}.keys() - ({"train.batch_size"} if same_batch else set())
    different = [f"{name} was {saved.settings.get(name)!r} and is {settings.get(name)!r}" for name in sorted(names)
                 if saved.settings.get(name) != settings.get(name)]
    images = [f"the data's {name} was {saved.data[name]} and is {data[name]}" for name in ("images", "classes")
              if saved.data[name] != data[name]]
    if images or different and not override:
        raise ValueError(f"{path} is of a training with other settings: {'; '.join(images + different)}."
                         + ("" if images else " Add --resume.override true to go on with the new ones"))
    for line in different:
        print(f"resumed with another setting: {line}", flush=True)
    if saved.data["workers"] != data["workers"]:
        print(f"resumed with another number of workers: was {saved.data['workers']} and is {data['workers']}; a batch "
              f"of all had {saved.data['images a batch']} images and has {data['images a batch']}", flush=True)


def take_place(saved: Progress, data: dict[str, Any], step: TrainStep, optimizer: nn.Optimizer) -> int:
    """The steps that a training has behind it which goes on from a saved one, in whose place the step and the
    optimizer are put where batches are now of another size, or otherwise accumulated.

    An epoch in which the saved training stopped goes on with the batch that has the first image not yet seen, or where
    gradients are accumulated with the first batch of its group.

    Args:
        saved (Progress): the saved training.
        data (dict): as in Progress, of the one that goes on.
        step (TrainStep), optimizer (nn.Optimizer): of the one that goes on, loaded with the saved state.
    """
    then = saved.data["images a batch"], saved.settings["train.accumulate"]
    if then == (data["images a batch"], step.accumulate):
        return saved.steps
    epoch, done = divmod(saved.steps, saved.data["batches an epoch"])
    seen = done * saved.data["images a batch"]
    batches = min(seen // data["images a batch"], data["batches an epoch"] - 1)  # behind the last one it is validated
    batches = batches // step.accumulate * step.accumulate
    if twice := seen - batches * data["images a batch"]:
        print(f"{twice} images of epoch {epoch + 1} are seen twice, as its {seen} images seen make no whole number of "
              "the batches now", flush=True)
    moves = epoch * math.ceil(data["batches an epoch"] / step.accumulate) + batches // step.accumulate
    optimizer.global_step.set_data(Tensor([moves], optimizer.global_step.dtype))
    if step.accumulate > 1:
        step.batch.set_data(Tensor(batches, ms.int32))
        step.added.set_data(Tensor(0, ms.int32))
        for part in step.sums:
            part.set_data(Tensor(np.zeros(part.shape), part.dtype))
    return epoch * data["batches an epoch"] + batches


class SaveState(Callback):
    """Saves the state of a training every so many steps or minutes, and when somebody asks to stop.

    Of several workers the first saves, where its state stands for all: gradients that each accumulates for itself are
    in no file, so it waits for the end of their group.

    Args:
        path (Path): the file.
        step (TrainStep): the step.
        progress (Progress): what goes with it; its records are those of `EpochRecords`.
        epochs (int): length of the training.
        steps, seconds: how often, one of them 0; see `save_interval`.
    """

    def __init__(self, path: pathlib.Path, step: TrainStep, progress: Progress, epochs: int, steps: int,
                 seconds: float) -> None:
        super().__init__()
        self.path, self.step, self.progress, self.epochs = path, step, progress, epochs
        self.steps, self.seconds = steps, seconds
        self.saved, self.due = time.monotonic(), False

    def on_train_begin(self, run_context: RunContext) -> None:
        params = run_context.original_args()
        params.cur_step_num, params.epoch_num = self.progress.steps, self.epochs

    def on_train_step_end(self, run_context: RunContext) -> None:
        params = run_context.original_args()
        self.progress.steps = params.cur_step_num
        if params.cur_step_num % params.batch_num == 0:
            return  # the epoch's end is near, where the state is saved with its record
        self.due = self.due or bool(self.steps and params.cur_step_num % self.steps == 0 or asked.number or
                                    self.seconds and time.monotonic() - self.saved >= self.seconds)
        in_group = params.cur_step_num % params.batch_num % self.step.accumulate
        if self.due and not (workers.count > 1 and in_group):
            self.save()

    def save(self) -> None:
        """Writes the state; KeyboardInterrupt where somebody asked to stop. Workers but the first do nothing."""
        self.due = False
        if workers.rank:
            return
        if wrong := broken(self.step):
            if asked.number:
                raise WentWrong(f"{wrong} holds numbers that are not finite", self.progress.steps)
            return  # the next loss ends the run, with all workers
        save_state(self.path, self.step, self.progress)
        self.saved = time.monotonic()
        if asked.number:
            raise KeyboardInterrupt(f"{self.path} holds step {self.progress.steps}; --resume auto goes on from there")


def save_interval(every: str | int) -> tuple[int, float]:
    """(steps, seconds) of train.save_every; one of them is 0.

    Raises:
        ValueError: it is neither a number of steps nor of minutes.
    """
    if isinstance(every, int) and every > 0:
        return every, 0.0
    if found := re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:minutes?|min|m)", str(every)):
        return 0, float(found[1]) * 60
    raise ValueError(f"train.save_every is {every!r}; give a number of steps, or of minutes as in '10 minutes'")
