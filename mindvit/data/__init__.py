"""Data sets and what is done to their images."""
from pathlib import Path
from typing import Any

from mindvit.data.cifar import Cifar10, Cifar100, find_cifar
from mindvit.data.digits import write_digits
from mindvit.data.folder import DatasetGenerator, ImageFolder, list_images, read_dataset
from mindvit.data.images import open_rgb, read_image
from mindvit.data.transforms import eval_transform, infer_transform, predict_transform, prepare_image, train_transform
from mindvit.files import StrPath

ImageNet = ImageFolder  # the Vision suite's name


def open_dataset(path: StrPath, split: str, val_fraction: float | None = 0.2, hold_out: bool = False,
                 **options: Any) -> Cifar10 | ImageFolder:
    """Open what is in a folder: CIFAR-10 or CIFAR-100 where its batches lie, else class folders.

    Args:
        path: the folder.
        split: "train" or "val".
        val_fraction, hold_out: see `ImageFolder`; CIFAR has its test batch for validation.
        **options: other arguments that `Cifar10` and `ImageFolder` share.

    Example:
        >>> len(open_dataset("dataset", "train"))
        8
    """
    if cifar := find_cifar(path, split) or find_cifar(path, "train"):  # which says what lacks
        return cifar(path, split, **options)
    return ImageFolder(path, split, val_fraction=val_fraction, hold_out=hold_out, **options)


def find_test(root):
    """The folder test/ of class folders in `root`, or None."""
    folder = Path(root, "test")
    return folder if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()) else None


def open_evaluation(root, test=None, **options):
    """Open the images that a checkpoint is evaluated on.

    All images of the folder `test` if it is given; else val/ of `root`, else its test/, else the part of it that
    training holds out. CIFAR's are those of its test batch.

    Args:
        root: the data set folder.
        test: folder of class folders, or of CIFAR.
        **options: as for `open_dataset`.

    Returns:
        (data set, what it is in words).
    """
    has_val = Path(root, "val").is_dir() or find_cifar(root, "val")
    if test is None and not has_val:
        test = find_test(root)
    if test is not None:
        return open_dataset(test, "val", **{**options, "val_fraction": None}), f"all images in {test}"
    what = f"the {'validation' if has_val else 'held-out'} images in {root}"
    return open_dataset(root, "val", hold_out=True, **options), what


__all__ = ["Cifar10", "Cifar100", "DatasetGenerator", "ImageFolder", "ImageNet", "eval_transform", "find_test",
           "infer_transform", "list_images", "open_dataset", "open_evaluation", "open_rgb", "predict_transform",
           "prepare_image", "read_dataset", "read_image", "train_transform", "write_digits"]
