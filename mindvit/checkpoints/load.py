"""Opens any public ViT checkpoint under mindvit's names, and fills a network with it."""

import dataclasses
import json
import math

import mindspore as ms
import numpy as np

from mindvit.checkpoints.checkpoint import BLOCK, Checkpoint
from mindvit.checkpoints.formats import read_arrays
from mindvit.checkpoints.formats.stored import StoredArray, listed, readable
from mindvit.checkpoints.libraries import recognise
from mindvit.checkpoints.library import LONGEST_JSON
from mindvit.checkpoints.resize import adapt_channels, resize_kernel, resize_pos_embedding, square
from mindvit.files import StrPath

HEAD = ("dense.", "dense_dist.")
# The entry of a .ckpt written here that notes what names and shapes do not tell, and what it holds.
MARKS = "mindvit"
MARKED = {"arguments", "preprocessing"}
NAMED = "class_names"  # and, where they are known, those of the head


@dataclasses.dataclass
class LoadReport:
    """What `load_weights` did; lists of parameter names, mindvit's own except in `unused`, which are the file's.

    `loaded` took values from the file, of which those in `resized` were fitted to another size; `replaced` are the
    head's where network and file have another number of classes, in which case the network's keep their values;
    `missing` are not in the file; `unused` are in the file and not in the network. `format` is the library whose
    names the file has. `assumed` are sentences on everything that changes the numbers and that the file did not tell,
    each with its reason.

    Example:
        >>> report = load_weights(create_model("vit_t_16", num_classes=10), "vit_tiny_patch16_224.safetensors")
        >>> report.format, report.replaced
        ('timm', ['dense.bias', 'dense.weight'])
    """

    format: str
    loaded: list[str]
    missing: list[str]
    unused: list[str]
    resized: list[str]
    replaced: list[str]
    assumed: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        rows = [f"{'format':<9} {self.format}"]
        for field in ("loaded", "resized", "replaced", "missing", "unused"):
            names = getattr(self, field)
            shown = "" if field == "loaded" else listed(names, 4)
            rows.append(f"{field:<9} {len(names):>4}  {shown}".rstrip())
        return "\n".join(rows + [f"{'assumed':<9}       {sentence}" for sentence in self.assumed])


def write_marks(marks):
    """The marks as an array that any MindSpore checkpoint can hold."""
    return np.frombuffer(json.dumps(marks, default=int).encode(), np.uint8)  # int: numpy's numbers


