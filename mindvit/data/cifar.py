"""CIFAR-10 and CIFAR-100 in their binary and their Python-pickle layouts."""
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mindvit.data.arrays import ArrayImages
from mindvit.files import StrPath

PIXELS = 3 * 32 * 32


class Cifar10(ArrayImages):
    """The 60,000 images of CIFAR-10, 32 x 32 RGB, as published on https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        path: the unpacked folder (cifar-10-batches-bin or cifar-10-batches-py), or the folder that holds it.
        split: "train" reads the data batches, "val" and "infer" the test batch.
        num_classes: size of the head, to be checked; it must be 10.
        class_names: names of the head's classes, among which the ten are found by name; then any size will do.
        **pipeline: the other arguments of `ImageDataset`.

    Attributes:
        images: uint8 (N, 32, 32, 3).
        labels: int32 (N,).
        classes: list of the ten names, from the file beside the batches if it is there, or `class_names`.
        remarks: list of lines about classes of the head that CIFAR-10 has not.

    Raises:
        FileNotFoundError: no batches in `path`.
        ValueError: a file of the wrong size, a label above 9, a pickle that holds more than arrays and plain values,
            or `num_classes` other than 10.

    Example:
        >>> data = Cifar10("cifar-10-batches-bin", "val", batch_size=10)
        >>> data.classes[3], data.images.shape
        ('cat', (20, 32, 32, 3))
    """

    _title = "CIFAR-10"
    _classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
    _folders = ("cifar-10-batches-bin", "cifar-10-batches-py")
    _train, _test = "data_batch_[1-9]", "test_batch"
    _label_bytes = 1  # at the start of a binary row; the last of them is the label
    _label_key = "labels"
    _names_text, _names_pickle, _names_key = "batches.meta.txt", "batches.meta", "label_names"

    def __init__(self, path: StrPath, split: str = "train", *, num_classes: int | None = None,
                 class_names: Sequence[str] | None = None, **pipeline: Any) -> None:
        super().__init__(path, split, **pipeline)
        files = self.batch_files(path, split)
        if not files:
            raise FileNotFoundError(f"no {self._title} batches for {split!r} in {path}; expected {self._stem(split)} "
                                    f"with or without .bin there or in {' or '.join(self._folders)}")
        images, labels = zip(*map(self._read_batch, files))
        images = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.take(images, np.concatenate(labels), self._read_names(files[0].parent), num_classes, class_names)

    @classmethod
    def _stem(cls, split):
        """How the batches of a split are called, as a pattern."""
        return cls._train if split == "train" else cls._test

    @classmethod
    def batch_files(cls, path: StrPath, split: str) -> list[Path]:
        stem = cls._stem(split)
        for folder in (Path(path), *(Path(path, name) for name in cls._folders)):
            for pattern in (f"{stem}.bin", stem):
                if files := sorted(file for file in folder.glob(pattern) if file.is_file()):
                    return files
        return []

    def _read_batch(self, file):
        """Return images, uint8 (N, 3072) with the red plane first, and labels, int32 (N,)."""
        if file.suffix == ".bin":
            images, labels = self._read_binary(file)
        else:
            images, labels = self._read_pickle(file, "data", self._label_key)
        if images.dtype != np.uint8 or images.shape[1:] != (PIXELS,) or labels.shape != images.shape[:1]:
            raise ValueError(f"{file}: {images.dtype} images of shape {images.shape} with {labels.size} labels; "
                             f"expected uint8 (N, {PIXELS}) with N labels")
        last = len(self._classes) - 1
        if not len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > last:
            raise ValueError(f"{file}: no labels, or labels outside 0 to {last}; this is no {self._title} batch")
        return images, labels.astype(np.int32)

    def _read_binary(self, file):
        content, row = np.fromfile(file, np.uint8), self._label_bytes + PIXELS
        if content.size % row:
            raise ValueError(f"{file}: {content.size} bytes are no multiple of {row}; the file is damaged")
        rows = content.reshape(-1, row)
        return rows[:, self._label_bytes:], rows[:, self._label_bytes - 1]

    def _read_pickle(self, file, *keys):
        """Return the arrays under these keys."""
        try:
            with open(file, "rb") as stream:
                content = PlainUnpickler(stream, encoding="bytes").load()
            content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
            return [np.asarray(content[key]) for key in keys]
        except Exception as error:  # damaged pickles raise nearly anything
            raise ValueError(f"cannot read {self._title} from {file}: {error!r}") from error

    def _read_names(self, folder):
        """Return the class names in the file beside the batches, or the published ones."""
        if (file := folder / self._names_text).is_file():
            names = [name for name in file.read_text(encoding="utf-8", errors="replace").splitlines() if name]
        elif (file := folder / self._names_pickle).is_file():
            names = self._read_pickle(file, self._names_key)[0].ravel().tolist()
            names = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]
        else:
            return self._classes
        if len(names) != len(self._classes):
            raise ValueError(f"{file} names {len(names)} classes, but {self._title} has {len(self._classes)}; "
                             "remove it to use the published names")
        return names


class Cifar100(Cifar10):
    """The 60,000 images of CIFAR-100 with their 100 fine labels, read as `Cifar10` reads CIFAR-10.

    Args:
        path: the unpacked folder (cifar-100-binary or cifar-100-python), or the folder that holds it.
        split, num_classes, class_names, **pipeline: as for `Cifar10`, with 100 classes.

    Example:
        >>> Cifar100("cifar-100-binary").num_classes
        100
    """

    _title = "CIFAR-100"
    _classes = """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
        lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
        pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
        shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
    _folders = ("cifar-100-binary", "cifar-100-python")
    _train, _test = "train", "test"
    _label_bytes = 2  # coarse, fine
    _label_key = "fine_labels"
    _names_text, _names_pickle, _names_key = "fine_label_names.txt", "meta", "fine_label_names"


class PlainUnpickler(pickle._Unpickler):
    """Unpickler for numpy arrays and plain values; it looks up nothing else, so nothing else can run. It is Python's
    own, as the one in C makes as large a table as a few bytes of the file say, without the step that makes as large
    a bytearray."""

    dispatch: ClassVar[dict] = {step: do for step, do in pickle._Unpickler.dispatch.items()
                                if step != pickle.BYTEARRAY8[0]}

    _KNOWN = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("_codecs", "encode"): str.encode,  # how protocol 2 writes bytes; str.encode admits text encodings only
    }

    def find_class(self, module, name):
        try:
            return self._KNOWN[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, but only arrays and plain values are "
                                         "admitted") from None
