"""Reading one image file: as the RGB a person sees, or as bytes that MindSpore's Decode turns into that RGB."""
import contextlib
import io
import os
import stat
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mindvit.files import StrPath

Operation = Callable[[np.ndarray], np.ndarray]  # a step from encoded bytes to what the network takes

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}
UNREAD_SUFFIXES = {".heic", ".heif", ".avif"}  # images too, of phones, which nothing here decodes
CONVERT = ("convert to JPEG with `heif-convert a.heic a.jpg` of libheif or with an image viewer; a phone's camera "
           "writes JPEG when set to \"Most Compatible\"")

# What Pillow may recognise, whatever the file is called: formats outside this list can start other programs.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
ORIENTATION = 0x0112  # EXIF tag
LARGEST_FILE = 2**29  # bytes
MANY_PIXELS = 50_000_000  # an image of more, up to Pillow's limit of 178,956,970, is read at half its sides
UNREAD_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC",
                 b"hevc": "HEIC", b"hevx": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
plain_jpegs: set[int] = set()  # hashes of files that plain_jpeg has found good: the next epoch need not look again


def open_rgb(path: StrPath, opening: str = "seen") -> Image.Image:
    """Read an image as the RGB a person sees, or as another library does.

    The EXIF orientation is applied, transparency is laid on white, 16-bit gray is scaled to 8 bits, the first frame of
    an animation is taken. Colour profiles are ignored. An image of more than 50 million pixels is read at half its
    sides, which takes a quarter of the memory; one of more than 178,956,970 is refused.

    Args:
        path: JPEG, PNG, BMP, WebP or GIF file; its content counts, not its name.
        opening: see `Preprocessing`.

    Returns:
        PIL.Image of mode "RGB".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, too large, HEIC or AVIF, or no image; or it is a pipe or a folder. The
            message names file and reason.

    Example:
        >>> open_rgb("cat.jpg").mode
        'RGB'
    """
    return decode(read_bytes(path), path, opening)


def read_bytes(path):
    """What is in a file; a pipe, which would keep the reader waiting, is refused."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"cannot read the image {path}: it is no file")
        if status.st_size > LARGEST_FILE:
            raise ValueError(f"cannot read the image {path}: it has {status.st_size:,} bytes, more than the "
                             f"{LARGEST_FILE:,} that are read")
        with open(file, "rb", closefd=False) as opened:
            return opened.read(status.st_size)  # a size of LARGEST_FILE would be set aside first
    finally:
        os.close(file)


def read_image(path: StrPath) -> NDArray[np.uint8]:
    """Read an image as encoded bytes that `mindspore.dataset.vision.Decode` turns into the pixels of `open_rgb`.

    A complete RGB or gray JPEG without rotation is passed through untouched; anything else is decoded by Pillow and
    encoded again as BMP, which loses nothing and costs MindSpore least to decode.

    Args:
        path: as for `open_rgb`.

    Returns:
        uint8 array of one dimension.

    Raises:
        FileNotFoundError, ValueError: as for `open_rgb`.

    Example:
        >>> encoded = read_image("cat.jpg")
        >>> encoded.dtype.name, mindspore.dataset.vision.Decode()(encoded).shape[2]
        ('uint8', 3)
    """
    data = read_bytes(path)
    if (digest := hash(data)) in plain_jpegs or plain_jpeg(data):
        plain_jpegs.add(digest)
        return np.frombuffer(data, np.uint8)
    return encode(decode(data, path))


def encode(image):
    """Encode an RGB `PIL.Image` losslessly; returns a one-dimensional uint8 array for `vision.Decode`."""
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def plain_jpeg(data, least=1):
    """((width, height), the image at up to an eighth of its sides, which stay at `least` pixels) of a complete RGB or
    gray JPEG without rotation; None for any other file."""
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.format != "JPEG" or image.mode not in ("RGB", "L") or image.getexif().get(ORIENTATION, 1) != 1:
                return None
            size = image.size
            if image.width * image.height > MANY_PIXELS:
                return None
            # A damaged header that Pillow refuses can end the process in MindSpore's Decode (2.10: SIGSEGV, SIGFPE).
            image.draft(None, (least, least))  # an eighth of the size: 0.5 ms where the whole takes 1.3
            image.load()
            return size, image
    except Exception:  # decode says what is wrong with the file
        return None


def decode(data, path, opening="seen", least=None):
    """The RGB of an image; with `least` a JPEG's may come at a half, a quarter or an eighth of its sides, which stay at
    so many pixels."""
    with image_in(data, path) as image:
        return sized_rgb(image, opening, least)


@contextlib.contextmanager
def image_in(data, path):
    """The `PIL.Image` in a file's bytes; what is wrong with it is a ValueError that names file and reason."""
    if not data:
        raise ValueError(f"cannot read the image {path}: the file is empty")
    if kind := unread_format(data):
        raise ValueError(f"cannot read the image {path}: it is {kind}, which mindvit does not read; {CONVERT}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except Image.UnidentifiedImageError:
        raise ValueError(f"cannot read the image {path}: not a JPEG, PNG, BMP, WebP or GIF file") from None
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, EOFError and more
        raise ValueError(f"cannot read the image {path}: {error}") from error


def sized_rgb(image, opening="seen", least=None):
    """`to_rgb` of an image that is still to be decoded, one of more than 50 million pixels at half its sides."""
    many = image.width * image.height > MANY_PIXELS
    sides = (least, least) if least else (image.width // 2, image.height // 2)
    scaled = (many or least) and image.draft(None, sides)  # a JPEG leaves out what need not be decoded
    rgb = to_rgb(image, opening)
    return rgb.reduce(2) if many and not scaled else rgb


def small_image(path, side):
    """The RGB of an image file that fits into a square, of a JPEG decoded no larger than that needs."""
    image = decode(read_bytes(path), path, least=side)
    image.thumbnail((side, side))
    return image


def unread_format(data):
    """The format that the brands in the file's first box, ftyp, stand for, or None."""
    if data[4:8] != b"ftyp":
        return None
    brands = [data[i:i + 4] for i in range(8, min(int.from_bytes(data[:4], "big"), 256), 4)]
    return next((kind for brand, kind in UNREAD_BRANDS.items() if brand in brands), None)


def to_rgb(image, opening="seen"):
    """A `PIL.Image` of mode "RGB" from one of any mode; `opening` as in `Preprocessing`."""
    if opening != "plain":
        image = ImageOps.exif_transpose(image)
    if opening != "seen":
        return image.convert("RGB")
    if image.mode.startswith("I"):  # 16-bit gray, 0 to 65535
        return Image.fromarray((np.asarray(image, np.float64) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
