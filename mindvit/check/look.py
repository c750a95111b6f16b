"""What one image file is: read as training reads it, with its size, what is odd about it, and what tells copies."""

import contextlib
import hashlib
import threading

import numpy as np
from PIL import Image

from mindvit.check.duplicates import SIDE, perceptual_hash
from mindvit.data.folder import is_unread
from mindvit.data.images import MANY_PIXELS, ORIENTATION, image_in, plain_jpeg, read_bytes, sized_rgb

TINY, LONG = 32, 4  # pixels of a side; how often the shorter side goes into the longer
LOOK = np.dtype([("width", np.uint32), ("height", np.uint32), ("odd", np.uint32), ("digest", np.uint64, 2),
                 ("hash", np.uint64)])
ONE_AT_A_TIME = threading.Lock()  # the largest images, of which each takes up to 3 GB
UNREAD = "HEIC or AVIF, for which training refuses the whole folder"
# What is odd about an image: the words, and a test of it, its (width, height) and its path.
ODD = {
    "suffix of another format": lambda image, size, path: (
        path.suffix[1:].upper().replace("JPG", "JPEG") != image.format.replace("MPO", "JPEG")),
    "turned by EXIF": lambda image, size, path: image.getexif().get(ORIENTATION) in range(2, 9),
    "CMYK": lambda image, size, path: image.mode == "CMYK",
    "16-bit gray, read as 8": lambda image, size, path: image.mode.startswith("I"),
    "transparent, laid on white": lambda image, size, path: image.has_transparency_data,
    "animated, of which the first frame is read": lambda image, size, path: is_animated(image),
    f"a side below {TINY} pixels": lambda image, size, path: min(size) < TINY,
    f"more than {LONG} times as long as wide": lambda image, size, path: max(size) > LONG * min(size),
    f"more than {MANY_PIXELS:,} pixels, read at half its sides": lambda image, size, path: (
        size[0] * size[1] > MANY_PIXELS),
}


def is_animated(image):
    """Whether there is a second frame; one that is damaged does not count, as nothing reads it."""
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)  # a phone's JPEG may have a small one too
    except Exception:
        return False


def look(path):
    """(a row of LOOK without its hash, the image small) of a file.

    Raises:
        OSError, ValueError: training would skip it.
    """
    if is_unread(path):
        raise ValueError(UNREAD)
    data = read_bytes(path)
    digest = np.frombuffer(hashlib.sha1(data, usedforsecurity=False).digest()[:16], np.uint64)
    if plain := plain_jpeg(data, SIDE):
        size, image = plain
        small, odd = shrunk(image), odd_bits(image, size, path)
    else:
        with image_in(data, path) as image:
            size = image.size
            with ONE_AT_A_TIME if size[0] * size[1] > MANY_PIXELS else contextlib.nullcontext():
                small = shrunk(sized_rgb(image, least=SIDE))
            odd = odd_bits(image, size, path)
    return (*size, odd, digest, 0), small


def shrunk(image):
    """What is hashed of an image."""
    return image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def odd_bits(image, size, path):
    """Which of ODD an image is, a bit each."""
    return sum(test(image, size, path) << bit for bit, test in enumerate(ODD.values()))


def look_at(paths):
    """(rows of LOOK, {position: error} of those that cannot be read) of files."""
    rows, small, errors = np.zeros(len(paths), LOOK), np.zeros((len(paths), SIDE, SIDE), np.float32), {}
    for i, path in enumerate(paths):
        try:
            rows[i], small[i] = look(path)
        except (OSError, ValueError) as error:
            errors[i] = error
    rows["hash"] = perceptual_hash(small)
    return rows, errors
