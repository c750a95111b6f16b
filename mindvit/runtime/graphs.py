"""Keeps compiled graphs for later processes, each in a file named by a hash of everything that shapes the graph.

MindSpore's compile cache by itself notices a changed script only: with another depth, image size or option it runs the
graph that is there. Here the name of the file holds the network's cells with all their attributes, the shapes and types
of parameters and inputs, MindSpore's settings and version, and the code of mindvit.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import re
import sys
import tempfile
import warnings
from typing import TypeVar

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvit.files import replacing

AnyCell = TypeVar("AnyCell", bound=nn.Cell)
SETTINGS = ("mode", "device_target", "jit_level", "jit_syntax_level", "enable_graph_kernel", "graph_kernel_flags",
            "deterministic", "max_call_depth")
PACKAGES = ("mindspore", "mindvit")
CACHE_WARNING = re.compile(rb"\[WARNING\] PIPELINE.*(CompileCache|compile_cache|compilation cache)")
# of what every Cell holds, that which shapes its graph; the rest are the process's ids and caches
CELL_STATE = {"_cells", "_params", "_phase", "training", "requires_grad", "_amp_level", "_jit_config_dict",
              "_recompute_cell"}
HOOKS = {name for name in vars(nn.Cell()) if "hook" in name}  # None or empty unless somebody registered one
FORGOTTEN = {*vars(nn.Cell()), "_cell_init_args", "compile", "current_phase", "compile_phase"} - CELL_STATE - HOOKS


class Unknown(Exception):
    """A value whose effect on a graph cannot be described."""


def folder():
    """Where the graphs are: `mindvit/graphs` in the user's cache folder; it can be deleted at any time."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mindvit" / "graphs"


@functools.cache
def source_hash():
    """Hash of mindvit's own code."""
    files = sorted(pathlib.Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def describe(value):
    """A value as text that differs wherever the graph made from it does.

    Raises:
        Unknown: something in it is of a class that is neither Python's, numpy's, MindSpore's nor mindvit's.
    """
    seen = {}  # id -> (number, value); kept, because the id of a value that is gone goes to another

    def text(value):
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic, type, ms.Type)):
            return repr(value)
        if id(value) in seen:
            return f"#{seen[id(value)][0]}"
        seen[id(value)] = len(seen), value
        if isinstance(value, ms.Parameter):
            return f"{value.name} {value.shape} {value.dtype} {value.requires_grad}"
        if isinstance(value, (ms.Tensor, np.ndarray)):
            return f"{value.shape} {value.dtype} {hashlib.sha256(np.asarray(value).tobytes()).hexdigest()}"
        if isinstance(value, (tuple, list)):
            return f"{type(value).__name__}({', '.join(map(text, value))})"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{text(name)}: {text(item)}' for name, item in value.items())}}}"
        named = hasattr(value, "__qualname__")  # a function; else an object
        owner = value if named else type(value)
        closure = named and "<locals>" in owner.__qualname__
        if owner.__module__.split(".")[0] not in PACKAGES or closure or not hasattr(value, "__dict__"):
            raise Unknown(f"{owner.__module__}.{owner.__qualname__}")
        state = {} if named else {name: item for name, item in vars(value).items()
                                  if name not in FORGOTTEN and (item or name not in HOOKS)}
        return f"{owner.__module__}.{owner.__qualname__}{text(state)}"

    return text(value)


def key(cell, inputs):
    """The name under which the graph of a cell called with these inputs is kept.

    Raises:
        Unknown: see `describe`.
    """
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("MS_"))
    facts = [ms.__version__, platform.platform(), platform.python_version(), source_hash(), variables,
             [ms.get_context(name) for name in SETTINGS], signature(cell, inputs), describe(cell)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def signature(cell, inputs):
    """What tells the graphs of one cell apart: its phase, and shapes and types of the inputs."""
    return cell.phase, [(value.shape, str(value.dtype)) if isinstance(value, ms.Tensor) else value for value in inputs]


def file_name(name, graph):
    """Where a graph (bytes) is kept: the name, and a hash of the graph that shows damage."""
    return f"{name}.{hashlib.sha256(graph).hexdigest()[:16]}.mindir"


def kept(name):
    """The graph that is kept under a name, as bytes, or None."""
    for file in folder().glob(f"{name}.*.mindir"):
        graph = file.read_bytes()
        if file.name == file_name(name, graph):
            return graph
    return None


@contextlib.contextmanager
def without_cache_warnings():
    """Keeps from standard error the lines in which MindSpore, at each graph, warns of its compile cache.

    Its log level is settled when it is imported, so the file descriptor is caught; every other line is written when
    the block ends.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if not CACHE_WARNING.match(line):
                    os.write(2, line)


class Shelf:
    """MindSpore's cache folder of this process, in which at most one graph lies: the one to be compiled next.

    MindSpore settles on one folder for each process and numbers its files by the order of compilation.
    """

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mindvit-graphs-")
        self.graphs = 0
        self.lost = False  # after a failed compilation nobody knows which number comes next

    @contextlib.contextmanager
    def holding(self, name):
        """Compilation in this context takes the graph kept under the name, or keeps it."""
        path = pathlib.Path(self.folder.name, "rank_0", "graph_cache", f"compile_cache_{self.graphs}.mindir")
        path.parent.mkdir(parents=True, exist_ok=True)
        graph = kept(name)
        if graph:
            path.write_bytes(graph)
        variables = {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": self.folder.name,
                     "MS_DEV_FORCE_USE_COMPILE_CACHE": "1"}  # the name says what the graph was made from
        os.environ.update(variables)
        self.lost = True
        try:
            with without_cache_warnings():
                yield
        finally:
            for variable in variables:
                del os.environ[variable]
        if path.exists():
            self.lost, self.graphs = False, self.graphs + 1
            compiled = path.read_bytes()
            path.unlink()
            if compiled != graph:
                with replacing(folder() / file_name(name, compiled)) as file:
                    file.write_bytes(compiled)


@functools.cache
def shelf():
    return Shelf()


def keep_graphs(cell: AnyCell) -> AnyCell:
    """Lets a cell take its graphs from the user's cache folder when an earlier process compiled the same.

    MindSpore's own warnings of its compile cache do not appear while such a graph is made.
    A graph of cells that are not MindSpore's or mindvit's is compiled as ever, because what shapes it is not known, and
    so is every graph where the environment variable MS_COMPILER_CACHE_ENABLE is set: then MindSpore's cache is yours.

    Args:
        cell (nn.Cell): a network, or what `mindspore.train.Model` makes of one.

    Returns:
        The cell.

    Example:
        >>> network = keep_graphs(create_model("vit_t_16"))
    """
    compile_cell, compiled = cell.compile, []

    def compile_or_take(*inputs, **words):
        new = signature(cell, inputs)
        if new in compiled or words or shelf().lost or "MS_COMPILER_CACHE_ENABLE" in os.environ:
            return compile_cell(*inputs, **words)
        compiled.append(new)
        try:
            with shelf().holding(key(cell, inputs)):
                return compile_cell(*inputs)
        except Unknown:
            pass
        except (OSError, SyntaxError, UnicodeError, ImportError) as error:
            warnings.warn(f"this compiled graph is not kept for later processes: {error} (MindSpore reads the script "
                          "that runs, and `python -c` and `python -m` have none)", stacklevel=2)
        return compile_cell(*inputs)

    cell.compile = compile_or_take
    return cell
