"""Hugging Face's .safetensors."""

import json
import os

import numpy as np

from mindvit.checkpoints.formats.stored import DAMAGED, DTYPES, checksum, read_parts, stored_bytes

LONGEST_HEADER = 2**21  # bytes, for about 20,000 arrays; Python needs twenty times as many to read it


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

    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if LONGEST_HEADER < length <= os.path.getsize(path):
            raise ValueError(f"its header has {length:,} bytes, more than the {LONGEST_HEADER:,} that are read")
        with safe_open(path, framework="numpy"):
            pass
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


def write_safetensors(path, arrays):
    """Writes {name: array} with a checksum, as mindspore.save_checkpoint(crc_check=True, format="safetensors") does."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, path, metadata={"format": "pt", "crc_num": str(checksum(arrays, arrays.get))})
