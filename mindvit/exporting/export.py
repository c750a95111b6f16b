"""Export: from an ExportJob to a file of another format, which is run and compared before it gets its name."""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np

from mindvit.config import ExportJob, check_job
from mindvit.data import prepare_image, read_dataset
from mindvit.data.digits import packaged, picture
from mindvit.data.transforms import opened
from mindvit.device import choose_target, device_of
from mindvit.exporting.mindir_file import mindir_session, write_air, write_mindir
from mindvit.exporting.onnx_file import Logits, network_graph, onnxruntime_session
from mindvit.extras import needed
from mindvit.files import check_writable, explained, put, sha256, temporary_folder
from mindvit.zoo import BROKEN, check_weights, image_size, ready_network, weights_file

TOLERANCE = 1e-4  # of the largest logit
PICTURES = 8
BATCHES = (1, 3, PICTURES)


def write_onnx(network, path, preprocessing, batch_size, metadata):
    return network_graph(network, preprocessing, batch_size, metadata).write(path)


# format: (what writes it, what computes the logits of such a file, or None where nothing here does)
FORMATS: dict[str, tuple[Callable, Callable[[str], Logits] | None]] = {
    "onnx": (write_onnx, onnxruntime_session), "mindir": (write_mindir, mindir_session), "air": (write_air, None)}


def check_free(*paths):
    """FileExistsError if one of them is there."""
    for there in paths:
        if there.exists():
            raise FileExistsError(f"{there} is there already; name another file with --out, or remove it")


def check_asked(job, path):
    """Raises what is wrong with a job, before anything is loaded."""
    if job.format == "air" and (target := choose_target(job.device_target)) != "Ascend":
        raise ValueError(f"air is written by MindSpore on an Ascend alone, and the device is {target}; take mindir, "
                         "which MindSpore Lite converts for an Ascend, or onnx")
    if job.amp_level not in (None, "O0"):
        raise ValueError(f"amp_level is {job.amp_level}, but files are written in float32, and what runs them chooses "
                         "the precision; leave it out")
    if path.suffix != f".{job.format}":
        raise ValueError(f"{path} does not end in .{job.format}, which format {job.format} needs")
    check_free(path, path.with_name(f"{path.name}.data"), path.with_name(f"{path.stem}_variables"))
    check_writable(path)
    for library in ("onnx", "onnxruntime") if job.format == "onnx" else ():
        needed(library, "export")


def pictures(job, preprocessing):
    """The pictures to compare on, as RGB, and what they are, in words."""
    if job.images:
        files = read_dataset(job.images)[0][:PICTURES]
        return [opened(file, preprocessing) for file in files], f"{len(files)} of {job.images}"
    sizes = [(200 + 40 * i, 320 - 20 * i) for i in range(PICTURES)]
    return [picture(digit).resize(size).convert("RGB") for digit, size in zip(packaged()[0], sizes)], \
        f"{PICTURES} of the packaged digits"


def cases(job, network, preprocessing, images):
    """(what the network takes of each picture, [(a batch that the file takes, the pictures in it)])."""
    size, numbers = network.arguments["image_size"], (job.batch_size,) if job.batch_size else BATCHES
    prepared = np.stack([prepare_image(image, image_size(network), preprocessing) for image in images])
    groups = [np.arange(number) % len(images) for number in numbers]
    if not job.with_preprocess:
        return prepared, [(prepared[group], group) for group in groups]
    if job.format == "onnx":  # pictures of one size a batch
        alike = [np.full(numbers[0], i) for i in range(len(images))] + [np.zeros(numbers[-1], int)]
        return prepared, [(np.stack([np.asarray(images[i]) for i in group]), group) for group in alike]
    pixels = np.stack([np.asarray(image.resize(size[::-1])) for image in images])
    mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
    prepared = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    return prepared, [(pixels[group], group) for group in groups]


def compare(computed, expected):
    """The largest difference of the logits that a file gives from the network's.

    Raises:
        ValueError: they differ by more than TOLERANCE, or in the top-5.
    """
    largest = np.abs(expected).max()
    difference = np.abs(computed - expected).max() if computed.shape == expected.shape else np.nan
    if not difference <= TOLERANCE * largest:
        raise ValueError(f"the file that was written gives other logits than the network: the largest difference is "
                         f"{difference:.3g}, with logits up to {largest:.3g}, and {TOLERANCE:g} of that is allowed; "
                         "no file is left")
    first, second = (np.argsort(-logits, kind="stable")[:, :5] for logits in (computed, expected))
    if (first != second).any():
        raise ValueError("the file that was written gives another top-5 than the network; no file is left. Classes "
                         "that are level may change places: name other pictures with --images")
    return float(difference)


