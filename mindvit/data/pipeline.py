"""From a source of encoded pictures and labels to the batches MindSpore trains and evaluates on."""
from pathlib import Path

import mindspore.dataset as ds

from mindvit.data.transforms import eval_transform, predict_transform, train_transform

_TRANSFORMS = {"train": train_transform, "val": eval_transform, "infer": predict_transform}


class ImageDataset:
    """Base of the data sets. A subclass has `__len__`, `__getitem__` (encoded picture as uint8, label as int32) and
    `classes`, the list of class names whose positions are the labels.

    Args:
        path: folder the pictures come from.
        split: "train", "val" or "infer".
        transform: list of operations from encoded picture to array; default the published ones of the split.
        target_transform: operation or list of operations on the label; default none.
        batch_size: pictures in a batch.
        resize: pixels of the default transform's output, one int or (height, width).
        repeat_num: how often `run()` goes through the pictures.
        shuffle: default True for "train" and False otherwise.
        num_parallel_workers: threads that transform. Equal seeds (`mindspore.set_seed`) and equal numbers give equal
            batches.
        num_shards, shard_id: the part of the pictures for this device, for data parallel training.

    Raises:
        ValueError: `split` is none of the three.
    """

    def __init__(self, path, split, *, transform=None, target_transform=None, batch_size=64, resize=224,
                 repeat_num=1, shuffle=None, num_parallel_workers=1, num_shards=None, shard_id=None):
        if split not in _TRANSFORMS:
            raise ValueError(f"unknown split {split!r}; use one of {', '.join(_TRANSFORMS)}")
        self.path = Path(path)
        self.split = split
        self.transform = _TRANSFORMS[split](resize) if transform is None else transform
        self.target_transform = target_transform
        self.batch_size = batch_size
        self.repeat_num = repeat_num
        self.shuffle = split == "train" if shuffle is None else shuffle
        self.num_parallel_workers = num_parallel_workers
        self.num_shards = num_shards
        self.shard_id = shard_id

    @property
    def num_classes(self):
        """Number of labels, which is the size of the head."""
        return len(self.classes)

    @property
    def index2label(self):
        """dict from label to class name."""
        return dict(enumerate(self.classes))

    def run(self):
        """Build the MindSpore data set.

        Only "train" drops a last batch that is not full; "val" and "infer" give every picture once.

        Returns:
            data set with the columns image, float32 (N, 3, height, width), and label, int32 (N,).

        Raises:
            ValueError: a training batch would hold more pictures than there are.
        """
        # One thread reads: a second one made JPEGs slower (775 a second against 340), as both wait for Python's lock.
        dataset = ds.GeneratorDataset(self, ["image", "label"], shuffle=self.shuffle, num_shards=self.num_shards,
                                      shard_id=self.shard_id, num_parallel_workers=1, python_multiprocessing=False)
        count = dataset.get_dataset_size()
        train = self.split == "train"
        if train and count < self.batch_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {count} training pictures in {self.path}"
                             f"{' for each device' if self.num_shards else ''}; use {count} or less")
        dataset = dataset.map(self.transform, input_columns="image", num_parallel_workers=self.num_parallel_workers)
        if self.target_transform is not None:
            dataset = dataset.map(self.target_transform, input_columns="label")
        return dataset.batch(self.batch_size, drop_remainder=train).repeat(self.repeat_num)
