"""Reads checkpoint files of every kind: where each array lies is found first, its values are read when asked for."""

import binascii
import contextlib
import dataclasses
import json
import math
import mmap
import os
import pickle
import zipfile
from collections.abc import Callable

import numpy as np

from mindvit.checkpoints.names import listed

# MindSpore's and safetensors' names of number types. numpy has no bfloat16: it is read as the upper half of a float32.
BFLOAT16 = "bfloat16"
DTYPES = {"Float32": "float32", "Float16": "float16", "BFloat16": BFLOAT16, "Float64": "float64", "Bool": "bool",
          "F32": "float32", "F16": "float16", "BF16": BFLOAT16, "F64": "float64", "BOOL": "bool",
          **{f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)},
          **{f"{short}{bits}": f"{kind}{bits}" for short, kind in (("I", "int"), ("U", "uint"))
             for bits in (8, 16, 32, 64)}}
CHECKSUM_BLOCK = 1 << 24
MOST_ARRAYS = 50_000
MOST_UNPACKED = 100
DAMAGED = "its checksum does not match its content; it is damaged"


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file: its shape is known, `np.asarray(stored)` reads it. bfloat16 comes as float32, exactly."""

    shape: tuple
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


def stored_bytes(path, dtype, shape, parts):
    """A StoredArray of the raw little-endian values that lie in `parts`."""

    def read():
        data = read_parts(path, parts)
        if dtype == BFLOAT16:
            return (data.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
        return data.view(dtype).reshape(shape)

    return StoredArray(tuple(shape), read)


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
                    while at < end:
                        dim, at = varint(data, at)
                        dims.append(dim)
                elif part == 2:
                    kind = text(data, entry)
                elif part == 3:
                    content = entry
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


def read_mindspore(path):
    """MindSpore .ckpt: protobuf `Checkpoint` of values (1: tag, 2: tensor (1: dims, 2: type, 3: content)).

    A large array lies in consecutive slices of the same tag. mindspore.load_checkpoint holds a file three times in
    memory, which is why it is not used here.
    """
    found = {}  # tag -> (dims, type, parts)
    last = None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, span in fields(data, 0, check_crc(file, data)):
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


def unique(pairs):
    """A dict of the pairs of a JSON object; a name that comes twice is an error."""
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it holds {next(name for name in names if names.count(name) > 1)} twice")
    return result


def read_safetensors(path):
    """.safetensors: 8 bytes of header length, a JSON header, then the values.

    The safetensors library validates the file; its reading functions are not used because they know no bfloat16 and
    keep the whole file mapped.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy"):
        pass
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length), object_pairs_hook=unique)
    metadata = header.pop("__metadata__", {})
    arrays, parts = {}, {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} has type {entry['dtype']}, which is not supported")
        start, stop = entry["data_offsets"]
        parts[name] = [(8 + length + start, stop - start)]
        arrays[name] = stored_bytes(path, DTYPES[entry["dtype"]], entry["shape"], parts[name])
    if "crc_num" in metadata:
        crc = checksum(parts, lambda name: read_parts(path, parts[name]))
        if str(crc) != metadata["crc_num"]:
            raise ValueError(DAMAGED)
    return arrays


def checksum(names, content):
    """CRC-32 of each name and its content in the order of the names, as mindspore.save_checkpoint(crc_check=True)."""
    crc = 0
    for name in sorted(names):
        crc = binascii.crc32(content(name), binascii.crc32(name.encode(), crc))
    return crc


def read_npz(path):
    """numpy .npz, never with pickled objects."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > MOST_UNPACKED * os.path.getsize(path):
            raise ValueError(f"it unpacks to {unpacked:,} bytes, over {MOST_UNPACKED} times its size; weights do not "
                             "shrink like that")
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name} twice")
            if name == info.filename:
                raise ValueError(f"it holds {name}, which is not an array: is it a PyTorch file? Rename it to .pth")
            with archive.open(info) as file:
                shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
                if dtype.hasobject:
                    raise ValueError(f"{name} is an array of Python objects, which are never loaded")
                if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
                    raise ValueError(f"{name} has shape {shape} of {dtype} but {info.file_size} bytes")

            def read(info=info):
                with zipfile.ZipFile(path) as archive, archive.open(info) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                    file.read()  # the check of the checksum comes at the end
                return array

            arrays[name] = StoredArray(shape, read)
    return arrays


def read_torch(path):
    """PyTorch .pth, .pt or .bin, only with torch installed and only tensors (weights_only=True)."""
    try:
        import torch
    except ImportError:
        raise ValueError("reading it needs torch, which is not installed: pip install torch, "
                         "or convert the file to .safetensors") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:  # whose own words advise to execute it
        raise ValueError("it holds more than arrays, such as a whole module, and is not executed; save "
                         "model.state_dict() instead") from None
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    arrays = {}
    for name, tensor in content.items() if isinstance(content, dict) else ():
        if isinstance(tensor, torch.Tensor):
            arrays[name] = StoredArray(tuple(tensor.shape), lambda tensor=tensor: (
                tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy())
    if not arrays and isinstance(content, dict):
        raise ValueError(f"it holds no arrays, but {listed(map(str, content))}; save model.state_dict() alone")
    return arrays


READERS = {".ckpt": read_mindspore, ".safetensors": read_safetensors, ".npz": read_npz,
           ".pth": read_torch, ".pt": read_torch, ".bin": read_torch}


def read_arrays(path):
    """{name in the file: StoredArray}, by the file's suffix.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not what its suffix says, or damaged; the message names the file and the reason.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if not os.path.exists(path):
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    if os.path.isdir(path):
        found = sorted(name for name in os.listdir(path) if os.path.splitext(name)[1].lower() in READERS)
        advice = f"give one of the files in it: {listed(found)}" if found else \
            f"there is no checkpoint in it ({', '.join(READERS)})"
        raise ValueError(f"checkpoint {path} is a folder; {advice}")
    if suffix not in READERS:
        raise ValueError(f"checkpoint {path} ends in {suffix or 'nothing'}; known are {', '.join(READERS)}")
    if not os.path.getsize(path):
        raise ValueError(f"checkpoint {path} is empty")
    with readable(path):
        arrays = READERS[suffix](path)
        if not arrays:
            raise ValueError("it holds no arrays")
        if len(arrays) > MOST_ARRAYS:
            raise ValueError(f"it holds {len(arrays)} arrays; a Vision Transformer with its optimizer has thousands, "
                             f"and more than {MOST_ARRAYS} are not read")
    return arrays


@contextlib.contextmanager
def readable(path):
    """Turns every error of reading a damaged or foreign file into one ValueError that names the file."""
    try:
        yield
    except Exception as error:  # hostile bytes make five parsers raise all kinds: struct, zlib, KeyError, MemoryError
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
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
