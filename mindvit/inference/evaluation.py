"""Evaluation: from an EvalJob to top-1 and top-5 accuracy."""

import math
import pathlib
import time
from typing import Any

from mindvit.config import EvalJob, check_job
from mindvit.data import open_evaluation
from mindvit.device import build_model
from mindvit.exporting.backends import FASTER, backend_device, by_mindspore, open_backend
from mindvit.files import check_json, check_writable, one_line, write_json
from mindvit.inference.report import about_run, explainer_of, save_report
from mindvit.runtime.workers import workers
from mindvit.training.loss import CrossEntropySmooth
from mindvit.training.metrics import (
    ACCURACIES,
    Confusion,
    PerImage,
    measure,
    measure_logits,
    per_class,
    share,
    validation_metrics,
)
from mindvit.visualize.confusion import save_confusion
from mindvit.zoo import BROKEN, check_weights, image_size, ready_network

LONG = 60  # seconds


def evaluate(job: EvalJob) -> dict[str, Any]:
    """Evaluates a checkpoint on the images of val/, else test/, else the held-out ones; every image counts, once also
    where several workers share them.

    Args:
        job (EvalJob): the run.

    Returns:
        dict: `Top_1_Accuracy`, with more than five classes `Top_5_Accuracy`, `val_loss` (mean cross entropy) and
        `images`; with per_class a list `per_class`.

    Raises:
        FileNotFoundError: there are no data, or no checkpoint.
        OSError: json, confusion or report cannot be written.
        TypeError: it is no EvalJob.
        ValueError: no weights are given or they are broken, the head is not the checkpoint's, a class folder is none of
            its classes, or data, network, checkpoint or device do not fit.

    Example:
        >>> job = EvalJob(data=DataConfig("dataset"), checkpoint="vit_tiny_patch16_224.safetensors")
        >>> evaluate(job)["images"]
        device CPU ...
        4
    """
    check_job(job, EvalJob, "evaluate")
    check_weights(job, "evaluate")
    device = backend_device(job)
    if job.json and not workers.rank:
        check_json(job.json, "val_loss")
    if job.confusion and not workers.rank:
        check_writable(job.confusion, folder=True)
    page = pathlib.Path(job.report, "report.html") if job.report and not workers.rank else None
    if page:
        check_writable(page)
    network = ready_network(job)
    print(network.preprocessing.describe(image_size(network)), flush=True)
    images, what = open_evaluation(job.data.root, job.data.test, batch_size=job.batch_size,
                                   num_classes=network.num_classes, class_names=network.class_names,
                                   val_fraction=job.data.val_fraction, num_parallel_workers=job.data.workers,
                                   resize=image_size(network), preprocessing=network.preprocessing,
                                   **job.data.readable, **workers.shard)
    remarks = images.remarks
    if network.class_names is None:
        remarks = [f"the checkpoint does not name its {network.num_classes} classes (no classes.txt beside it); taken "
                   f"in this order: {', '.join(images.classes[:5])}{', ...' if len(images.classes) > 5 else ''}",
                   *remarks]
    for remark in remarks:
        print(remark, flush=True)
    metrics = validation_metrics(network.num_classes)
    if job.per_class or job.confusion or job.report:
        metrics["confusion"] = Confusion(network.num_classes)
    if job.report:
        metrics["per_image"] = PerImage(len(images), list(images.order()))
    begin = time.monotonic()
    if by_mindspore(job):
        model = build_model(network.set_train(False), device, CrossEntropySmooth(num_classes=network.num_classes),
                            metrics=metrics)
        measured = measure(model, metrics, share(images), device.data_sink)
    else:
        measured = measure_logits(open_backend(job, network, device), metrics, share(images))
    seconds = time.monotonic() - begin
    confusion, per_image = (measured.pop(name, None) for name in ("confusion", "per_image"))
    if not math.isfinite(found := measured["val_loss"]):
        raise ValueError(f"{job.checkpoint or job.model.name} gives {found} as the loss of {len(images)} images: "
                         f"{BROKEN}")
    results: dict[str, Any] = {name: float(value) for name, value in measured.items()}
    print({name: results[name] for name in ACCURACIES if name in results})
    results["images"] = metrics["val_loss"].images
    results["skipped"] = [{"path": images.name(index), "reason": reason}
                          for index, reason in sorted(images.skipped.items())]
    for row in results["skipped"]:
        print(one_line(f"left out: {row['path']}: {row['reason']}"), flush=True)
    print(f"{results['images']} images ({what}), mean cross entropy {results['val_loss']:.4f}", flush=True)
    if job.per_class:
        results["per_class"] = per_class(confusion, images.classes)
        names = [one_line(row["class"]) for row in results["per_class"]]
        width = max(map(len, names))
        print(f"{'class':{width}} {'images':>7} {'correct':>7} {'top-1':>7}")
        for name, row in zip(names, results["per_class"]):
            print(f"{name:{width}} {row['images']:>7} {row['correct']:>7} {row['Top_1_Accuracy']:>7.4f}")
    if job.confusion and not workers.rank:
        save_confusion(confusion, images.classes, job.confusion)
        print(f"{job.confusion}: confusion.json, confusion.csv, confusion.png", flush=True)
    if job.json and not workers.rank:
        write_json(results, job.json)
    if page:
        save_report(page, images, results, confusion, per_image, about_run(job, network, device, what, remarks),
                    explainer_of(network))
        print(f"{page}: open it in a browser", flush=True)
    if by_mindspore(job) and device.target == "CPU" and seconds > LONG and not workers.rank:
        print(f"MindSpore took {seconds:.0f} s; {FASTER}", flush=True)
    return results
