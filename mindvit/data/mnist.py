"""MNIST, and data sets in its layout: Fashion-MNIST, KMNIST, EMNIST."""
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvit.data.arrays import ArrayImages
from mindvit.files import StrPath

NAMES = "classes.txt"
MOST_UNPACKED = 20  # times its size; MNIST's unpack to 5


class Mnist(ArrayImages):
    """The 70,000 handwritten digits of MNIST, 28 x 28 gray, in the IDX files of LeCun, Cortes and Burges (1998).

    Args:
        path: folder of train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, with or without .gz; a dot
            may stand for the second hyphen.
        split: "train" reads the 60,000, "val" and "infer" the 10,000 of t10k.
        num_classes: size of the head, to be checked.
        class_names: names of the head's classes, among which those of the data are found by name.
        **pipeline: the other arguments of `ImageDataset`.

    Attributes:
        images: uint8 (N, 28, 28, 3), the three channels equal.
        labels: int32 (N,).
        classes: the lines of classes.txt in the folder, for data such as Fashion-MNIST; else "0" to the highest label.
        remarks: list of lines about classes of the head that the data have not.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no IDX file of bytes, or is cut off; or images and labels do not go together.

    Example:
        >>> Mnist("mnist", "val").classes[7]
        '7'
    """

    _title = "MNIST"

    def __init__(self, path: StrPath, split: str = "train", *, num_classes: int | None = None,
                 class_names: Sequence[str] | None = None, **pipeline: Any) -> None:
        super().__init__(path, split, **pipeline)
        files = self.batch_files(path, split)
        if not files:
            raise FileNotFoundError(f"{self._stem(split)}-images-idx3-ubyte and {self._stem(split)}-labels-idx1-ubyte, "
                                    f"with or without .gz, are not both in {path}")
        images, labels = map(read_idx, files)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not len(labels):
            raise ValueError(f"{files[0]} has the shape {images.shape} and {files[1]} {labels.shape}; expected "
                             "(N, height, width) and (N,)")
        highest = max(int(read_idx(found[1]).max()) for part in ("train", "val")
                      if (found := self.batch_files(path, part)))
        names = [str(label) for label in range(highest + 1)]
        if (file := files[0].with_name(NAMES)).is_file():
            names = [name for name in file.read_text(encoding="utf-8", errors="replace").splitlines() if name]
            if len(names) <= highest:
                raise ValueError(f"{file} names {len(names)} classes, but there are labels up to {highest}")
        self.take(np.broadcast_to(images[..., None], (*images.shape, 3)), labels, names, num_classes, class_names)

    @classmethod
    def _stem(cls, split):
        return "train" if split == "train" else "t10k"

    @classmethod
    def batch_files(cls, path: StrPath, split: str) -> list[Path]:
        """[images, labels] of a split in `path`, or nothing."""
        found = [next((file for dot in "-." for end in ("", ".gz")
                       if (file := Path(path, f"{cls._stem(split)}-{what}{dot}idx{axes}-ubyte{end}")).is_file()), None)
                 for what, axes in (("images", 3), ("labels", 1))]
        return [file for file in found if file] if None not in found else []


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in an IDX file: two zeros, 8 for uint8, the number of axes, their lengths as big-endian 32-bit
    numbers, the values.

    Raises:
        ValueError: it is something else, or cut off.
    """
    try:
        most = max(MOST_UNPACKED * path.stat().st_size, 2**20)
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from error
    if len(data) > most:
        raise ValueError(f"{path} unpacks to over {MOST_UNPACKED} times its size; images do not shrink like that")
    axes = data[3] if len(data) > 3 else 0
    start = 4 + 4 * axes
    if data[:3] != b"\0\0\x08" or not axes or len(data) < start:
        raise ValueError(f"{path} is no IDX file of bytes; download it again")
    shape = np.frombuffer(data[4:start], ">u4").tolist()
    if len(data) - start != np.prod(shape, dtype=object):
        raise ValueError(f"{path} has {len(data) - start} values, but says {' x '.join(map(str, shape))}; download it "
                         "again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
