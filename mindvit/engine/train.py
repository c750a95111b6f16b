"""Training: from a TrainJob to a run folder."""

import dataclasses
import math
import pathlib
import time

import mindspore as ms
import yaml
from mindspore import nn

from mindvit.data import open_dataset, train_transform
from mindvit.engine.callbacks import MetricsFile, ValAccMonitor, progress
from mindvit.engine.device import build_model, use_device
from mindvit.engine.loss import CrossEntropySmooth
from mindvit.engine.metrics import validation_metrics
from mindvit.engine.network import build_network, image_size, use_preprocessing
from mindvit.files import replacing, write_json


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
    """
    total, warmup = epochs * steps_per_epoch, round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs is {warmup_epochs}; it lies in [0, {epochs}), the number of epochs")
    rising = [lr * (step + 1) / warmup for step in range(warmup)]
    falling = [lr / 2 * (1 + math.cos(math.pi * step / (total - warmup))) for step in range(total - warmup)]
    return rising + falling


def new_run_folder(path):
    """Makes the folder of a run.

    Raises:
        FileExistsError: it already holds a run.
    """
    folder = pathlib.Path(path)
    if found := [name for name in ("best.ckpt", "last.ckpt", "metrics.csv", "config.yaml") if (folder / name).exists()]:
        raise FileExistsError(f"{folder} already holds a run ({found[0]}); choose another --out, or remove the folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train(job):
    """Trains a network, validates it after every epoch, and leaves a run folder.

    Args:
        job (TrainJob): the run.

    Returns:
        dict: what metrics.json holds: the best epoch and its validation results.

    Raises:
        FileExistsError: the run folder holds a run.
        FileNotFoundError: there are no data.
        ValueError: data, network, checkpoint or device do not fit, or the loss is NaN or infinite.
    """
    start = time.time()
    folder = new_run_folder(job.out)
    device = use_device(job.device_target, job.amp_level, job.data_sink, job.mode)
    ms.set_seed(job.train.seed)

    sets = {split: open_dataset(job.data.root, split, batch_size=job.train.batch_size,
                                num_classes=job.model.num_classes, val_fraction=job.data.val_fraction,
                                num_parallel_workers=job.data.workers)
            for split in ("train", "val")}
    network = build_network(job.model, job.checkpoint, sets["train"].num_classes, job.ckpt_dir)
    use_preprocessing(network, job.data)
    # What is trained here is trained on images as a person sees them, and predicts as it is validated.
    prepare = network.preprocessing = dataclasses.replace(network.preprocessing, opening="seen", predict_squash=False)
    sets["train"].transform = train_transform(image_size(network), job.data.crop_scale, job.data.crop_ratio,
                                              job.data.flip, prepare.mean, prepare.std)
    sets["val"].resize, sets["val"].preprocessing = image_size(network), prepare
    train_set, val_set = sets["train"].run(), sets["val"].run()

    steps = train_set.get_dataset_size()
    lr = learning_rates(job.train.lr, job.train.epochs, steps, job.train.warmup_epochs)
    loss = CrossEntropySmooth(smooth_factor=job.train.smooth_factor, num_classes=network.num_classes)
    model = build_model(network, device, loss, nn.Adam(network.trainable_params(), lr), validation_metrics())
    print(f"{len(sets['train'])} training and {len(sets['val'])} validation images, {network.num_classes} classes, "
          f"{steps} steps an epoch; the first step compiles the graph\n"
          f"validation: {prepare.describe(image_size(network))}", flush=True)

    with replacing(folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(dataclasses.asdict(job), sort_keys=False))
    with replacing(folder / "classes.txt") as path:
        names = sets["train"].index2label
        path.write_text("".join(f"{names[index]}\n" for index in range(network.num_classes)), encoding="utf-8")
    validation = ValAccMonitor(model, val_set, ckpt_directory=folder, dataset_sink_mode=device.data_sink)
    metrics_file = MetricsFile(folder, lr)
    model.train(job.train.epochs, train_set, dataset_sink_mode=device.data_sink,
                callbacks=[progress(lr, job.train.log_every), validation, metrics_file])

    best = metrics_file.rows[validation.best_epoch - 1]
    results = {**best, "images": len(sets["val"]), "epochs": job.train.epochs, "device_target": device.target,
               "amp_level": device.amp_level, "seconds": round(time.time() - start, 1)}
    write_json(results, folder / "metrics.json")
    print(f"best epoch {best['epoch']}: top-1 {best['Top_1_Accuracy']:.4f}, top-5 {best['Top_5_Accuracy']:.4f} on "
          f"{len(sets['val'])} images; {folder}/best.ckpt, {results['seconds']:.0f} s in all", flush=True)
    return results
