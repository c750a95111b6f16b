"""An array in a file: where it lies is known, its values are read when asked for; and what all formats check alike."""

import binascii
import contextlib
import dataclasses
import os
from collections.abc import Callable

import numpy as np

# MindSpore's and safetensors' names of number types. numpy has no bfloat16: it is read as the upper half of a float32.
BFLOAT16 = "bfloat16"
DTYPES = {"Float32": "float32", "Float16": "float16", "BFloat16": BFLOAT16, "Float64": "float64", "Bool": "bool",
          "F32": "float32", "F16": "float16", "BF16": BFLOAT16, "F64": "float64", "BOOL": "bool",
          **{f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)},
          **{f"{short}{bits}": f"{kind}{bits}" for short, kind in (("I", "int"), ("U", "uint"))
             for bits in (8, 16, 32, 64)}}
MOST_ARRAYS = 20_000
TOO_MANY = f"it holds more than {MOST_ARRAYS:,} arrays; a Vision Transformer with its optimizer has thousands"
LONGEST_REASON = 1000  # characters of a message
DAMAGED = "its checksum does not match its content; it is damaged"


def listed(names, most=8):
    """Names for a message, cut where they are many."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file: its shape is known, `np.asarray(stored)` reads it. bfloat16 comes as float32, exactly."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray] = dataclasses.field(repr=False)

    def __array__(self, dtype=None, copy=None):
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)


def item_size(dtype):
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def read_parts(path, parts):
    """The bytes that lie in `parts`, a list of (offset, length), one after the other."""
    data, at = np.empty(sum(length for _, length in parts), np.uint8), 0
    with open(path, "rb") as file:
        for offset, length in parts:
            file.seek(offset)
            if file.readinto(memoryview(data)[at:at + length]) != length:
                raise ValueError("the file became shorter while it was read")
            at += length
    return data


def as_numbers(data, dtype):
    """The numbers in raw little-endian bytes."""
    if dtype != BFLOAT16:
        return data.view(dtype)
    wide = data.view("<u2").astype(np.uint32)
    wide <<= 16  # in its place, as the array may be most of the file
    return wide.view(np.float32)


def stored_bytes(path, dtype, shape, parts):
    """A StoredArray of the raw little-endian values that lie in `parts`."""
    return StoredArray(tuple(shape), lambda: as_numbers(read_parts(path, parts), dtype).reshape(shape))


def checksum(names, content):
    """CRC-32 of each name and its content in the order of the names, as mindspore.save_checkpoint(crc_check=True)."""
    crc = 0
    for name in sorted(names):
        crc = binascii.crc32(content(name), binascii.crc32(name.encode(), crc))
    return crc


@contextlib.contextmanager
def readable(path):
    """Turns every error of reading a damaged or foreign file into one ValueError that names the file."""
    try:
        yield
    except Exception as error:  # hostile bytes make five parsers raise all kinds: struct, zlib, KeyError, MemoryError
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:LONGEST_REASON]  # names in the file may be of any length, with line breaks
        raise ValueError(f"checkpoint {path}: {reason}{true_format(path)}") from error


def true_format(path):
    """A hint, by the first bytes, when the file is of another kind than its suffix says."""
    suffix = os.path.splitext(path)[1].lower()
    with open(path, "rb") as file:
        head = file.read(9)
    kinds = {"a pickle, which is never loaded": head[:1] == b"\x80" and head[8:9] != b"{",
             "a zip file (.npz or a PyTorch .pth)": head[:4] == b"PK\x03\x04" and suffix not in (".npz", ".pth"),
             "a .safetensors file": head[8:9] == b"{" and suffix != ".safetensors",
             "a MindSpore .ckpt file": head[:1] == b"\n" and suffix != ".ckpt"}
    return "".join(f" (it looks like {kind})" for kind, matches in kinds.items() if matches)
