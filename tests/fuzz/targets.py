"""What is fuzzed: each function takes any bytes, and returns or raises what would be a fault of mindvit."""

import contextlib
import functools
import io
import math
import os
import pathlib
import resource
import tempfile
import warnings
import zipfile
from unittest import mock

import mindspore as ms
import numpy as np
from mindspore.dataset import vision
from PIL import Image

from mindvit import cli, open_rgb, read_image
from mindvit.checkpoints.architecture import describe
from mindvit.checkpoints.formats.stored import readable
from mindvit.checkpoints.load import open_checkpoint
from mindvit.data.cifar import Cifar10
from mindvit.flags import read_settings

build_parser = functools.cache(cli.build_parser)  # takes longer than the rest
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="mindvit-fuzz-"))
MOST_MEMORY = 2**29  # bytes that the process may grow; its inputs have at most a few kB
WIDTH, PATCH = 4, 2
# The smallest ViT, under timm's names: one block, four patches, two classes.
SHAPES = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 5, WIDTH), "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
          "patch_embed.proj.bias": (WIDTH,), "blocks.0.norm1.weight": (WIDTH,), "blocks.0.norm1.bias": (WIDTH,),
          "blocks.0.attn.qkv.weight": (3 * WIDTH, WIDTH), "blocks.0.attn.qkv.bias": (3 * WIDTH,),
          "blocks.0.attn.proj.weight": (WIDTH, WIDTH), "blocks.0.attn.proj.bias": (WIDTH,),
          "blocks.0.norm2.weight": (WIDTH,), "blocks.0.norm2.bias": (WIDTH,), "blocks.0.mlp.fc1.weight": (8, WIDTH),
          "blocks.0.mlp.fc1.bias": (8,), "blocks.0.mlp.fc2.weight": (WIDTH, 8), "blocks.0.mlp.fc2.bias": (WIDTH,),
          "norm.weight": (WIDTH,), "norm.bias": (WIDTH,), "head.weight": (2, WIDTH), "head.bias": (2,)}
NUMBERS = sum(map(math.prod, SHAPES.values()))


@functools.cache
def small():
    """{timm's name: array} of the smallest ViT."""
    return {name: np.full(shape, 0.5, np.float32) for name, shape in SHAPES.items()}


@functools.cache
def memory_at_first():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_memory():
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_at_first()) * 1024
    assert grown < MOST_MEMORY, f"reading took {grown:,} bytes"


@contextlib.contextmanager
def refusing(path):
    """Lets pass the one error that bad input may raise: a ValueError of one line that names the file."""
    memory_at_first()
    try:
        yield
    except ValueError as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1, repr(error)
    check_memory()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torch_zip(pickled):
    return zipped(**{"archive/data.pkl": pickled, "archive/version": "3\n", "archive/data/0": bytes(48)})


def checkpoint_of(arrays):
    """The bytes of a .ckpt."""
    path = FOLDER / "written.ckpt"
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()], str(path))
    return path.read_bytes()


def with_marks(content):
    """A .ckpt whose entry `mindvit` holds any bytes."""
    return checkpoint_of({"mindvit": np.frombuffer(content or b"0", np.uint8)}) + small_checkpoint()


@functools.cache
def small_checkpoint():
    return checkpoint_of(small())


@functools.cache
def small_safetensors():
    from safetensors.numpy import save

    return save(small())


# How the bytes become a checkpoint: {kind: (suffix, (bytes) -> content of the file)}. Where a format has lengths and
# checksums around a part, another kind makes them, so that a changed byte reaches what is behind them.
CHECKPOINTS = {
    "ckpt": (".ckpt", bytes), "safetensors": (".safetensors", bytes), "npz": (".npz", bytes), "pth": (".pth", bytes),
    "header": (".safetensors", lambda data: len(data).to_bytes(8, "little") + data + bytes(4 * NUMBERS)),
    "npy": (".npz", lambda data: zipped(**{"cls.npy": data})),
    "pickle": (".pth", torch_zip),
    "marks": (".ckpt", with_marks),
}
BESIDE = ("config.json", "preprocessor_config.json")


def read_checkpoint(path):
    """Everything that loading does but for building the network."""
    opened = open_checkpoint(path)
    with readable(path):
        describe(opened, path)
        opened.library.prepared(path, 4)
        for array in opened.arrays.values():
            assert np.asarray(array).nbytes <= 2 * os.path.getsize(path)  # bfloat16 becomes float32


def checkpoint(data):
    """A checkpoint, a JSON file beside one, or a batch of CIFAR-10; the first byte says what."""
    kinds = [*CHECKPOINTS, *BESIDE, "cifar"]
    kind, data = kinds[data[0] % len(kinds)] if data else kinds[0], data[1:]
    if kind == "cifar":
        (FOLDER / "data_batch_1").write_bytes(data)
        with refusing(FOLDER):
            Cifar10(FOLDER)
        return
    suffix, made = CHECKPOINTS.get(kind, (".safetensors", lambda data: small_safetensors()))
    path = FOLDER / f"model{suffix}"
    path.write_bytes(made(data))
    for name in BESIDE:
        (FOLDER / name).unlink(missing_ok=True)
    if kind in BESIDE:
        (FOLDER / kind).write_bytes(data)
    with refusing(FOLDER):
        read_checkpoint(str(path))


@mock.patch.object(Image, "MAX_IMAGE_PIXELS", 2**18)  # as the real limit, only sooner
def image(data):
    """An image file: what is passed to MindSpore's Decode is decoded, to the size that a person sees."""
    path = FOLDER / "image"
    path.write_bytes(data)
    with refusing(path):
        decoded = vision.Decode()(read_image(path))
        assert decoded.dtype == np.uint8 and decoded.ndim == 3 and decoded.shape[2] == 3
        seen = open_rgb(path)
        assert seen.size == decoded.shape[1::-1], (seen.size, decoded.shape)
    for opening in ("turned", "plain"):
        with refusing(path):
            assert open_rgb(path, opening).mode == "RGB"


def nothing(job):
    """In the place of what a command does with its job."""
    return []


@contextlib.contextmanager
def commands():
    """Leaves of the commands what comes before their work; libFuzzer's alarm would be taken for Ctrl-C."""
    with contextlib.ExitStack() as stack:
        for place, name, new in ((cli.loop, "train", nothing), (cli.loop, "show_batch", nothing),
                                 (cli.evaluation, "evaluate", nothing), (cli.prediction, "predict", nothing),
                                 (cli, "stoppable", contextlib.nullcontext), (cli, "build_parser", build_parser)):
            stack.enter_context(mock.patch.object(place, name, new))
        stack.enter_context(warnings.catch_warnings())
        yield


def config(data):
    """A configuration alone, one of a command, or a command's flags, one a line; the first byte says what."""
    kind, path = data[:1].hex()[-1:], FOLDER / "job.yaml"
    path.write_bytes(data[1:])
    if kind not in ("1", "2"):
        with refusing(path):
            read_settings(path)
        return
    command = ("train", "eval", "predict", "show-batch")[len(data) % 4]
    words = data[1:].decode(errors="surrogateescape").split("\n") if kind == "1" else ["--config", str(path)]
    memory_at_first()
    said, errors = io.StringIO(), io.StringIO()
    with commands(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            status = cli.main([command, *words])
        except SystemExit as done:  # --help, --print_config
            status = done.code
    check_memory()
    lines = errors.getvalue().splitlines()
    assert (status, len(lines)) in ((0, 0), (2, 1)), (status, lines)
    assert not lines or lines[0].startswith(f"mindvit {command}: "), lines
