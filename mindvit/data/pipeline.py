"""From a source of encoded images and labels to the batches MindSpore trains and evaluates on."""
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from PIL import Image

from mindvit.data.images import Operation
from mindvit.data.mixing import Floats, Mixing
from mindvit.data.order import Order
from mindvit.data.transforms import eval_transform, operations, predict_transform, prepare_image, train_transform
from mindvit.files import StrPath
from mindvit.preprocessing import Preprocessing, Size

TRANSFORMS = {"train": train_transform, "val": eval_transform, "infer": predict_transform}


def threads(asked: int) -> int:
    """As many threads as are asked for, but no more than cores, of which MindSpore takes no more."""
    if asked < 1:
        raise ValueError(f"num_parallel_workers is {asked}; it is at least 1")
    if asked > (cores := os.cpu_count() or 1):
        say_fewer(asked, cores)
    return min(asked, cores)


@functools.cache
def say_fewer(asked, cores):
    """The line that fewer threads are taken, once a process."""
    print(f"{asked} threads are asked for images, but there are {cores} cores: {cores} are taken", flush=True)


class ImageDataset:
    """Base of the data sets. A subclass has `__len__`, `__getitem__` (encoded image as uint8, label as int32),
    `image(i)` (path or PIL.Image), `labels`, and `classes`, the list of class names whose positions are the labels.

    Args:
        path: folder the images come from.
        split: "train", "val" or "infer".
        transform: list of operations from encoded image to array; default the published ones of the split.
        preprocessing: for "val" and "infer" without a `transform`, how weights need their images:
            `network.preprocessing`.
        target_transform: operation or list of operations on the label; default none.
        batch_size: images in a batch.
        resize: pixels of the default transform's output, one int or (height, width).
        repeat_num: how often `run()` goes through the images.
        shuffle: default True for "train" and False otherwise.
        num_parallel_workers: threads that transform, as many as there are cores at most. Equal seeds
            (`mindspore.set_seed`) and equal numbers give equal batches.
        num_shards, shard_id: the part of the images for this device, for data parallel training; see
            `mindvit.data.order`.
        repeats: how often an image stands in the shuffled order of an epoch, which stays as long as it is.
        mixing: what is done to training batches, see `mindvit.data.mixing`; labels are then float32 (N, classes).
        max_skipped: share of the images that may be unreadable. Such an image is left out: in its place stands the
            next one, except in training with the label -1, which the metrics of `mindvit` do not count.

    Attributes:
        skipped: dict from the position of an image that could not be read to the reason.

    Raises:
        ValueError: `split` is none of the three, or num_parallel_workers below 1; when an image is read, more than
            `max_skipped` are unreadable.
    """

    classes: list[str]

    def __init__(self, path: StrPath, split: str, *, transform: Sequence[Operation] | None = None,
                 preprocessing: Preprocessing | None = None,
                 target_transform: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
                 batch_size: int = 64, resize: Size = 224, repeat_num: int = 1, shuffle: bool | None = None,
                 num_parallel_workers: int = 1, num_shards: int | None = None, shard_id: int | None = None,
                 repeats: int = 1, mixing: Sequence[Mixing] = (), max_skipped: float = 0.0) -> None:
        if split not in TRANSFORMS:
            raise ValueError(f"unknown split {split!r}; use one of {', '.join(TRANSFORMS)}")
        self.path = Path(path)
        self.split = split
        self.transform = transform
        self.preprocessing = preprocessing
        self.resize = resize
        self.target_transform = target_transform
        self.batch_size = batch_size
        self.repeat_num = repeat_num
        self.shuffle = split == "train" if shuffle is None else shuffle
        self.num_parallel_workers = threads(num_parallel_workers)
        self.num_shards = num_shards
        self.shard_id = shard_id
        self.repeats = repeats
        self.mixing = mixing
        self.max_skipped = max_skipped
        self.skipped: dict[int, str] = {}

    def __len__(self) -> int:
        raise NotImplementedError

    def image(self, index: int) -> Path | Image.Image:
        """An image, as the path of its file where it has one."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Number of labels, which is the size of the head."""
        return len(self.classes)

    @property
    def index2label(self) -> dict[int, str]:
        """dict from label to class name."""
        return dict(enumerate(self.classes))

    def order(self) -> Order:
        """In what order this device's images are read."""
        return Order(len(self), self.repeats, self.num_shards or 1, self.shard_id or 0, self.shuffle,
                     even=self.split == "train")

    def run(self) -> ds.Dataset:
        """Build the MindSpore data set.

        Only "train" drops a last batch that is not full; "val" and "infer" give every image once.

        Returns:
            data set with the columns image, float32 (N, 3, height, width), and label, int32 (N,).

        Raises:
            ValueError: a training batch would hold more images than there are.
        """
        train, order = self.split == "train", self.order()
        if train and len(order) < self.batch_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {len(order)} training images in {self.path}"
                             f"{' for each device' if self.num_shards else ''}; use {len(order)} or less")
        source, workers, transform = self._source()
        if self.max_skipped:
            source = Readable(source, self)
        dataset = ds.GeneratorDataset(source, ["image", "label"], sampler=order, num_parallel_workers=workers,
                                      python_multiprocessing=False)
        if transform:
            dataset = dataset.map(transform, input_columns="image", num_parallel_workers=self.num_parallel_workers)
        if self.target_transform is not None:
            dataset = dataset.map(self.target_transform, input_columns="label")
        mixed = {"per_batch_map": self.mixed, "input_columns": ["image", "label"]} if self.mixing else {}
        return dataset.batch(self.batch_size, drop_remainder=train, **mixed).repeat(self.repeat_num)

    def mixed(self, images: list[np.ndarray], labels: list[np.ndarray], batch: ds.BatchInfo) -> tuple[Floats, Floats]:
        """A batch after mixing; its random numbers follow from the seed, the epoch and its place there, so that a
        training that goes on draws them again."""
        rng = np.random.default_rng([ms.get_seed() or 0, batch.get_epoch_num(), batch.get_batch_num(),
                                     self.shard_id or 0])
        mixed = np.stack(images), np.eye(self.num_classes, dtype=np.float32)[np.array(labels)]
        for mix in self.mixing:
            mixed = mix(*mixed, rng)
        return mixed

    def name(self, index: int) -> str:
        """What an image is called in messages: its path, where it has one."""
        image = self.image(index)
        return str(image) if isinstance(image, Path) else f"image {index} in {self.path}"

    def skip(self, index: int, error: Exception) -> None:
        """Notes that an image cannot be read; ValueError if these are too many."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.skipped[index] = reason.removeprefix(f"cannot read the image {self.name(index)}: ")
        if len(self.skipped) > self.max_skipped * len(self):
            raise ValueError(f"{len(self.skipped)} of {len(self)} images cannot be read, more than data.max_skipped, "
                             f"{self.max_skipped:g}; the last is {self.name(index)}: {self.skipped[index]}. Remove "
                             "them, or raise --data.max_skipped")

    def _source(self):
        """What GeneratorDataset reads, by how many threads, and the operations after it."""
        # One thread reads: a second one made JPEGs slower (775 a second against 340), as both wait for Python's lock.
        if self.transform is not None:
            return self, 1, self.transform
        if self.preprocessing is None or self.split == "train":
            return self, 1, TRANSFORMS[self.split](self.resize)
        preprocessing = self.preprocessing if self.split == "val" else self.preprocessing.for_prediction()
        if preprocessing.resizer == "mindspore" and preprocessing.opening == "seen":
            return self, 1, operations(self.resize, preprocessing)  # the steps of prepare_image, in MindSpore's threads
        return Prepared(self, preprocessing), self.num_parallel_workers, None


class Prepared:
    """A data set's images as the network takes them."""

    def __init__(self, dataset, preprocessing):
        self.dataset = dataset
        self.preprocessing = preprocessing

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        image = prepare_image(self.dataset.image(index), self.dataset.resize, self.preprocessing)
        return image, np.int32(self.dataset.labels[index])


class Readable:
    """A data set's images, of which those that cannot be read are left out as `ImageDataset` says."""

    def __init__(self, source, dataset):
        self.source = source
        self.dataset = dataset

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        for other in itertools.chain(range(index, len(self)), range(index)):
            if other in self.dataset.skipped:
                continue
            try:
                image, label = self.source[other]
                break
            except (OSError, ValueError) as error:
                self.dataset.skip(other, error)
        else:
            raise ValueError(f"none of the {len(self)} images in {self.dataset.path} can be read")
        return image, label if other == index or self.dataset.split == "train" else np.int32(-1)
