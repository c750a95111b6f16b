"""PyTorch's .pth, .pt and .bin, read without PyTorch: a dict of tensors, in a zip file or, until 1.5, in a row."""

import io
import math
import pickle
import zipfile
from typing import ClassVar, NamedTuple

import numpy as np

from mindvit.checkpoints.formats.stored import BFLOAT16, StoredArray, as_numbers, item_size, listed, read_parts
from mindvit.checkpoints.formats.zipped import open_zip

LONGEST_PICKLE = 2**19  # bytes, of what names the tensors; a ViT-L with its optimizer has 150,000
MAGIC = 0x1950A86A20F9469CFC6C  # the first value in a file without zip
STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
            "BFloat16Storage": BFLOAT16, "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
            "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}
# What torch.save writes for dicts, lists, texts, numbers and tensors; each makes at most a small object.
STEPS = {pickle.PROTO, pickle.STOP, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID, pickle.MARK,
         pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1,
         pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2,
         pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM,
         pickle.SETITEMS, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET}
MORE = "it holds more than arrays, such as a whole module, and is not executed; save model.state_dict() instead"


class Ordered(dict):
    """A collections.OrderedDict of the file, which is only made empty."""

    def __init__(self):
        super().__init__()


class Storage(NamedTuple):
    """Numbers elsewhere in the file."""

    dtype: str
    key: str


class Tensor:
    """A tensor of the file: its place in a Storage."""

    def __init__(self, storage, offset, shape, strides, *rest):
        if not isinstance(storage, Storage):
            raise TypeError
        self.dtype, self.key = storage
        self.offset, self.shape, self.strides = offset, shape, strides

    def stored(self, read):
        """The StoredArray; `read(key, offset, length)` gives bytes of a storage."""
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        if len(self.shape) != len(self.strides) or min(self.shape + self.strides + (self.offset,), default=0) < 0 or \
                math.prod(self.shape) > last + 1 - self.offset:
            raise ValueError(f"a tensor in it has shape {self.shape} with strides {self.strides}, of which one value "
                             "would be several; save it by .clone()")
        item = item_size(self.dtype)

        def values():
            flat = as_numbers(read(self.key, self.offset * item, (last + 1 - self.offset) * item), self.dtype)
            strides = [stride * flat.itemsize for stride in self.strides]
            return np.lib.stride_tricks.as_strided(flat, self.shape, strides)

        return StoredArray(self.shape, values)


def whole(value, *rest):
    """A parameter is its tensor, a torch.Size its tuple."""
    return value


CALLED = {"collections.OrderedDict": Ordered, "torch._utils._rebuild_tensor_v2": Tensor,
          "torch._utils._rebuild_tensor": Tensor, "torch._utils._rebuild_parameter": whole, "torch.Size": whole}


class TensorUnpickler(pickle._Unpickler):
    """Unpickler for what torch.save writes of a dict of tensors; of Python's own, whose memory nothing in the file
    decides, only the STEPS are there, and they find nothing but CALLED; `dtypes` are those of the storages by key."""

    def __init__(self, stream):
        super().__init__(stream)
        self.dtypes = {}

    def find_class(self, module, name):
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if f"{module}.{name}" not in CALLED:
            raise ValueError(f"it names {module}.{name}: {MORE}")
        return CALLED[f"{module}.{name}"]

    def persistent_load(self, pid):
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or dtype not in STORAGES.values() or not isinstance(key, str) or any(view):
            raise ValueError("it holds a storage of an unknown kind")
        self.dtypes[key] = dtype
        return Storage(dtype, key)

    def load_build(self):
        self.stack.pop()  # what an object has besides its items is left out

    def load_setitems(self):
        if not all(isinstance(key, (str, int)) for key in self.stack[::2]):  # others may take ages to hash
            raise ValueError(MORE)
        super().load_setitems()

    def load_setitem(self):
        if not isinstance(self.stack[-2], (str, int)):
            raise ValueError(MORE)
        super().load_setitem()

    dispatch: ClassVar[dict] = {
        **{step[0]: pickle._Unpickler.dispatch[step[0]] for step in STEPS},
        pickle.BUILD[0]: load_build, pickle.SETITEMS[0]: load_setitems, pickle.SETITEM[0]: load_setitem}


