"""Images in folders: ImageNet and its subsets, any folder of class folders, and loose images to predict."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvit.data.classes import labels_by_name
from mindvit.data.images import CONVERT, IMAGE_SUFFIXES, UNREAD_SUFFIXES, read_image
from mindvit.data.pipeline import ImageDataset
from mindvit.files import StrPath
from mindvit.imagenet import DEVKIT, imagenet_classes, index2label

SPLITS = ("train", "val", "infer")


class ImageFolder(ImageDataset):
    """Images in class folders, `path`/{train,val,infer}/<class>/**/*.{jpg,jpeg,png,bmp,webp}; also named `ImageNet`.

    Where all class folders have names of the 1,000 ImageNet classes (n02107142), the label is the class's index among
    the 1,000, however many folders are there. Other names are classes in sorted order. The folders of `path`/train, if
    there, define the classes of every split. Hidden files and folders are left out.

    A `path` without the folders train, val and infer may hold the class folders itself: then evenly spaced images of
    each class, `val_fraction` of them and at least one, make "val" and the others "train"; a class with one image has
    it in "train". With `hold_out`, `path`/train is divided like that when there is no `path`/val.

    "infer" may also hold loose images; their label is -1.

    Args:
        path: the data set folder.
        split: "train", "val" or "infer".
        num_classes: size of the head, to be checked. ImageNet names accept 1000 (the default) or the number of folders,
            which makes the labels 0..n-1 in sorted order; other names accept the number of folders.
        val_fraction: part of each class to hold out where there are no split folders. None takes all images of the
            class folders in `path` itself.
        hold_out: divide `path`/train when there is no `path`/val.
        class_names: names of the head's classes; then every folder is found among them by its name, or by the name of
            its wnid, and may be one of a few. Where all folders are wnids and the head has 1,000 classes, the label is
            the class's index all the same.
        refuse_unread: whether HEIC and AVIF are an error, or among the files.
        **pipeline: the other arguments of `ImageDataset`.

    Attributes:
        files: list of paths.
        labels: list of int, one for each file.
        classes: list of class names; the position is the label.
        remarks: list of lines about what was held out or lacks images.

    Raises:
        FileNotFoundError: no folder for this split; the message says what is expected.
        ValueError: a class folder without images, HEIC or AVIF among them, a class that train does not know, test/,
            val/ or infer/ beside class folders instead of train/, or `num_classes` that does not fit.

    Example:
        >>> data = ImageFolder("dataset", "val", batch_size=4, resize=96)
        >>> images, labels = next(data.run().create_tuple_iterator(num_epochs=1))
        >>> images.shape, labels.shape
        ((4, 3, 96, 96), (4,))
    """

    def __init__(self, path: StrPath, split: str = "train", *, num_classes: int | None = None,
                 val_fraction: float | None = 0.2, hold_out: bool = False, class_names: Sequence[str] | None = None,
                 refuse_unread: bool = True, **pipeline: Any) -> None:
        super().__init__(path, split, **pipeline)
        self.remarks: list[str] = []
        root, whole = (self.path, False) if val_fraction is None else self._locate(hold_out)
        folders = class_folders(root)
        if not folders and split != "infer":
            raise FileNotFoundError(f"no class folders in {root}; {self._layout()}")
        train = self.path / "train"
        names = class_folders(train) if train.is_dir() and val_fraction is not None else folders
        if class_names is None:
            label_of = self._set_classes(names, num_classes)
        else:
            label_of = self._find_classes(folders, class_names, root)

        self.files: list[Path] = []
        self.labels: list[int] = []
        if split == "infer":
            loose = sorted(file for file in root.iterdir() if is_image(file))
            self.files, self.labels = loose, [-1] * len(loose)
        count, unread = 0, [file for file in self.files if is_unread(file)]
        for name in folders:
            files = list_images(root / name)
            count += len(files)
            unread += filter(is_unread, files)
            if not files:
                self.remarks.append(f"{root / name} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); it is a class "
                                    "all the same")
            if name not in label_of:
                raise ValueError(f"the class folder {root / name} is not among the {len(names)} classes of {train}")
            if whole:
                held_out = held_out_positions(len(files), val_fraction)
                files = [file for i, file in enumerate(files) if (i in held_out) == (split == "val")]
            self.files += files
            self.labels += [label_of[name]] * len(files)
        if unread and refuse_unread:
            raise ValueError(f"mindvit reads no HEIC or AVIF: {len(unread)} of the images in {root}, the first is "
                             f"{unread[0].relative_to(root)}; {CONVERT}")
        if whole and not self.files:
            raise FileNotFoundError(f"each class folder in {root} has one image, so none can be held out for "
                                    "validation; add images, or a folder val beside train")
        if not self.files:
            raise FileNotFoundError(f"no images for {split!r} in {root}; {self._layout()}")
        if whole and split == "val":
            self.remarks.append(f"no {self.path / 'val'}: {len(self.files)} of the {count} images in {root} are held "
                                f"out for validation, the same each time (val_fraction {val_fraction})")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int32]:
        return read_image(self.files[index]), np.int32(self.labels[index])

    def image(self, index: int) -> Path:
        """The path of an image."""
        return self.files[index]

    def _locate(self, hold_out):
        """Return the folder that holds the class folders, and whether train and val share it."""
        for name in class_folders(self.path) if self.path.is_dir() else ():
            if name.lower() in (*SPLITS, "test") and name != name.lower():
                raise ValueError(f"{self.path} has {name}/; call it {name.lower()}, or it would be a class")
        if hold_out and (self.path / "train").is_dir() and not (self.path / "val").is_dir() and self.split != "infer":
            return self.path / "train", True
        if (self.path / self.split).is_dir():
            return self.path / self.split, False
        parts = [name for name in (*SPLITS, "test") if (self.path / name).is_dir()]
        classes = sorted({*class_folders(self.path)} - {*parts}) if parts else []
        if classes and "train" not in parts:
            raise ValueError(f"{self.path} has {parts[0]}/ beside the class folders {', '.join(classes[:3])}"
                             f"{', ...' if len(classes) > 3 else ''}: put these into {self.path / 'train'}, or move "
                             f"{parts[0]}/ away")
        if parts or self.split == "infer" or not self.path.is_dir():
            raise FileNotFoundError(f"no folder {self.path / self.split}; {self._layout()}")
        return self.path, True

    def _layout(self):
        other = f"{self.path}/infer/*.jpg" if self.split == "infer" else f"{self.path}/<class>/*.jpg"
        return f"expected images as {self.path}/{self.split}/<class>/*.jpg or {other}"

    def _set_classes(self, names, num_classes):
        """Set `classes` to what `num_classes` asks for; return the label of each folder name."""
        all_wnids = [wnid for wnid, _ in imagenet_classes()]
        by_wnid = set(names) <= set(all_wnids)
        accepted = {len(names), 1000} if by_wnid else {len(names)}
        if num_classes is None:
            num_classes = 1000 if by_wnid else len(names)
        if num_classes not in accepted:
            raise ValueError(f"the head has {num_classes} classes, but {self.path} has {len(names)} class folders"
                             f"{' with ImageNet names' if by_wnid else ''}, which fit a head of "
                             f"{' or '.join(str(count) for count in sorted(accepted))}")
        if not by_wnid:
            self.classes = names
            return {name: label for label, name in enumerate(names)}
        if num_classes == 1000:
            names = all_wnids
        imagenet_names = index2label(self.path)
        self.classes = [imagenet_names[all_wnids.index(name)] for name in names]
        return {name: label for label, name in enumerate(names)}

    def _find_classes(self, folders, class_names, root):
        """Set `classes` to the head's; return the label of each folder."""
        self.classes = list(class_names)
        wnids = [wnid for wnid, _ in imagenet_classes()]
        called = dict(zip(wnids, index2label(self.path).values()))
        if len(class_names) == 1000 and set(folders) <= called.keys():
            return {folder: wnids.index(folder) for folder in folders}
        labels, without = labels_by_name(folders, self.classes, root, called)
        if without:
            self.remarks.append(f"{len(without)} of the {len(class_names)} classes have no folder in {root}: "
                                f"{', '.join(without[:10])}{', ...' if len(without) > 10 else ''}")
        return labels


