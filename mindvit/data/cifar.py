"""CIFAR-10 in its binary and its Python-pickle layout."""
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from mindvit.data.classes import labels_by_name
from mindvit.data.images import encode
from mindvit.data.pipeline import ImageDataset

_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_PIXELS = 3 * 32 * 32


class Cifar10(ImageDataset):
    """The 60,000 pictures of CIFAR-10, 32 x 32 RGB, as published on https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        path: the unpacked folder (cifar-10-batches-bin or cifar-10-batches-py, with data_batch_1.bin or data_batch_1
            and so on) or the folder that holds it.
        split: "train" reads the data batches, "val" and "infer" the test batch.
        num_classes: size of the head, to be checked; it must be 10.
        class_names: names of the head's classes, among which the ten are found by name; then any size will do.
        **pipeline: the other arguments of `ImageDataset`.

    Attributes:
        images: uint8 (N, 32, 32, 3).
        labels: int32 (N,).
        classes: list of the ten names, or `class_names`.
        remarks: list of lines about classes of the head that CIFAR-10 has not.

    Raises:
        FileNotFoundError: no batches in `path`.
        ValueError: a file of the wrong size, a label above 9, a pickle that holds more than arrays and plain values,
            or `num_classes` other than 10.
    """

    def __init__(self, path, split="train", *, num_classes=None, class_names=None, **pipeline):
        super().__init__(path, split, **pipeline)
        self.classes, self.remarks = list(class_names or _CLASSES), []
        if class_names is None and num_classes not in (None, 10):
            raise ValueError(f"the head has {num_classes} classes, but CIFAR-10 has 10")
        batches = [_read_batch(file) for file in batch_files(path, split)]
        if not batches:
            raise FileNotFoundError(f"no CIFAR-10 batches for {split!r} in {path}; expected data_batch_1.bin or "
                                    "data_batch_1 and so on there or in cifar-10-batches-bin or cifar-10-batches-py")
        self.images = np.concatenate([images for images, _ in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.labels = np.concatenate([labels for _, labels in batches])
        if class_names is not None:
            label_of, without = labels_by_name(_CLASSES, self.classes, path)
            self.labels = np.array([label_of[name] for name in _CLASSES], np.int32)[self.labels]
            if without:
                self.remarks.append(f"{len(without)} of the {len(self.classes)} classes are not in CIFAR-10: "
                                    f"{', '.join(without[:10])}{', ...' if len(without) > 10 else ''}")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return encode(self.picture(index)), self.labels[index]

    def picture(self, index):
        """A picture as PIL.Image."""
        return Image.fromarray(self.images[index])


def batch_files(path, split):
    """List the CIFAR-10 batches of a split in `path` or in its folder of the published name; none is an empty list."""
    stem = "data_batch_[1-9]" if split == "train" else "test_batch"
    for folder in (Path(path), Path(path, "cifar-10-batches-bin"), Path(path, "cifar-10-batches-py")):
        files = sorted(folder.glob(f"{stem}.bin")) or sorted(folder.glob(stem))
        if files:
            return files
    return []


def _read_batch(file):
    """Return images, uint8 (N, 3072) with the red plane first, and labels, int32 (N,)."""
    images, labels = _read_binary(file) if file.suffix == ".bin" else _read_pickle(file)
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != _PIXELS or len(images) != len(labels):
        raise ValueError(f"{file}: {images.dtype} pictures of shape {images.shape} with {len(labels)} labels; expected "
                         f"uint8 (N, {_PIXELS}) with N labels")
    if not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{file}: no labels, or labels outside 0 to 9; this is no CIFAR-10 batch")
    return images, labels


def _read_binary(file):
    content = np.fromfile(file, np.uint8)
    if content.size % (_PIXELS + 1):
        raise ValueError(f"{file}: {content.size} bytes are no multiple of {_PIXELS + 1}; the file is damaged")
    rows = content.reshape(-1, _PIXELS + 1)
    return rows[:, 1:], rows[:, 0].astype(np.int32)


def _read_pickle(file):
    try:
        with open(file, "rb") as stream:
            batch = _PlainUnpickler(stream, encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        return np.asarray(batch["data"]), np.asarray(batch["labels"], np.int32)
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(f"cannot read the CIFAR-10 batch {file}: {error!r}") from error


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler for numpy arrays and plain values; it looks up nothing else, so nothing else can run."""

    _KNOWN = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
        ("_codecs", "encode"): str.encode,  # how protocol 2 writes bytes; str.encode admits text encodings only
    }

    def find_class(self, module, name):
        try:
            return self._KNOWN[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, but only arrays and plain values are "
                                         "admitted") from None
