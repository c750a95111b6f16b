"""MindSpore's .ckpt."""

import binascii
import logging
import math
import mmap
import pathlib

import mindspore as ms

from mindvit.checkpoints.formats.stored import DAMAGED, DTYPES, MOST_ARRAYS, TOO_MANY, item_size, stored_bytes

CHECKSUM_BLOCK = 1 << 24
MOST_DIMENSIONS = 8


def varint(data, at):
    """(number, position after it) of a protobuf variable-length number."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("a protobuf number is longer than 10 bytes")


def fields(data, start, end):
    """Each field of a protobuf message: (number, value), where the value of a nested one is its (start, end)."""
    while start < end:
        key, start = varint(data, start)
        if key & 7 == 0:
            value, start = varint(data, start)
        elif key & 7 == 2:
            length, start = varint(data, start)
            value, start = (start, start + length), start + length
        else:
            raise ValueError(f"protobuf wire type {key & 7}, which a checkpoint does not have")
        if start > end:
            raise ValueError("it ends in the middle of an array; it is truncated or damaged")
        yield key >> 3, value


def text(data, span):
    return data[span[0]:span[1]].decode()


def read_value(data, span):
    """(tag, dims, type, (start, end) of the content) of one value of a MindSpore checkpoint."""
    tag, dims, kind, content = None, [], None, None
    for number, value in fields(data, *span):
        if number == 1:
            tag = text(data, value)
        elif number == 2:
            for part, entry in fields(data, *value):
                if part == 1 and isinstance(entry, int):
                    dims.append(entry)
                elif part == 1:  # packed
                    at, end = entry
                    while at < end and len(dims) <= MOST_DIMENSIONS:
                        dim, at = varint(data, at)
                        dims.append(dim)
                elif part == 2:
                    kind = text(data, entry)
                elif part == 3:
                    content = entry
                if len(dims) > MOST_DIMENSIONS:
                    raise ValueError(f"an array in it has more than {MOST_DIMENSIONS} dimensions")
    if tag is None or kind is None or content is None:
        raise ValueError("an array in it lacks name, type or content")
    return tag, dims, kind, content


def check_crc(file, data):
    """The end of the values in `data`, the mapped `file`, after checking the checksum that may follow them.

    It is what mindspore.save_checkpoint(crc_check=True) appends.
    """
    end = len(data)
    if data[-17:-10] != b"crc_num":
        return end
    end, crc = end - 17, 0
    for start in range(0, end, CHECKSUM_BLOCK):
        crc = binascii.crc32(file.read(min(CHECKSUM_BLOCK, end - start)), crc)
    if crc != int.from_bytes(data[-10:], "big"):
        raise ValueError(DAMAGED)
    return end


def read_ckpt(path):
    """MindSpore .ckpt: protobuf `Checkpoint` of values (1: tag, 2: tensor (1: dims, 2: type, 3: content)).

    A large array lies in consecutive slices of the same tag. mindspore.load_checkpoint holds a file three times in
    memory, which is why it is not used here.
    """
    found = {}  # tag -> (dims, type, parts)
    last = None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for count, (number, span) in enumerate(fields(data, 0, check_crc(file, data))):
            if count == MOST_ARRAYS:
                raise ValueError(TOO_MANY)
            if number != 1 or not isinstance(span, tuple):
                raise ValueError("it is not a MindSpore checkpoint")
            tag, dims, kind, (start, end) = read_value(data, span)
            if tag == last and found[tag][:2] == (dims, kind):
                found[tag][2].append((start, end - start))
            elif tag in found:
                raise ValueError(f"it holds {tag} twice")
            else:
                found[tag] = dims, kind, [(start, end - start)]
            last = tag
    arrays = {}
    for tag, (dims, kind, parts) in found.items():
        if kind == "str":  # what append_dict stores for a text
            continue
        if kind not in DTYPES:
            raise ValueError(f"{tag} has type {kind}, which is not a number type")
        size = sum(length for _, length in parts)
        shape = [] if dims == [0] and size else dims  # a scalar is written with dims [0]
        if math.prod(shape) * item_size(DTYPES[kind]) != size:
            raise ValueError(f"{tag} has shape {tuple(shape)} of {kind} but {size} bytes: damaged, or stored twice")
        arrays[tag] = stored_bytes(path, DTYPES[kind], shape, parts)
    return arrays


def write_ckpt(path, arrays):
    """Writes {name: array} with a checksum, as mindspore.save_checkpoint does."""
    path, disabled = pathlib.Path(path), logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what MindSpore logs beside the error it raises
    try:
        ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()], str(path),
                           crc_check=True)
    finally:
        logging.disable(disabled)
        path.with_suffix(".tmp").unlink(missing_ok=True)  # which it leaves where the disk is full
