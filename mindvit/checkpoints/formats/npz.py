"""numpy's .npz."""

import math

import numpy as np

from mindvit.checkpoints.formats.stored import StoredArray
from mindvit.checkpoints.formats.zipped import open_zip


def read_npz(path):
    """numpy .npz, never with pickled objects."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    arrays, archive = {}, open_zip(path)
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
            with archive.open(info) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
                file.read()  # the check of the checksum comes at the end
            return array

        arrays[name] = StoredArray(shape, read)
    return arrays