def metadata(job, network, preprocessing):
    """What a file says of itself: names and texts, of which those that are no word are JSON."""
    names = network.class_names or [f"class {index}" for index in range(network.num_classes)]
    return {"class_names": json.dumps(names, ensure_ascii=False), "image_size": json.dumps(image_size(network)),
            "preprocessing": json.dumps(dataclasses.asdict(preprocessing)),
            "mindvit": sys.modules["mindvit"].__version__, "checkpoint_sha256": sha256(weights_file(job))}


def checked(compute, batches, expected, what):
    """The largest difference between the logits of a file and the network's, which is printed.

    Raises:
        ValueError: see `compare`.
    """
    found = max(compare(compute(batch), expected[group]) for batch, group in batches)
    numbers = sorted({len(group) for _, group in batches})
    print(f"run on {what}, in batches of {', '.join(map(str, numbers))}: the logits differ by {found:.2g} at most, and "
          f"reach {np.abs(expected).max():.3g}; the same top-5", flush=True)
    return found


def taken(job, network):
    """What a file takes and gives, in words."""
    height, width = network.arguments["image_size"]
    batch = job.batch_size or ("batch" if FORMATS[job.format][1] else 1)
    if not job.with_preprocess:
        inputs = f"images float32 ({batch}, 3, {height}, {width}), prepared as above"
    elif job.format == "onnx":
        inputs = f"pixels uint8 ({batch}, height, width, 3), RGB of pictures of any size, which it prepares as above"
    else:
        inputs = (f"pixels uint8 ({batch}, {height}, {width}, 3), RGB of this size alone: Ascend's graphs have fixed "
                  "shapes, so that of the above it holds mean and std alone")
    return f"it takes {inputs}, and gives logits ({batch}, {network.num_classes})"


def megabytes(path):
    """The size of a file, or of those in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def export(job: ExportJob) -> dict[str, Any]:
    """Writes a network as a file of another format. The file gets its name once it was run: on pictures its logits are
    the network's within 1e-4 of the largest, and its top-5 are the same.

    Args:
        job (ExportJob): the run.

    Returns:
        dict: `files` that were written, the last of which names the others, and `largest_difference` of the logits,
        None for air, which nothing here runs.

    Raises:
        FileExistsError: a file of that name is there.
        FileNotFoundError: there is no such checkpoint, or no such picture.
        OSError: the file cannot be written.
        TypeError: it is no ExportJob.
        ValueError: air is asked for without an Ascend, a cell or the preparation of images has no form in the format,
            a library is not installed, the file gives other logits; or no weights are given, or network, checkpoint or
            device do not fit.

    Example:
        >>> written = export(ExportJob(checkpoint="vit_tiny_patch16_224.safetensors", out="vit.onnx"))
        device CPU ...
        >>> written["files"], written["largest_difference"] < 1e-4
        (['vit.onnx'], True)
    """
    check_job(job, ExportJob, "export")
    check_weights(job, "export")
    path = pathlib.Path(job.out or f"vit.{job.format}")
    check_asked(job, path)
    device_of(dataclasses.replace(job, amp_level="O0"), "pynative")
    network = ready_network(job)
    preprocessing = network.preprocessing.for_prediction()
    print(preprocessing.describe(image_size(network)), flush=True)
    write, session = FORMATS[job.format]
    images, what = pictures(job, preprocessing)
    prepared, batches = cases(job, network, preprocessing, images)
    expected = network(ms.Tensor(prepared)).asnumpy()
    if not np.isfinite(expected).all():
        raise ValueError(f"{weights_file(job)} gives no numbers: {BROKEN}")
    given = preprocessing if job.with_preprocess else None, job.batch_size, metadata(job, network, preprocessing)
    with explained(path), temporary_folder(path.parent, path.stem) as folder:
        written = write(network, folder / path.name, *given)
        found = checked(session(str(folder / path.name)), batches, expected, what) if session else None
        check_free(*(path.with_name(file.name) for file in written))  # another process may have been quicker
        for file in written:
            target = path.with_name(file.name)
            os.replace(file, target) if file.is_dir() else put(file, target)
    files = [path.with_name(file.name) for file in written]
    print(*(f"{file}: {megabytes(file):.1f} MB" for file in files), taken(job, network), sep="\n", flush=True)
    return {"files": [str(file) for file in files], "largest_difference": found}
