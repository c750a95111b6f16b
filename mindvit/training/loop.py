"""Training: from a TrainJob to a run folder."""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import shutil
import time
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import yaml

from mindvit.checkpoints import from_checkpoint, load_weights
from mindvit.choices import choose, name_of, nearest
from mindvit.config import ShowBatchJob, TrainJob, check_job
from mindvit.data import open_splits, train_transform
from mindvit.data.transforms import split_augment
from mindvit.device import build_model, device_of
from mindvit.files import check_writable, claimed, in_use, numbered, replacing, sha256, write_json
from mindvit.kernels import separate_dropouts
from mindvit.optim.distillation import DISTILLATIONS, TaughtLoss, Teacher
from mindvit.optim.groups import freeze
from mindvit.optim.optimizers import build_optimizer
from mindvit.optim.schedule import learning_rates
from mindvit.runtime.signals import patience
from mindvit.runtime.workers import told, total, wait, workers
from mindvit.training.callbacks import (
    DrawCurves,
    EpochRecords,
    KeepWeights,
    NameSkipped,
    enough,
    print_validation,
    progress,
    write_metrics,
)
from mindvit.training.loss import LOSSES, CountedLoss
from mindvit.training.metrics import accuracies, measure, share, validation_metrics
from mindvit.training.state import (
    PREVIOUS,
    STATE,
    Progress,
    SaveState,
    back_to_sound,
    check_same,
    check_space,
    load_state,
    read_progress,
    save_interval,
    settings_of,
    settle,
    take_place,
    whole_state,
)
from mindvit.training.wrong import REWINDS, StopAtChance, StopWhenWrong, WentWrong
from mindvit.visualize import save_batch, save_curves
from mindvit.zoo import build_network, check_channels, check_head, image_size, use_preprocessing

# of a finished epoch
RESULTS = (STATE, PREVIOUS, "best.ckpt", "last.ckpt", "metrics.csv", "metrics.json", "curves.png", "skipped.csv")
LOCK = ".lock"  # in a run folder, held by the run
CONFIG_HEADER = "# mindvit train --config with this file repeats the run\n"


