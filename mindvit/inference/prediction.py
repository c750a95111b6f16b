"""Prediction: from a PredictJob to annotated copies and one record an image."""

import collections
import os
import pathlib

import numpy as np

from mindvit.config import PredictJob, check_job
from mindvit.data import read_dataset
from mindvit.data.transforms import opened
from mindvit.device import choose_target
from mindvit.files import check_json, check_writable, claimed, numbered, one_line, write_json
from mindvit.inference.classifier import most_likely, open_classifier
from mindvit.visualize import show_result
from mindvit.zoo import BROKEN, check_weights

LONGEST_NAME = 200  # bytes of its name; file systems take 255, of a temporary name too
FEW_IMAGES = 4  # ViT-B/16 on two cores: 0.5 s an image without a graph, 0.13 s with it, but 2.3 s to compile it


def batches(files, classifier, batch_size):
    """Yields (records, images (B, 3, H, W)) for each group of batch_size files: a record has the file's path and, as
    it was opened, its image, or the error.

    Every B is the same, so that one graph serves all: where images are missing, zeros stand behind the others.
    """
    batch_size = min(batch_size, len(files))
    for i in range(0, len(files), batch_size):
        records, images = [], []
        for file in files[i:i + batch_size]:
            try:
                image = opened(file, classifier.preprocessing)
                images.append(classifier.prepare(image))
                records.append({"path": file, "image": image})
            except (OSError, ValueError, RuntimeError) as error:
                records.append({"path": file, "error": str(error)})
        if images:
            images += [np.zeros_like(images[0])] * (batch_size - len(images))
        yield records, np.array(images, np.float32)


def image_files(job):
    """The files that a job's paths stand for, once it is known that its results can be written."""
    if not job.paths:
        raise ValueError("there are no images; give some, or folders")
    check_writable(job.out, folder=True)
    if job.json:
        check_json(job.json, "path")
    return [str(file) for path in job.paths for file in read_dataset(path)[0]]


def copy_names(files):
    """{file: what its annotated copy is called, without .jpg}: the stem; with its folder's name before it where
    another file has the stem too, and with its suffix where that does not tell them apart either."""
    names = {file: pathlib.Path(file).stem for file in files}
    for part in ("stem", "name"):
        count = collections.Counter(names.values())
        for file in [file for file in files if count[names[file]] > 1]:
            path = pathlib.Path(file)
            names[file] = "_".join(filter(None, (path.parent.name, getattr(path, part))))
    return names


def in_words(record):
    """The lines on one image: its error, and its predictions below each other."""
    lines = [one_line(record["error"])] if "error" in record else []
    lines += [f"{{{p['index']}: {p['label']!r}}} {p['probability']:.4f}" for p in record.get("predictions", ())]
    return f"{one_line(record['path'])}: " + "\n  ".join(lines)


def stem_of(name):
    """What an image's outputs are called, without their suffixes: the name, as far as file systems take it, or `image`
    where nothing of it is UTF-8."""
    return os.fsencode(name)[:LONGEST_NAME].decode("utf-8", "replace").rstrip("\ufffd") or "image"


def annotated_copy(image, name, predictions, folder):
    """Writes an image with its predictions to a new file in the folder, never over another; returns its path."""
    bars = {f"{p['label']} ({p['index']})": p["probability"] for p in predictions}
    with claimed(numbered(folder / stem_of(name), ".jpg")) as target:
        show_result(np.asarray(image), bars, out_file=target)
    return target


def annotated(image, name, predictions, folder):
    """What a record has of its annotated copy: its path, or why there is none."""
    try:
        return {"annotated": str(annotated_copy(image, name, predictions, pathlib.Path(folder)))}
    except (OSError, ValueError) as error:
        return {"error": f"no annotated copy: {error}"}


def predict(job: PredictJob) -> list[dict]:
    """Predicts images, writes annotated copies, prints and returns one record an image.

    Args:
        job (PredictJob): the run.

    Returns:
        list[dict]: for each image `path`, `predictions` (list of `index`, `label`, `probability`, best first) and
        `annotated`, the copy's path; `error` in place of these for an image that can't be read, and of the last where
        there is no copy.

    Raises:
        FileNotFoundError: a path, or the checkpoint, is absent.
        OSError: out or json cannot be written.
        TypeError: it is no PredictJob.
        ValueError: no weights are given, or network, checkpoint or device do not fit.

    Example:
        >>> records = predict(PredictJob(paths="cat.jpg", checkpoint="vit_tiny_patch16_224.safetensors", top_k=2))
        device CPU ...
        >>> len(records[0]["predictions"]), records[0]["annotated"]
        (2, 'predicted/cat.jpg')
    """
    check_job(job, PredictJob, "predict")
    check_weights(job, "predict with")
    files = image_files(job)
    few = len(files) <= FEW_IMAGES and choose_target(job.device_target) == "CPU"
    classifier = open_classifier(job, "pynative" if few else "graph")
    copies, records = copy_names(files), []
    for group, images in batches(files, classifier, job.batch_size):
        logits = iter(classifier.logits(images) if len(images) else ())
        for record in group:
            if image := record.pop("image", None):
                values = next(logits)
                if np.isfinite(values).all():
                    record["predictions"] = most_likely(values, classifier.names, job.top_k)
                    record |= annotated(image, copies[record["path"]], record["predictions"], job.out)
                else:
                    record["error"] = f"{classifier.source} gives no numbers: {BROKEN}"
            print(in_words(record), flush=True)
        records += group
    if job.json:
        write_json(records, job.json)
    return records
