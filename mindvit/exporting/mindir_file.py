"""MindIR: a network as MindSpore's own file, in the operators that Ascend and MindSpore Lite have."""

import os
import pathlib
import re

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.nn.utils import no_init_parameters

from mindvit.exporting.onnx_file import Logits
from mindvit.files import write_json
from mindvit.kernels import native_forms
from mindvit.models import ViT
from mindvit.preprocessing import Preprocessing


class FromPixels(nn.Cell):
    """A network behind the mean and standard deviation of its images: uint8 (B, H, W, 3) of its own size."""

    def __init__(self, network, preprocessing):
        super().__init__()
        self.network = network
        self.mean, self.std = (Tensor(np.float32(values).reshape(3, 1, 1) * 255)
                               for values in (preprocessing.mean, preprocessing.std))

    def construct(self, pixels):
        x = pixels.astype(ms.float32).transpose(0, 3, 1, 2)
        return self.network((x - self.mean) / self.std)


def in_native_forms(network: ViT) -> ViT:
    """The same network, in evaluation, for another device.

    Raises:
        ValueError: it has an activation or a norm that no name stands for.
    """
    for name in ("activation", "norm"):
        if network.arguments[name] is None:
            raise ValueError(f"the network's {name} is a cell of its own, which cannot be built again for another "
                             "device; take one with a name")
    with native_forms(), no_init_parameters():
        copy = ViT(**network.arguments)
    values = network.parameters_dict()
    for name, parameter in copy.parameters_dict().items():
        parameter.set_data(values[name].value())
    return copy.set_train(False)


def add_user_info(model, metadata):
    """Puts names and texts into MindSpore's model: a map, in MindSpore 2.7 its entries."""
    if hasattr(model.user_info, "update"):
        model.user_info.update(metadata)
        return
    for key, value in metadata.items():
        model.user_info.add(key=key, value=value)


def write_mindir(network: ViT, path: pathlib.Path, preprocessing: Preprocessing | None, batch_size: int | None,
                 metadata: dict[str, str]) -> list[pathlib.Path]:
    """Writes a network, with the metadata as the file's `user_info`; returns what was written: MindSpore puts weights
    of more than a GiB into a folder `<stem>_variables` beside it.

    Raises:
        ValueError: see `in_native_forms`; or MindSpore writes no file of this name.
    """
    if not re.fullmatch(r"[\w@.-]+", path.name, re.ASCII):
        raise ValueError(f"MindSpore writes no file called {path.name!r}; take letters, digits, '.', '_', '-' and '@'")
    export_cell(network, path, preprocessing, batch_size, "MINDIR",
                custom_func=lambda model: add_user_info(model, metadata))
    variables, graph = path.with_name(f"{path.stem}_variables"), path.with_name(f"{path.stem}_graph.mindir")
    if graph.exists():
        os.replace(graph, path)
    written = [variables, path] if variables.exists() else [path]
    for file in [*written, *variables.glob("*")]:
        file.chmod(0o755 if file.is_dir() else 0o644)  # MindSpore leaves it to its owner, to read
    return written


def write_air(network: ViT, path: pathlib.Path, preprocessing: Preprocessing | None, batch_size: int | None,
              metadata: dict[str, str]) -> list[pathlib.Path]:
    """Writes a network as AIR, which only an Ascend does, and the metadata as `<name>.json` beside it. Never run."""
    export_cell(network, path, preprocessing, batch_size or 1, "AIR")
    beside = path.with_name(f"{path.name}.json")
    write_json(metadata, beside)
    return [beside, path]


def export_cell(network, path, preprocessing, batch_size, file_format, **options):
    """`mindspore.export` of a network's native forms, for batches of this size or of any."""
    cell, (height, width) = in_native_forms(network), network.arguments["image_size"]
    shape, kind = [batch_size, network.arguments["input_channels"], height, width], ms.float32
    if preprocessing:
        cell, shape, kind = FromPixels(cell, preprocessing).set_train(False), [batch_size, height, width, 3], ms.uint8
    inputs = ops.zeros(shape, kind) if batch_size else Tensor(shape=shape, dtype=kind)
    before = os.getcwd()
    os.chdir(path.parent)  # whose name may hold anything
    try:
        ms.export(cell, inputs, file_name=path.name, file_format=file_format, **options)
    finally:
        os.chdir(before)


def mindir_session(path: str) -> Logits:
    """What computes the logits of a MindIR file."""
    cell = nn.GraphCell(ms.load(path))
    return lambda inputs: cell(Tensor(inputs)).asnumpy()