def new_run_folder(path, default):
    """Makes the folder of a run; one in which a run stopped before its first epoch ended is used again.

    Args:
        path (str): the folder, or "auto" for the first free of `default`, default-2 and so on.
        default (str): the folder's name by default.

    Returns:
        Path.

    Raises:
        FileExistsError: it holds a run; the message names the next free folder.
        OSError: it cannot be written.
    """
    if path == "auto":
        for folder in numbered(default):
            try:
                folder.mkdir(parents=True)  # of two runs that ask at once, one gets it
                return folder
            except FileExistsError:
                continue
    folder = pathlib.Path(path)
    check_writable(folder, folder=True)
    found = [name for name in RESULTS if (folder / name).exists()]
    config = folder / "config.yaml"
    if config.exists() and not config.read_text(encoding="utf-8", errors="replace").startswith(CONFIG_HEADER):
        found.append(config.name)
    elif not config.exists() and (folder / "classes.txt").exists():
        found.append("classes.txt")
    if found:
        free = next(name for name in numbered(folder) if not name.exists())
        go_on = "add --resume auto to go on with it, or " if found[0] in (STATE, PREVIOUS) else ""
        raise FileExistsError(f"{folder} already holds a run ({found[0]}); {go_on}use --out {free}, --out auto for the "
                              "next free name, or remove the folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_state(job):
    """(the state that the job goes on from, its run folder); None for what is not there.

    Raises:
        FileNotFoundError: the run to go on from has no state.
        ValueError: to go on automatically, the run folder must have a name; or all states are damaged.
    """
    if job.resume is None:
        return None, None
    if job.resume != "auto":
        if not (state := whole_state(pathlib.Path(job.resume))):
            raise FileNotFoundError(f"there is no {pathlib.Path(job.resume) / STATE} to resume from; name a run's "
                                    "folder, or auto for that of --out")
        return state, None
    if job.out == "auto":
        raise ValueError("--resume auto goes on in the folder of --out; name it, or give --resume FOLDER")
    state = whole_state(pathlib.Path(job.out))
    return (state, state.parent) if state else (None, None)


def open_training(job):
    """(the data sets by split with what is done to their images, the network) of a TrainJob.

    Raises:
        FileNotFoundError: there are no data.
        ValueError: there is one class; data, network or checkpoint do not fit.
    """
    options: dict[str, Any] = {"batch_size": job.train.batch_size, "num_parallel_workers": job.data.workers,
                               **job.data.readable, **workers.shard}
    sets = open_splits(job.data.root, job.data.test, job.model.num_classes, job.data.val_fraction, **options)
    for images in sets.values():
        for remark in images.remarks:
            print(remark, flush=True)
    network = build_network(job.model, job.checkpoint, sets["train"].num_classes, job.ckpt_dir)
    use_preprocessing(network, job.data)
    # What is trained here is trained on images as a person sees them, and predicts as it is validated.
    prepare = network.preprocessing = dataclasses.replace(network.preprocessing, opening="seen", predict_squash=False)
    single, sets["train"].mixing = split_augment(job.data.augment)
    sets["train"].repeats = job.data.repeats
    sets["train"].transform = train_transform(image_size(network), single, prepare.mean, prepare.std)
    for split in sets.keys() - {"train"}:
        sets[split].resize, sets[split].preprocessing = image_size(network), prepare
    return sets, network


def open_teacher(path, student, classes):
    """The teacher that is in a checkpoint, for images of the student's size.

    Raises:
        FileNotFoundError, ValueError: there is no such file; it is no classifier of RGB images, or one of other classes
            or in another order.
    """
    network = check_channels(from_checkpoint(path, image_size=image_size(student)), path)
    check_head(network, path)
    print(f"teacher {path}\n{network.load_report}", flush=True)
    retrain = "train the teacher on the same data first"
    if network.num_classes != student.num_classes:
        raise ValueError(f"the teacher {path} has {network.num_classes} classes, the student {student.num_classes}; "
                         f"{retrain}")
    names = network.class_names or [f"class {index}" for index in range(network.num_classes)]
    different = [(name, label) for name, label in zip(names, classes) if name != label]
    for name, label in different:
        if name in classes:
            raise ValueError(f"what the data call {label} is {name} to the teacher {path}; {retrain}")
    if different:
        print(f"the teacher calls {different[0][0]} what the data call {different[0][1]}: its classes are taken to be "
              "the data's, in their order", flush=True)
    return Teacher(network, student.preprocessing)


def show_batch(job: ShowBatchJob) -> None:
    """Draws the first batch of a training as the network sees it.

    Args:
        job (ShowBatchJob): the training, and the picture to write.

    Raises:
        FileNotFoundError, OSError, ValueError: as `train` raises them.

    Example:
        >>> model = ModelConfig("vit_t_16", image_size=32, overrides={"num_layers": 1})
        >>> show_batch(ShowBatchJob(data=DataConfig("dataset"), model=model, train=TrainConfig(batch_size=4)))
        batch.png: 4 images of ...
    """
    check_job(job, ShowBatchJob, "show_batch")
    if pathlib.Path(job.out).suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"out is {job.out}; name a picture, for example batch.png")
    check_writable(job.out)
    ms.set_seed(job.train.seed)
    sets, network = open_training(job)
    images, targets = next(sets["train"].run().create_tuple_iterator(num_epochs=1, output_numpy=True))
    prepare = network.preprocessing
    with claimed(numbered(*os.path.splitext(job.out))) as picture:
        save_batch(images, targets, sets["train"].classes, prepare.mean, prepare.std, picture)
    print(f"{picture}: {len(images)} images of the first batch after {', '.join(map(name_of, job.data.augment))}",
          flush=True)


def recompute(network, device):
    """Has the blocks' activations computed again in the backward pass.

    Raises:
        ValueError: the device is a CPU, or the mode PyNative.
    """
    if device.target == "CPU" or ms.get_context("mode") != ms.GRAPH_MODE:
        where = "on a CPU" if device.target == "CPU" else "in PyNative mode"
        raise ValueError(f"train.recompute is true, but {where} MindSpore cannot compute blocks again, or does it with "
                         "other numbers; leave it out. A smaller train.batch_size with train.accumulate saves memory")
    for block in network.transformer.layers:
        block.recompute()


def readable(images):
    """How many of a data set's images no worker left out."""
    return len(images) - int(total(np.array([len(images.skipped)]))[0])


