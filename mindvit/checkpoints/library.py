"""The form that each file in libraries/ fills: all that is particular to the checkpoints of one library."""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

from mindvit.checkpoints.formats.stored import readable
from mindvit.models.variants import VARIANTS
from mindvit.preprocessing import Preprocessing

LONGEST_JSON = 3_000_000  # bytes; Python needs twenty times as many to read it
PAIR = ("weight", "bias")
NORMS = ("patch_embedding.norm1.{p}", "patch_embedding.norm2.{p}",
         "transformer.layers.{i}.0.cell.0.{p}", "transformer.layers.{i}.1.cell.0.{p}", "norm.{p}")
# Heads of the public ViTs by width; from 1152 on: Zhai et al., "Scaling Vision Transformers", 2022, and so400m.
USUAL_HEADS = {variant.embed_dim: variant.num_heads for variant in VARIANTS.values()} | {
    1152: 16, 1408: 16, 1536: 16, 1664: 16}
INCEPTION: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def as_stored(shapes, patch_size, input_channels):
    """The usual `layout`: arrays lie in the file as in mindvit."""
    return lambda name, array: array


def public_heads(embed_dim, width):
    """The usual `usual_heads`: the public ViTs'."""
    return USUAL_HEADS.get(embed_dim) if width == embed_dim else None, f"usual for width {embed_dim}"


def unknown_preparation(path, image_size, deit):
    """The usual `preparation`."""
    return Preprocessing(), ("mindvit's own, as nothing tells the library's; from_checkpoint(path, preprocessing=...) "
                             "takes what the weights were trained with")