def list_images(folder: StrPath) -> list[Path]:
    """List the images in `folder` and the folders below it, sorted by path; hidden ones are left out. HEIC and AVIF
    are among them, so that nobody misses them in silence, but they can't be read.

    Example:
        >>> len(list_images("dataset/val"))
        4
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if is_image(Path(name))]
    return sorted(found)


def read_dataset(path: StrPath) -> tuple[list[str], list[int]]:
    """List the images to predict.

    Args:
        path: one image, or a folder of images or of class folders.

    Returns:
        (list of str, the paths sorted; list of int, their positions 0..n-1).

    Raises:
        FileNotFoundError: there is no such file or folder, or no image in it.

    Example:
        >>> read_dataset("cat.jpg")
        (['cat.jpg'], [0])
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    files = [path] if path.is_file() else list_images(path)
    if not files:
        raise FileNotFoundError(f"no images in {path}; expected one of {', '.join(sorted(IMAGE_SUFFIXES))} or a "
                                "folder of them")
    return [str(file) for file in files], list(range(len(files)))


class DatasetGenerator:
    """Source of encoded images and labels for `mindspore.dataset.GeneratorDataset`, always in the order given.

    It can be iterated but not indexed, because GeneratorDataset shuffles whatever it can index unless told otherwise,
    and results are matched to images by their position.

    Args:
        images: paths, as from `read_dataset`.
        labels: int, one for each path.

    Example:
        >>> images, positions = read_dataset("dataset/infer")
        >>> source = mindspore.dataset.GeneratorDataset(DatasetGenerator(images, positions), ["image", "label"])
        >>> source.get_dataset_size()
        4
    """

    def __init__(self, images: Sequence[StrPath], labels: Sequence[int]) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], np.int32]]:
        for image, label in zip(self.images, self.labels):
            yield read_image(image), np.int32(label)


def class_folders(root):
    """The names of the class folders in a folder, sorted; ValueError where one cannot stand in classes.txt."""
    names = sorted(entry.name for entry in root.iterdir()
                   if entry.is_dir() and not entry.name.startswith(".") and entry.name != DEVKIT)
    for name in names:
        if len(name.splitlines()) > 1 or not is_utf8(name):
            raise ValueError(f"the class folder {name!r} in {root}: rename it: its name has a line break or is no "
                             "UTF-8")
    return names


def is_utf8(name):
    """Whether a file's name is text; other bytes of it are lone surrogates in Python."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_image(file):
    return file.suffix.lower() in IMAGE_SUFFIXES | UNREAD_SUFFIXES and not file.name.startswith(".")


def is_unread(file):
    return file.suffix.lower() in UNREAD_SUFFIXES


def held_out_positions(count, fraction):
    """Positions of about `fraction` of `count` images, evenly spaced: at least one of two, none of one."""
    held_out = min(max(1, round(count * fraction)), count - 1)
    return {i * count // held_out for i in range(held_out)}