def write_settings(folder, job, classes):
    """Writes config.yaml and classes.txt into a run folder."""
    with replacing(folder / "config.yaml") as path:
        settings = yaml.safe_dump(dataclasses.asdict(job), sort_keys=False, allow_unicode=True)
        path.write_text(CONFIG_HEADER + settings, encoding="utf-8")
    with replacing(folder / "classes.txt") as path:
        path.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def train(job: TrainJob) -> dict:
    """Trains a network, validates it after every epoch, and leaves a run folder.

    Of several workers each trains on its share of every batch, and the first writes and prints.

    Args:
        job (TrainJob): the run.

    Returns:
        dict: what metrics.json holds: the best epoch, its validation results and, under `test`, those of the test
        images; and `folder`, the run folder.

    Raises:
        FileExistsError: the run folder holds a run, or another run trains in it.
        FileNotFoundError: there are no data.
        OSError: the run folder cannot be written, or has no room for the checkpoints.
        TypeError: it is no TrainJob.
        KeyboardInterrupt: somebody stopped it; the message says what is saved.
        ValueError: there is one class; data, network, checkpoint or device do not fit; or the numbers went wrong, as
            docs/reliability.md lists it.

    Example:
        >>> model = ModelConfig("vit_t_16", image_size=32, overrides={"num_layers": 1})
        >>> job = TrainJob(data=DataConfig("dataset"), model=model, train=TrainConfig(epochs=1, batch_size=4))
        >>> train(job)["epoch"]
        device CPU ...
        1
    """
    check_job(job, TrainJob, "train")
    start, device, rewinds = time.time(), device_of(job), 0
    while True:
        try:
            with contextlib.ExitStack() as held:
                return run_training(job, device, held, start, rewinds)
        except WentWrong as error:
            folder, rewinds = error.state.parent, error.rewinds + 1
            if job.train.on_nan != "rewind" or error.remedy or rewinds > REWINDS:  # at chance it has one
                raise
            print(f"{error.found}: the run goes back, with half the learning rate (train.on_nan rewind, {rewinds} of "
                  f"{REWINDS})", flush=True)
            wait()  # until the first worker has put the state in its place
            job = dataclasses.replace(job, out=str(folder),
                                      resume="auto" if (folder / STATE).exists() else job.resume)


