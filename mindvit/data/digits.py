"""The packaged handwritten digits: a real data set without a download."""
import os
from pathlib import Path

import numpy as np
from PIL import Image

from mindvit.files import StrPath, temporary_folder


def packaged() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8), 0 to 16, and labels (1797,)."""
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        return arrays["images"], arrays["labels"]


def picture(digit: np.ndarray) -> Image.Image:
    """A packaged image (8, 8) as gray of 32 x 32 pixels."""
    gray = Image.fromarray((digit.astype(np.float64) * 255 / 16).round().astype(np.uint8))
    image = Image.new("L", (32, 32))
    image.paste(gray.resize((24, 24), Image.Resampling.BICUBIC), (4, 4))
    return image


def write_digits(folder: StrPath) -> Path:
    """Write the 1,797 packaged digits as folder/train/<0-9>/NNNN.png and folder/val/<0-9>/NNNN.png.

    Each is 32 x 32 pixels of 8-bit gray: the 8 x 8 original, 0 to 16, as 24 x 24 pixels of 0 to 255 (bicubic) with a
    black margin of 4, so that a random crop does not cut strokes off. NNNN is its position in the packaged file. With
    all digits ordered by class, and within a class by position, every fifth goes to val: 360 of them, a fifth of each
    class. The same writers are in both parts.

    Source: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
    CC BY 4.0.

    Args:
        folder: where to write. It may hold the digits already; otherwise it must be empty or not exist.

    Returns:
        `folder` as Path.

    Raises:
        FileExistsError: the folder holds something else.

    Example:
        >>> str(write_digits("digits"))
        'digits'
    """
    folder = Path(folder)
    images, labels = packaged()
    held_out = set(np.argsort(labels, kind="stable")[::5])
    names = [Path("val" if i in held_out else "train", str(label), f"{i:04d}.png") for i, label in enumerate(labels)]

    if folder.is_dir() and any(folder.iterdir()):
        if set(names) <= {file.relative_to(folder) for file in folder.glob("*/*/*.png")}:
            return folder
        raise FileExistsError(f"{folder} holds something other than the digits; name a new folder")
    with temporary_folder(folder.parent, "digits") as temporary:
        for split in ("train", "val"):
            for digit in range(10):
                Path(temporary, "digits", split, str(digit)).mkdir(parents=True)
        for image, name in zip(images, names):
            picture(image).save(Path(temporary, "digits", name))
        if folder.is_dir():
            folder.rmdir()
        os.replace(Path(temporary, "digits"), folder)
    return folder