class Limited(io.RawIOBase):
    """What may be read of a stream by the unpickler, which would believe any length."""

    def __init__(self, stream):
        self.stream, self.left = stream, LONGEST_PICKLE

    def read(self, size=-1):
        self.left -= size
        if self.left < 0:
            raise ValueError(f"what names its tensors has more than {LONGEST_PICKLE:,} bytes, the most that are read")
        return self.stream.read(size)

    def readline(self, size=1000):
        return self.stream.readline(size)


def unpickled(stream):
    """(the next object of a stream, {key: dtype} of its storages).

    Raises:
        ValueError: it is more than tensors, or damaged.
    """
    unpickler = TensorUnpickler(Limited(stream))
    try:
        return unpickler.load(), unpickler.dtypes
    except KeyError as error:  # no step of STEPS, or no number of the memo
        raise ValueError(MORE) from error
    except (EOFError, IndexError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError("it is no PyTorch file, or damaged") from error


def read_zip(path):
    """(the object in a .pth that is a zip file, (key, offset, length) -> bytes of a storage)."""
    archive = open_zip(path)
    members = {info.filename: info for info in archive.infolist()}
    name = next((name for name in members if name.endswith("/data.pkl")), None)
    if name is None:
        raise ValueError("it has no data.pkl, as PyTorch's files have; is it a .npz?")
    folder = name.removesuffix("data.pkl")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise ValueError("its tensors are compressed, which PyTorch does not do")
    if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are not little-endian")

    def read(key, offset, length):
        data = np.frombuffer(archive.read(members[f"{folder}data/{key}"]), np.uint8)
        if offset + length > len(data):
            raise ValueError(f"its storage {key} has {len(data):,} bytes, of which {offset + length:,} are asked")
        return data[offset:offset + length]

    with archive.open(name) as stream:
        return unpickled(stream)[0], read


def read_row(path):
    """The same of a .pth as PyTorch wrote them until 1.5: five pickles, then each storage behind its length."""
    places = {}
    with open(path, "rb") as file:
        if file.read(1) != pickle.PROTO:
            raise ValueError("it is no PyTorch file")
        file.seek(0)
        magic, _ = unpickled(file)
        if magic != MAGIC:
            raise ValueError(MORE)
        _, (system, _), (content, dtypes), (keys, _) = (unpickled(file) for _ in range(4))
        if not system["little_endian"]:
            raise ValueError("its numbers are not little-endian")
        for key in keys:
            length = int.from_bytes(file.read(8), "little") * item_size(dtypes[key])
            places[key] = file.tell(), length
            file.seek(length, io.SEEK_CUR)

    def read(key, offset, length):
        start, most = places[key]
        if offset + length > most:
            raise ValueError(f"its storage {key} has {most:,} bytes, of which {offset + length:,} are asked")
        return read_parts(path, [(start + offset, length)])

    return content, read


def tensors(content):
    """{name: Tensor} of a state_dict, or of the one in a training checkpoint."""
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {name: value for name, value in content.items() if isinstance(value, Tensor)} \
        if isinstance(content, dict) else {}


def read_pth(path):
    """PyTorch .pth, .pt or .bin."""
    content, read = (read_zip if zipfile.is_zipfile(path) else read_row)(path)
    arrays = {str(name): tensor.stored(read) for name, tensor in tensors(content).items()}
    if not arrays and isinstance(content, dict):
        raise ValueError(f"it holds no arrays, but {listed(map(str, content))}; save model.state_dict() alone")
    return arrays