@dataclasses.dataclass(frozen=True)
class Writing:
    """How mindvit writes the files of a library whose arrays lie as here; `arguments` are the network's."""

    suffix: str
    # (arguments) -> {what its own ViT cannot compute, in words: whether the network has it}
    cannot_hold: Callable
    advice: str = "choose another format"
    name: Callable = lambda name, arguments: name  # the name in the file of a parameter that has this one in `names`
    fixed_epsilon: float | None = None  # the one of all its norms, where it has no place for another
    files_beside: Callable | None = None  # (network) -> {file name: JSON content}, what it reads beside the weights
    prepares: Callable | None = None  # (preprocessing, image_size) -> the Preprocessing that it does after these files
    marked: bool = False  # a file may note, as one more array, what names and shapes do not tell


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """What is particular to the checkpoints of one library; what a file here leaves out is as usual.

    In `names`, {i} is a block's number, {p} stands for `norm_words` or `other_words`, {qkv} for the words of `qkv`.

    Example:
        >>> from mindvit.checkpoints.libraries import LIBRARIES
        >>> LIBRARIES["google"].foreign_names("norm.gamma")
        ['Transformer/encoder_norm/scale']
    """

    name: str
    rank: int = 99  # of the libraries that know equally many names of a file, the first is taken

    # names
    names: dict = dataclasses.field(default_factory=dict)  # mindvit's name -> the library's; none for mindvit's own
    norm_words: tuple = PAIR
    other_words: tuple = PAIR
    qkv: tuple = ()
    # Other spellings, brought to those of `names` by these substitutions in this order. A third entry says which name
    # in the file makes the substitution void.
    spellings: tuple = ()
    respelled: str = ""  # the library that a file with such spellings comes from, where it is another
    deit_names: tuple = ()  # how the names of a DeiT begin, where that says it
    training_state: bool = False  # MindSpore's optimizers store theirs in the same file

    # layout
    dimensions: dict = dataclasses.field(default_factory=dict)  # end of mindvit's name -> the numbers of dimensions
    # ({mindvit's name: shape in the file}, patch_size and input_channels given) -> ((mindvit's name, array) -> array)
    layout: Callable = as_stored
    absent_if_empty: tuple = ()  # an array of length 0 says that there is none
    heads_axis: int | None = None  # the axis of the query's weight that runs over the heads
    norms_after_pool: tuple = ()  # how its name of the last norm begins where that stands after pooling
    one_head_unprojected: bool = False  # attention of one head of full width has no output projection
    positions_of_patches: bool = False  # other tokens may have no entries in the position embedding

    # what the network computes
    activation: str = "gelu"
    norm_eps: float = 1e-6
    usual_heads: Callable = public_heads  # (embed_dim, width of all heads) -> (number or None, reason)
    # (checkpoint, config.json beside it) -> ({ViT's argument: value}, class names)
    told_by_config: Callable | None = None
    told_by_path: Callable = lambda path: ()  # the (ViT's argument, value, reason) that a file's name tells
    remarks: Callable = lambda checkpoint: {}  # {what else is assumed: reason}
    assume_pool: Callable = lambda checkpoint, description, pool: None  # before the usual

    # (path, image_size, whether it is a DeiT) -> (Preprocessing, its reason or "" where a file told it)
    preparation: Callable = unknown_preparation
    writing: Writing | None = None

    @functools.cached_property
    def templates(self):
        """{its name with {i}: (mindvit's name with {i}, 0 or which of query, key and value, how many)}."""
        result = {}
        for native, foreign in self.names.items():
            is_norm = native in NORMS
            parts = self.qkv if "{qkv}" in foreign else [""]
            for native_p, foreign_p in zip(("gamma", "beta") if is_norm else PAIR,
                                           self.norm_words if is_norm else self.other_words):
                for k, part in enumerate(parts):
                    name = foreign.replace("{qkv}", part).replace("{p}", foreign_p)
                    result[name] = native.replace("{p}", native_p), k, len(parts)
        return result

    def spell(self, name, names=()):
        """The name in the spelling of `names` of the library; `names` are all names of the file."""
        for pattern, replacement, *unless in self.spellings:
            if not unless or unless[0] not in names:
                name = re.sub(pattern, replacement, name)
        return name

    def translate(self, names):
        """({mindvit's name: [names in the file]}, names that the library does not know).

        Raises:
            ValueError: two names of the file mean the same parameter, or one of query, key and value lacks.
        """
        known, names = self.templates, dict.fromkeys(names)
        sources, unknown = {}, []
        for name in names:
            spelled = self.spell(name, names)
            block = re.search(r"(?<=[._])(0|[1-9][0-9]*)(?=[./])", spelled)
            template = spelled[:block.start()] + "{i}" + spelled[block.end():] if block else spelled
            if template not in known and spelled in known:
                template = spelled
            if template not in known:
                unknown.append(name)
                continue
            native, k, count = known[template]
            if block and "{i}" in native:
                native = native.replace("{i}", block.group())
            parts = sources.setdefault(native, [None] * count)
            if parts[k] is not None:
                raise ValueError(f"{parts[k]} and {name} are the same parameter")
            parts[k] = name
        for native, parts in sources.items():
            if None in parts:
                raise ValueError(f"{parts} hold only a part of {native}")
        return sources, unknown

    def foreign_names(self, native):
        """Its names (one, or three for query, key and value) of a parameter of mindvit; [] if it has none."""
        if not self.names:
            return [native]
        block = re.search(r"(?<=^transformer\.layers\.)[0-9]+", native)
        template = native[:block.start()] + "{i}" + native[block.end():] if block else native
        return [name.replace("{i}", block.group()) if block else name
                for name, (known, _, _) in self.templates.items() if known == template]

    def check_dimensions(self, name, shape):
        """ValueError unless the shape has as many dimensions as the parameter, none of them 0."""
        usual = 4 if name == "patch_embedding.conv.weight" else 3 if name in ("cls", "dist", "pos_embedding") else \
            2 if name.endswith(".weight") else 1
        expected = next((numbers for end, numbers in self.dimensions.items() if name.endswith(end)), (usual,))
        if len(shape) not in expected or 0 in shape:
            needed = len(shape) if len(shape) in expected else expected[0]
            raise ValueError(f"{name} has shape {tuple(shape)}; it needs {needed} dimensions of at least 1")

    def prepared(self, path, image_size, deit=False):
        """The Preprocessing that belongs to the weights in a file.

        Args:
            path (str): the file; other files of the library beside it are read.
            image_size (int or (int, int)): pixels of the network's images.
            deit (bool): the file holds a DeiT, as far as one can see.

        Returns:
            (Preprocessing, list[str]): the second says what was taken although no file told it, and why.

        Raises:
            ValueError: a file beside it names something that is not known here, or is damaged.
        """
        found, reason = self.preparation(path, image_size, deit)
        return found, [f"preprocessing {found.describe(image_size)}; {reason}"] if reason else []


def beside(path, name):
    """The JSON object in the file `name` beside the checkpoint, {} without one."""
    path = pathlib.Path(path).with_name(name)
    if not path.exists():
        return {}
    with readable(path):
        if (size := path.stat().st_size) > LONGEST_JSON:
            raise ValueError(f"it has {size:,} bytes, more than the {LONGEST_JSON:,} that are read")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content


def worded(arguments, name):
    """An argument of a network as the user writes it."""
    return f"{name}={arguments[name]!r}"


def unnamed(arguments):
    """What no file can say, as `Writing.cannot_hold` returns it."""
    return {"an activation without a name": arguments["activation"] is None,
            "a norm other than LayerNorm": arguments["norm"] is None}


def only_here(arguments):
    """What networks of mindvit may have and those of the libraries that it writes for have not."""
    a = arguments
    return {**unnamed(a), "no norms": a["norm"] == "none", worded(a, "patch_norm"): a["patch_norm"],
            worded(a, "out_projection"): not a["out_projection"],
            f"{a['num_heads']} heads of {worded(a, 'head_dim')}, which do not make embed_dim {a['embed_dim']}":
                a["num_heads"] * a["head_dim"] != a["embed_dim"]}


def one_or_both(size):
    """A number for a square, else the list [height, width]."""
    return size[0] if size[0] == size[1] else list(size)
