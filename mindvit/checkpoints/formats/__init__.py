"""Checkpoint files of every kind: one file a container, chosen by the suffix."""

import os

from mindvit.checkpoints.formats.ckpt import read_ckpt, write_ckpt
from mindvit.checkpoints.formats.npz import read_npz
from mindvit.checkpoints.formats.pth import read_pth
from mindvit.checkpoints.formats.safetensors import read_safetensors, write_safetensors
from mindvit.checkpoints.formats.stored import MOST_ARRAYS, TOO_MANY, listed, readable

READERS = {".ckpt": read_ckpt, ".safetensors": read_safetensors, ".npz": read_npz,
           ".pth": read_pth, ".pt": read_pth, ".bin": read_pth}
WRITERS = {".ckpt": write_ckpt, ".safetensors": write_safetensors}


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
            raise ValueError(TOO_MANY)
    return arrays
