"""Data sets and what is done to their images."""
from pathlib import Path
from typing import Any

from mindvit.data.arrays import ArrayImages
from mindvit.data.cifar import Cifar10, Cifar100
from mindvit.data.digits import write_digits
from mindvit.data.folder import DatasetGenerator, ImageFolder, list_images, read_dataset
from mindvit.data.images import open_rgb, read_image
from mindvit.data.mnist import Mnist
from mindvit.data.transforms import eval_transform, infer_transform, predict_transform, prepare_image, train_transform
from mindvit.files import StrPath

ImageNet = ImageFolder  # the Vision suite's name


def find_arrays(path, split):
    """The first data set of arrays with files of the split in `path`, else None."""
    return next((kind for kind in (Cifar10, Cifar100, Mnist) if kind.batch_files(path, split)), None)


def open_dataset(path: StrPath, split: str, val_fraction: float | None = 0.2, hold_out: bool = False,
                 **options: Any) -> ArrayImages | ImageFolder:
    """Open what is in a folder: CIFAR-10, CIFAR-100 or MNIST where their files lie, else class folders.

    Args:
        path: the folder.
        split: "train" or "val".
        val_fraction, hold_out: see `ImageFolder`; CIFAR and MNIST have their test images for validation.
        **options: other arguments that `Cifar10` and `ImageFolder` share.

    Example:
        >>> len(open_dataset("dataset", "train"))
        8
    """
    if kind := find_arrays(path, split) or find_arrays(path, "train"):  # which says what lacks
        return kind(path, split, **options)
    return ImageFolder(path, split, val_fraction=val_fraction, hold_out=hold_out, **options)


def open_splits(root, test=None, num_classes=None, val_fraction=0.2, **options):
    """Open what a training reads: {"train", "val" and, where there is a folder test/, "test": data set}.

    Args:
        root: the data set folder.
        test: folder of class folders, for another than test/ in `root`.
        num_classes, val_fraction, **options: as for `open_dataset`.

    Raises:
        FileNotFoundError: there are no data.
        ValueError: there is one class, or what `open_dataset` raises.
    """
    sets = {split: open_dataset(root, split, val_fraction, hold_out=True, num_classes=num_classes, **options)
            for split in ("train", "val")}
    if sets["train"].num_classes < 2:
        raise ValueError(f"{root} has one class ({sets['train'].classes[0]}), so there is nothing to tell "
                         "apart; training needs a folder for each of two classes or more")
    if test := test or find_test(root):
        sets["test"] = open_dataset(test, "val", None, class_names=sets["train"].classes, **options)
    return sets


def find_test(root):
    """The folder test/ of class folders in `root`, or None."""
    folder = Path(root, "test")
    return folder if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()) else None


def open_evaluation(root, test=None, **options):
    """Open the images that a checkpoint is evaluated on.

    All images of the folder `test` if it is given; else val/ of `root`, else its test/, else the part of it that
    training holds out. CIFAR's and MNIST's are
    their test images.

    Args:
        root: the data set folder.
        test: folder of class folders, or of CIFAR or MNIST.
        **options: as for `open_dataset`.

    Returns:
        (data set, what it is in words).
    """
    has_val = Path(root, "val").is_dir() or find_arrays(root, "val")
    if test is None and not has_val:
        test = find_test(root)
    if test is not None:
        return open_dataset(test, "val", **{**options, "val_fraction": None}), f"all images in {test}"
    what = f"the {'validation' if has_val else 'held-out'} images in {root}"
    return open_dataset(root, "val", hold_out=True, **options), what


__all__ = ["Cifar10", "Cifar100", "DatasetGenerator", "ImageFolder", "ImageNet", "Mnist", "eval_transform", "find_test",
           "infer_transform", "list_images", "open_dataset", "open_evaluation", "open_rgb", "predict_transform",
           "prepare_image", "read_dataset", "read_image", "train_transform", "write_digits"]
