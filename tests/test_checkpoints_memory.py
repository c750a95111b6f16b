"""No file makes reading take more memory than twice its own size plus the network's."""

import gzip
import json
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from test_cli_bad_input import entry, npz_of, safetensors_of, tensor, torch_file

from mindvit import create_model, save_weights

MARGIN = 80  # MiB, for what Python and its allocator keep
EACH = 8_000_000  # bytes of the larger files


def varint(number):
    return b"" if number < 0 else bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def value(tag=b"a", dims=b"\0", kind=b"Int8", content=b""):
    """A value of a .ckpt, its dimensions packed."""
    return field(1, field(1, tag) + field(2, field(1, dims) + field(2, kind) + field(3, content)))


def repeated(part, kind=bytes):
    return part * (EACH // len(part))


def directory(names):
    """A zip file that is nearly all directory."""
    entries = b"".join(b"PK\1\2" + struct.pack("<HHHHHHLLLHHHHHLL", 20, 20, *[0] * 7, len(name), *[0] * 6) + name
                       for name in names)
    return entries + b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 0xffff, 0xffff, len(entries), 0, 0)


def sparse(file):
    """A header that speaks of 6 GB, and a file that long without any of it on the disk."""
    header = safetensors_of({"a": entry([1_500_000_000], [0, 6_000_000_000])})
    file.write_bytes(header)
    with open(file, "r+b") as opened:
        opened.truncate(len(header) + 6_000_000_000)


MANY = "\n".join(f"{number:07}" for number in range(EACH // 55)).encode().split()
LISTS = b"[" + b"[]," * (EACH // 3) + b"[]]"
# {file name: its bytes, or what makes it}; each once took 3 to 4,000,000 times its size
FILES = {
    "many.ckpt": lambda: b"".join(map(value, MANY)),
    "texts.ckpt": lambda: b"".join(value(n, kind=b"str") for n in MANY),
    "slices.ckpt": lambda: repeated(value()), "dimensions.ckpt": lambda: value(dims=repeated(b"\x81\1")),
    "name.ckpt": lambda: repeated(value(b"a" * 1_000_000)),
    "marks.ckpt": lambda: value(b"mindvit", varint(len(LISTS)), b"UInt8", LISTS),
    "halves.ckpt": lambda: value(b"cls_token", b"\1\1" + varint(EACH), b"BFloat16", bytes(2 * EACH)),
    "shape.safetensors": lambda: safetensors_of({"a": entry([0] * (EACH // 3), [0, 0])}),
    "many.safetensors": lambda: safetensors_of({name.decode(): entry([0], [0, 0], "I8") for name in MANY}),
    "metadata.safetensors": lambda: safetensors_of({"__metadata__": dict.fromkeys(map(bytes.decode, MANY), "")}),
    "header.safetensors": lambda: safetensors_of({"a": entry([0] * 690_000, [0, 0])}),
    "halves.safetensors": lambda: safetensors_of({"a": entry([1, EACH], [0, 2 * EACH], "BF16")}, bytes(2 * EACH)),
    "directory.npz": lambda: directory(MANY), "directory.pth": lambda: directory(MANY),
    "bomb.npz": lambda: npz_of(True, cls=np.zeros(40_000_000)),
    "half_bomb.npz": lambda: npz_of(True, cls=np.zeros(40_000_000),
                                    a=np.random.default_rng(0).integers(0, 256, 4_000_000, np.uint8)),
    "objects.pth": lambda: torch_file(repeated(b"}")), "fewer_objects.pth": lambda: torch_file(b"}" * 500_000),
    "marks.pth": lambda: torch_file(b"(" * 500_000), "row.pth": lambda: repeated(b"}"),
    "bomb.pth": lambda: torch_file(repeated(b"}"), zipfile.ZIP_DEFLATED), "memo.pth": lambda: torch_file(
        b"Nr\xff\xff\xff\x0f."), "bytes.pth": lambda: torch_file(b"\x80\2cbuiltins\nbytearray\nJ\0\0\0\x40\x85R."),
    "length.pth": lambda: b"\x80\2X\xff\xff\xff\x7f", "stride.pth": lambda: torch_file(tensor([2**29], [0])),
    "copies.pth": lambda: torch_file(b"\x80\2](" + b"N" * 100_000 + b"eq\0" + b"ccollections\nOrderedDict\nq\1"
                                     + b"h\1h\0\x85R" * 50_000 + b"."),
    "sparse.ckpt": sparse, "sparse.npz": sparse, "sparse.safetensors": sparse,
    "json/config.json": lambda: LISTS, "short/config.json": lambda: b"[" + b"{}," * 990_000 + b"[]]",
    "memo/data_batch_1": lambda: b"\x80\2Nr\xff\xff\xff\x07.", "array/data_batch_1": lambda: (
        b"\x80\2cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\0\0\0\x40\x85U\1B\x87R."),
    "zeros/train-images-idx3-ubyte.gz": lambda: gzip.compress(bytes(400_000_000), 1),
}
PROGRAM = """import json, os, pathlib, re, sys
import numpy as np
from mindvit import Cifar10, Mnist, from_checkpoint
from mindvit.checkpoints.formats import read_arrays
from mindvit.checkpoints.library import beside
from mindvit.checkpoints.load import open_checkpoint


def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024


def read(path):
    if "/network." in path:
        from_checkpoint(path)
    elif path.endswith("data_batch_1"):
        Cifar10(pathlib.Path(path).parent)
    elif path.endswith(".gz"):
        Mnist(pathlib.Path(path).parent)
    elif path.endswith(".json"):
        beside(path, "config.json")
    else:
        for array in read_arrays(path).values():
            if np.prod(array.shape) < 2**30:  # else only opened
                np.asarray(array)
        open_checkpoint(path)


for path in map(str.strip, sys.stdin):
    if "/network." not in path and os.fork():  # each in a process without what the others left free
        os.wait()
        continue
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest is counted from now
    before = memory("VmRSS")
    try:
        read(path)
        said = "read"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([path, memory("VmHWM") - before, said[:300]]), flush=True)
    if "/network." not in path:
        os._exit(0)
"""


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """{file name: (MiB that reading took at most, its size in MiB, what was said)}."""
    if not pathlib.Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is measured by Linux' /proc")
    home = tmp_path_factory.mktemp("hostile")
    network = create_model("vit_s_16")
    for name in NETWORKS:
        save_weights(network, home / name, "timm" if name.endswith("s") else "mindspore")
    for name, make in FILES.items():
        (home / name).parent.mkdir(exist_ok=True)
        make(home / name) if make is sparse else (home / name).write_bytes(make())
    (home / "zeros/train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\1\0")
    names = [*FILES, *NETWORKS]
    done = subprocess.run([sys.executable, "-c", PROGRAM], input="\n".join(str(home / name) for name in names),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines()[-len(names):])
    return {name: (most, (home / name).stat().st_size / 2**20, said) for name, (_, most, said) in zip(names, rows)}


NETWORKS = ("network.ckpt", "network.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_reading_a_hostile_file_takes_twice_its_size_at_most(name, taken):
    most, size, said = taken[name]
    assert most < 2 * size + MARGIN and (said == "read" or said.startswith("ValueError: ")), taken[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_loading_a_network_takes_twice_the_file_and_the_network_at_most(name, taken):
    most, size, said = taken[name]
    assert 80 < size < 90 and most < 3 * size + MARGIN and said == "read", taken[name]