def read_marks(stored):
    """The marks in a stored array of `write_marks`.

    Raises:
        ValueError: it holds no marks.
    """
    if math.prod(stored.shape) > LONGEST_JSON:
        raise ValueError(f"its entry {MARKS!r} has more than the {LONGEST_JSON:,} bytes that are read")
    marks = json.loads(np.asarray(stored).astype(np.uint8).tobytes())
    if not (isinstance(marks, dict) and marks.keys() - {NAMED} == MARKED
            and all(isinstance(marks[name], dict) for name in MARKED)
            and isinstance(names := marks.get(NAMED, []), list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"its entry {MARKS!r} was not written by this version of mindvit: {str(marks)[:80]}")
    return marks


def open_checkpoint(path, patch_size=None, input_channels=None):
    """The Checkpoint in a file; no values are read yet.

    Args:
        path (str): the file.
        patch_size (int or (int, int), optional), input_channels (int, optional): the network's, for a file that tells
            only how many values a patch has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no checkpoint; the message names it.
    """
    stored = dict(read_arrays(path))
    with readable(path):
        marks = read_marks(stored.pop(MARKS)) if MARKS in stored else {}
        library, sources, unknown = recognise(stored)
        for name in library.absent_if_empty:
            if name in sources and stored[sources[name][0]].shape[:1] == (0,):
                del sources[name]
        for name, parts in sources.items():
            for part in parts:
                library.check_dimensions(name, stored[part].shape)
        shapes = {name: stored[parts[0]].shape for name, parts in sources.items()}
        layout = library.layout(shapes, patch_size, input_channels)

        def to_native(name, parts):
            def joined(arrays):
                arrays = [layout(name, array) for array in arrays]
                return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

            # The shape after the layout's transposes, found on an array without values of its own.
            shape = joined(np.broadcast_to(np.bool_(0), stored[part].shape) for part in parts).shape
            return StoredArray(shape, lambda: joined(np.asarray(stored[part]) for part in parts))

        arrays = {name: to_native(name, parts) for name, parts in sources.items()}
        num_heads = 0
        if library.heads_axis is not None and BLOCK + "0.cell.1.qkv.weight" in shapes:
            num_heads = shapes[BLOCK + "0.cell.1.qkv.weight"][library.heads_axis]
    return Checkpoint(library, arrays, unknown, sources, num_heads, marks)


def read_checkpoint(path: StrPath) -> tuple[dict[str, StoredArray], str]:
    """Reads a checkpoint of any known library.

    Args:
        path (str): .ckpt, .safetensors, .npz, or PyTorch's .pth, .pt and .bin. A pickle is never executed.

    Returns:
        ({name of mindvit: array}, format): arrays have a `shape` and are read from the file by `np.asarray`; format
        is the library whose names the file has ("mindspore", "suite", "mindcv", "timm", "huggingface", "torchvision",
        "google" or "vit_pytorch").

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another kind than its suffix says, or of no known library; the message
            names the file and the reason.

    Example:
        >>> arrays, format = read_checkpoint("vit_tiny_patch16_224.safetensors")
        >>> format, arrays["cls"].shape, np.asarray(arrays["cls"]).dtype.name
        ('timm', (1, 1, 192), 'float32')
    """
    checkpoint = open_checkpoint(path)
    return checkpoint.arrays, checkpoint.library.name


def with_zero_positions(checkpoint):
    """The checkpoint with a position of zeros for each token that is no patch, which gives the same numbers."""
    stored, prefix = checkpoint.arrays["pos_embedding"], checkpoint.prefix()
    shape = (1, prefix + stored.shape[1], stored.shape[2])
    whole = StoredArray(shape, lambda: np.concatenate([np.zeros((1, prefix, shape[2]), np.float32), stored.read()], 1))
    return dataclasses.replace(checkpoint, arrays={**checkpoint.arrays, "pos_embedding": whole})


def load_opened(network, checkpoint, strict, head, told):
    """Fills a network with a Checkpoint; `told` are ViT's arguments as far as the file and what lies beside it tell."""
    if head not in ("auto", "keep"):
        raise ValueError(f"head is {head!r}; choose 'auto' or 'keep'")
    grid = checkpoint.patch_grid(told.get("image_size"))
    if checkpoint.zero_positions(grid or network.patch_embedding.grid):
        checkpoint = with_zero_positions(checkpoint)
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    arrays = dict(checkpoint.arrays)
    if checkpoint.library.norms_after_pool and \
            told.get("norm_after_pool", checkpoint.norm_after_pool()) != network.norm_after_pool:
        # The same norm at another place is another parameter.
        arrays = {name: array for name, array in arrays.items() if not name.startswith("norm.")}
    replaced = replaced_head(parameters, arrays)
    if replaced and head == "keep":
        raise ValueError(f"head='keep', but the file's head does not fit: {difference(parameters, arrays, replaced)}")
    missing = [name for name in parameters if name not in arrays and name not in replaced]
    unused = checkpoint.unknown + [name for native, names in checkpoint.sources.items() for name in names
                                   if native not in replaced and (native not in parameters or native not in arrays)]
    if strict and (missing or unused):
        lines = [f"{kind}: {listed(names)}" for kind, names in (("missing", missing), ("unused", unused)) if names]
        raise ValueError(f"it does not fit the network; {'; '.join(lines)}. strict=False loads the rest")
    loaded = [name for name in parameters if name in arrays and name not in replaced]
    if not loaded:
        raise ValueError("none of its parameters is in the network")

    readers, resized = {}, []
    for name in loaded:
        readers[name] = arrays[name].read
        if tuple(arrays[name].shape) != tuple(parameters[name].shape):
            readers[name] = fitted(network, name, arrays[name], parameters[name].shape, checkpoint.prefix(), grid)
            resized.append(name)

    def read(name):
        values = readers[name]()
        if not np.issubdtype(values.dtype, np.floating):
            raise ValueError(f"{name} has type {values.dtype}, where floating point numbers are expected")
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
            values = np.ascontiguousarray(values, np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")
        return values

    for name in loaded:  # everything is read once before the first parameter changes, one array in memory at a time
        read(name)
    for name in loaded:
        values, dtype = ms.Tensor.from_numpy(read(name)), parameters[name].dtype
        parameters[name].set_data(values if dtype == ms.float32 else values.astype(dtype))
    return LoadReport(checkpoint.library.name, loaded, missing, unused, resized, sorted(replaced))


def replaced_head(parameters, arrays):
    """The head's names in network or file if the two have another number of classes, else the empty set."""

    def classes(holder):
        return {holder[name].shape[0] if len(holder[name].shape) else 0
                for name in ("dense.weight", "dense.bias") if name in holder} or {0}

    if classes(parameters) == classes(arrays) or len(classes(arrays)) > 1:
        return set()
    names = {name for holder in (parameters, arrays) for name in holder if name.startswith(HEAD)}
    # A representation layer goes with the head unless both sides have the same.
    layers = [name for name in ("representation.weight", "representation.bias") if name in parameters or name in arrays]
    if any(name not in parameters or name not in arrays
           or tuple(parameters[name].shape) != tuple(arrays[name].shape) for name in layers):
        names.update(layers)
    return names


def difference(parameters, arrays, names):
    """The shapes of these parameters in file and network, in words."""
    return ", ".join(f"{name} is {tuple(arrays[name].shape) if name in arrays else 'absent'} in the file and "
                     f"{tuple(parameters[name].shape) if name in parameters else 'absent'} in the network"
                     for name in sorted(names))


def fitted(network, name, array, shape, prefix, grid):
    """A function that reads the array in the network's shape, or ValueError where no rule leads there."""
    refused = ValueError(f"{name} has shape {tuple(array.shape)} where the network has {tuple(shape)}")
    if len(array.shape) != len(shape):
        raise refused
    if name == "pos_embedding" and array.shape[0] == 1 and array.shape[2] == shape[2]:
        if prefix != network.num_prefix_tokens:
            raise refused
        old, new = grid or square(array.shape[1] - prefix), network.patch_embedding.grid
        if old is None or math.prod(old) != array.shape[1] - prefix:
            raise ValueError(f"{name} has {array.shape[1]} entries, of which {array.shape[1] - prefix} patches, not a "
                             f"square grid, and the network has {shape[1]}; build it with the image size of the file")
        return lambda: resize_pos_embedding(array.read(), prefix, old, new)
    if name == "patch_embedding.conv.weight" and array.shape[0] == shape[0]:
        channels, size = shape[1], tuple(shape[2:])
        if array.shape[1] not in (3, channels):
            raise refused

        def read():
            kernel = array.read()
            kernel = kernel if kernel.shape[1] == channels else adapt_channels(kernel, channels)
            return kernel if kernel.shape[2:] == size else resize_kernel(kernel, size)

        return read
    raise refused
