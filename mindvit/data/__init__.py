"""Data sets, transforms, class names, download and unpacking."""
from mindvit.data.cifar import Cifar10, batch_files
from mindvit.data.classes import imagenet_classes, index2label
from mindvit.data.digits import write_digits
from mindvit.data.folder import DatasetGenerator, ImageFolder, list_images, read_dataset
from mindvit.data.images import open_rgb, read_image
from mindvit.data.transforms import eval_transform, infer_transform, predict_transform, prepare_image, train_transform
from mindvit.download import DownLoad, DownloadError, download_file, download_imagenet_subset, extract_archive
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

ImageNet = ImageFolder  # the Vision suite's name


def open_dataset(path, split, val_fraction=0.2, **options):
    """Open what is in a folder: CIFAR-10 where its batches lie, else class folders.

    Args:
        path: the folder.
        split: "train" or "val".
        val_fraction: see `ImageFolder`.
        **options: other arguments that `Cifar10` and `ImageFolder` share.
    """
    if batch_files(path, split):
        return Cifar10(path, split, **options)
    return ImageFolder(path, split, val_fraction=val_fraction, **options)


__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Cifar10", "DatasetGenerator", "DownLoad", "DownloadError", "ImageFolder",
           "ImageNet", "Preprocessing", "download_file", "download_imagenet_subset", "eval_transform",
           "extract_archive", "imagenet_classes", "index2label", "infer_transform", "list_images", "open_dataset",
           "open_rgb", "predict_transform", "prepare_image", "read_dataset", "read_image", "train_transform",
           "write_digits"]
