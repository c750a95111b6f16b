"""Data sets whose images lie in memory as one array."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindvit.data.classes import labels_by_name
from mindvit.data.images import encode
from mindvit.data.pipeline import ImageDataset
from mindvit.files import StrPath


class ArrayImages(ImageDataset):
    """Base of CIFAR and MNIST. A subclass has `batch_files`, and calls `take` with what it read from them.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: int32 (N,).
        classes: list of the class names.
        remarks: list of lines about classes of the head that the data set has not.
    """

    _title: str

    def take(self, images: NDArray[np.uint8], labels: NDArray, names: Sequence[str], num_classes: int | None,
             class_names: Sequence[str] | None) -> None:
        """Keeps what was read, with labels by position in `class_names` where they are given.

        Raises:
            ValueError: the head has another number of classes, or `class_names` lacks one.
        """
        self.images, self.labels = images, labels.astype(np.int32)
        self.classes: list[str] = list(class_names or names)
        self.remarks: list[str] = []
        if class_names is None and num_classes not in (None, len(names)):
            raise ValueError(f"the head has {num_classes} classes, but {self._title} has {len(names)}")
        if class_names is not None:
            label_of, without = labels_by_name(names, self.classes, self.path)
            self.labels = np.array([label_of[name] for name in names], np.int32)[self.labels]
            if without:
                self.remarks.append(f"{len(without)} of the {len(self.classes)} classes are not in {self._title}: "
                                    f"{', '.join(without[:10])}{', ...' if len(without) > 10 else ''}")

    @classmethod
    def batch_files(cls, path: StrPath, split: str) -> list[Path]:
        """List the files of a split in `path` or in its folder of the published name; none is an empty list."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int32]:
        return encode(self.image(index)), self.labels[index]

    def image(self, index: int) -> Image.Image:
        """An image as PIL.Image."""
        return Image.fromarray(self.images[index])