def run_training(job, device, held, start, rewinds):
    """See `train`; the lock on the run folder is held until the stack is closed.

    Raises:
        WentWrong: with the run's `state`, and the number of `rewinds` before.
    """
    ms.set_seed(job.train.seed)
    out = pathlib.Path(TrainJob.out).parent if job.out == "auto" else pathlib.Path(job.out)
    if not workers.rank:
        check_writable(out, folder=True)

    sets, network = open_training(job)
    separate_dropouts(network, workers.rank)
    if workers.rank:  # other crops and flips; it seeds numpy too, from which the equal weights are drawn by now
        ds.config.set_seed((job.train.seed + workers.rank) % 2**32)
    prepare, test = network.preprocessing, "test" in sets and sets["test"].path
    train_set = sets["train"].run()

    steps = train_set.get_dataset_size()
    moves = math.ceil(steps / job.train.accumulate)  # of the weights, in an epoch
    state, folder = find_state(job)
    saved = read_progress(state) if state else None
    rewinds = max(rewinds, saved.rewinds if saved else 0)
    rates = learning_rates(job.train.lr / 2**rewinds, job.train.epochs, moves, job.train.warmup_epochs,
                           job.train.schedule)
    lr = [rates[epoch * moves + step // job.train.accumulate] for epoch in range(job.train.epochs)
          for step in range(steps)]  # of each batch
    freeze(network, job.train.trainable)
    loss = LOSSES[job.train.loss](sparse=not sets["train"].mixing, smooth_factor=job.train.smooth_factor,
                                  num_classes=network.num_classes)
    teacher = None
    if job.train.distillation:
        path, alpha, compare = choose(job.train.distillation, DISTILLATIONS, "distillation")()
        loss, teacher = TaughtLoss(loss, alpha, compare), open_teacher(path, network, sets["train"].classes)
    loss = CountedLoss(loss, skip=job.train.on_nan == "skip")
    optimizer = build_optimizer(job.train, network.trainable_params(), rates, network.arguments["num_layers"])
    metrics = validation_metrics(network.num_classes)
    if job.train.select not in (measured := ["train_loss", "train_Top_1_Accuracy", *metrics]):
        raise ValueError(f"train.select is {job.train.select!r}; {nearest(job.train.select, measured)}")
    model = build_model(network, device, loss, optimizer, metrics, job.train.loss_scale,
                        accumulate=job.train.accumulate, steps_per_epoch=steps, clip_norm=job.train.clip_norm,
                        ema=job.train.ema, teacher=teacher, skip=job.train.on_nan == "skip")
    if job.train.recompute:  # now, as O2's casts of the norms' outputs would be kept otherwise
        recompute(network, device)
    every = save_interval(job.train.save_every)
    data = {"images": len(sets["train"]), "batches an epoch": steps, "classes": sets["train"].classes,
            "images a batch": workers.count * job.train.batch_size, "workers": workers.count}
    progress_made = Progress(0, [], settings_of(job), data, rewinds)
    if saved:
        check_same(state, saved, progress_made.settings, data, job.resume_override)
        load_state(state, model.step)
        progress_made.steps, progress_made.records = take_place(saved, data, model.step, optimizer), saved.records
        ds.config.set_fast_recovery(False)  # else the order is the same, and the crops are not
        train_set.set_init_step(progress_made.steps // (steps if device.data_sink else 1))
    if not workers.rank:
        check_space(out, model.step, network)
        folder = folder or new_run_folder(job.out, TrainJob.out)  # now, when nothing can be refused any more
        held.enter_context(in_use(folder / LOCK, f"another run trains in {folder}; wait until it ends, or use --out "
                                                 f"{next(name for name in numbered(folder) if not name.exists())}"))
    folder = pathlib.Path(told(str(folder)))
    network.class_names = [sets["train"].index2label[index] for index in range(network.num_classes)]
    keep = KeepWeights(network, folder, job.train.select)
    readers = [keep, lambda records: print_validation(records[-1], keep.best, job.train.epochs, keep.metric_name),
               lambda records: enough(records, keep.best, job.train.patience)]
    if not workers.rank:
        write_settings(folder, job, network.class_names)
        readers += [lambda records: write_metrics(records, folder / "metrics.csv"),
                    DrawCurves(folder / "curves.png")]
    name_skipped = NameSkipped(sets, folder / f"skipped{f'-{workers.rank}' * bool(workers.rank)}.csv")
    readers.append(lambda records: name_skipped())
    validate = functools.partial(measure, model, metrics, share(sets["val"]), device.data_sink)
    saver = SaveState(folder / STATE, model.step, progress_made, job.train.epochs, *every)
    print(f"{len(sets['train'])} training and {len(sets['val'])} validation images, {network.num_classes} classes, "
          f"{steps} steps an epoch{'; the first step compiles the graph' if job.mode != 'pynative' else ''}\n"
          f"validation: {prepare.describe(image_size(network))}", flush=True)
    if state:
        for record in progress_made.records:
            keep.is_best(record)
        best = state.with_name("best.ckpt")
        if keep.best and saved.best and not (best.is_file() and sha256(best) == saved.best):
            if progress_made.steps == steps * job.train.epochs:
                raise ValueError(f"{best} is damaged, or of another epoch than {state} says, and no epoch is left to "
                                 "make another; take last.ckpt, or train more epochs with --resume.override true")
            print(f"{best} is of a later epoch than {state}, or damaged; the best of the epochs to come replaces it",
                  flush=True)
            keep.best = None
        if not workers.rank and state.parent == folder:
            settle(state)
        elif not workers.rank and keep.best:
            with replacing(folder / "best.ckpt") as path:
                shutil.copyfile(best, path)
        print(f"{state}: goes on from step {progress_made.steps} of {steps * job.train.epochs}", flush=True)
    try:
        done = progress_made.steps // steps
        if done < job.train.epochs and not (keep.best and enough(progress_made.records, keep.best, job.train.patience)):
            with patience():
                model.train(job.train.epochs, train_set, dataset_sink_mode=device.data_sink, initial_epoch=done,
                            callbacks=[StopWhenWrong(model.step, loss), progress(lr, job.train.log_every), saver,
                                       EpochRecords(model, validate, lr, readers, progress_made.records, saver.save),
                                       StopAtChance(progress_made.records, list(sets["val"].labels),
                                                    job.train.epochs)])
        best = keep.best
        results = {**best, "epochs": job.train.epochs, "device_target": device.target, "amp_level": device.amp_level}
        results["images"] = readable(sets["val"])
        print(f"best epoch {best['epoch']}: {accuracies(best)} on {results['images']} validation images, which chose "
              "the epoch", flush=True)
        if test:
            wait()  # until the first worker has written it, on a disk that all see
            load_weights(network, folder / "best.ckpt")
            measured = measure(model, metrics, share(sets["test"]), device.data_sink)
            results["test"] = {**{name: float(value) for name, value in measured.items()},
                               "images": readable(sets["test"])}
            print(f"test, with the weights of that epoch: {accuracies(measured)} on {results['test']['images']} images "
                  f"in {test}", flush=True)
        name_skipped()
        results["skipped"] = {split: len(images) - readable(images) for split, images in sets.items()}
        results["seconds"] = round(time.time() - start, 1)
        if not workers.rank:
            save_curves(progress_made.records, folder / "curves.png")
            write_json(results, folder / "metrics.json")
        print(f"{folder}/best.ckpt, {results['seconds']:.0f} s in all", flush=True)
        return {**results, "folder": str(folder)}
    except WentWrong as error:
        sound = None if workers.rank else back_to_sound(folder, error, model.step, steps)
        raise error.explained(model.step, lr[error.step - 1], sound, folder / STATE, rewinds) from None
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or (f"{folder}/last.ckpt holds epoch {keep.epoch}" if keep.epoch else
                                               f"no epoch ended, so nothing is saved in {folder}")) from None
