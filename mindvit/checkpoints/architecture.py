"""What a checkpoint tells of its network by shapes, mindvit's notes and config.json beside it; the rest is assumed."""

import dataclasses
import math

from mindvit.checkpoints.checkpoint import BLOCK
from mindvit.checkpoints.formats.stored import listed
from mindvit.checkpoints.library import beside
from mindvit.checkpoints.resize import square
from mindvit.models.layers import pair

MOST_LAYERS = 1000


@dataclasses.dataclass
class Description:
    """A checkpoint's network: `arguments` of ViT, and for those that the file did not tell the reason in `assumed`."""

    arguments: dict
    assumed: dict
    class_names: list | None = None

    def assume(self, name, value, reason):
        if name not in self.arguments and value is not None:
            self.arguments[name], self.assumed[name] = value, reason


def told_by_shapes(checkpoint):
    """ViT's arguments that the file's names and shapes tell.

    Raises:
        ValueError: a part that every ViT has is absent, or the blocks are not alike.
    """
    arrays, library = checkpoint.arrays, checkpoint.library

    def shape(name):
        if name not in arrays:
            wanted = library.foreign_names(name) or [name]
            found = [name for names in checkpoint.sources.values() for name in names] + checkpoint.unknown
            raise ValueError(f"it has no {wanted[0]}; it is not a whole Vision Transformer. It has {listed(found)}")
        return arrays[name].shape

    embed_dim, input_channels, *patch_size = shape("patch_embedding.conv.weight")
    shape(BLOCK + "0.cell.1.qkv.weight")
    width = checkpoint.attention_width()
    projected = BLOCK + "0.cell.1.out.weight" in arrays
    if not projected and "arguments" not in checkpoint.marks and (
            not library.one_head_unprojected or width != embed_dim):
        shape(BLOCK + "0.cell.1.out.weight")
    hidden = shape(BLOCK + "1.cell.1.dense1.weight")[0]
    has_head = bool(arrays.keys() & {"dense.weight", "dense.bias"})
    told = {"patch_size": tuple(patch_size), "input_channels": input_channels, "embed_dim": embed_dim,
            "num_layers": count_blocks(arrays), "mlp_dim": hidden, "qkv_bias": BLOCK + "0.cell.1.qkv.bias" in arrays,
            "num_classes": shape("dense.weight")[0] if has_head else 0, "class_token": "cls" in arrays,
            "distilled": "dist" in arrays, "representation_size": None, "out_projection": projected,
            "patch_norm": "patch_embedding.norm1.gamma" in arrays}
    if library.one_head_unprojected and not projected:
        told["num_heads"] = 1
    if "representation.weight" in arrays:
        told["representation_size"] = shape("representation.weight")[0]
    if "dist" in arrays:
        told["distillation_head"] = "dense_dist.weight" in arrays or not (has_head or told["representation_size"])
    if checkpoint.num_heads:
        told["num_heads"] = checkpoint.num_heads
    if width != embed_dim and checkpoint.num_heads:
        told["head_dim"] = width // checkpoint.num_heads
    return told


def count_blocks(arrays):
    """The number of blocks, each with the same parameters of the same shapes.

    Raises:
        ValueError: they are not alike, or more than MOST_LAYERS.
    """
    blocks = {}
    for name, array in arrays.items():
        if name.startswith("transformer.layers."):
            _, _, number, rest = name.split(".", 3)
            blocks.setdefault(int(number), {})[rest] = tuple(array.shape)
    if blocks.keys() != set(range(len(blocks))):
        raise ValueError(f"its blocks are numbered {listed(map(str, sorted(blocks)))}; some lack")
    if len(blocks) > MOST_LAYERS:
        raise ValueError(f"it claims {len(blocks)} blocks; more than {MOST_LAYERS} are not built")
    for number, block in blocks.items():
        for rest in sorted(block.keys() | blocks[0].keys()):
            if block.get(rest) != blocks[0].get(rest):
                here, first = (f"{shapes[rest]}" if rest in shapes else "absent" for shapes in (block, blocks[0]))
                raise ValueError(f"its blocks differ: transformer.layers.{number}.{rest} is {here}, and {first} in "
                                 "the first")
    return len(blocks)


def told_by_marks(checkpoint, shapes):
    """ViT's arguments that `save_weights` noted in the file.

    Raises:
        ValueError: they contradict the shapes, of which nothing larger than the file can be made.
    """
    noted = {name: tuple(value) if isinstance(value, list) else value
             for name, value in checkpoint.marks["arguments"].items()}
    for name, value in shapes.items():
        if noted.get(name, value) != value:
            raise ValueError(f"its entry 'mindvit' says {name} {str(noted[name])[:40]}, its shapes say {value}")
    if ("pos_embedding" in checkpoint.arrays) != (noted.get("pos_embedding") != "none"):
        raise ValueError(f"its entry 'mindvit' says pos_embedding {str(noted.get('pos_embedding'))[:40]!r}, its arrays "
                         f"are {'with' if 'pos_embedding' in checkpoint.arrays else 'without'} one")
    width = checkpoint.attention_width()
    heads, head_dim = noted.get("num_heads"), noted.get("head_dim")
    # a text or list times a number would be as long as the number says
    if not (isinstance(heads, int) and isinstance(head_dim, int) and heads * head_dim == width):
        raise ValueError(f"its entry 'mindvit' says {str(heads)[:40]} heads of {str(head_dim)[:40]}, its shapes say "
                         f"{width} in all")
    checkpoint.check_grid(noted.get("image_size"), "its entry 'mindvit'")
    return noted


def describe(checkpoint, path, image_size=None, pool=None):
    """The Description of a Checkpoint at `path`.

    Args:
        checkpoint (Checkpoint): the open file.
        path (str): where it lies; its library's config.json is looked for beside it.
        image_size (int or (int, int), optional): the image size that the user gives.
        pool (str, optional): the pooling that the user gives.
    """
    result = Description(told_by_shapes(checkpoint), {})
    arguments = result.arguments
    if "arguments" in checkpoint.marks:
        arguments.update(told_by_marks(checkpoint, arguments))
        result.class_names = checkpoint.marks.get("class_names")
        return result
    library = checkpoint.library
    config = beside(path, "config.json") if library.told_by_config else {}
    told, result.class_names = library.told_by_config(checkpoint, config) if config else ({}, None)
    if not told:
        for argument, value, reason in library.told_by_path(path):
            result.assume(argument, value, reason)
        result.assumed["norm placement"] = "before attention and MLP, as in the paper"
    arguments.update(told)

    if "pos_embedding" in checkpoint.arrays:
        given = image_size or arguments.pop("image_size", None)
        grid = checkpoint.patch_grid(given)
        patches = checkpoint.arrays["pos_embedding"].shape[1] - checkpoint.prefix()
        if checkpoint.zero_positions(grid):
            patches += checkpoint.prefix()
            result.assumed["position embedding"] = "the class token has none (timm's no_embed_class)"
        if grid and math.prod(grid) == patches:
            arguments["image_size"] = tuple(map(math.prod, zip(grid, arguments["patch_size"])))
            if pair(given, "image_size") != arguments["image_size"]:
                result.assumed["image_size"] = f"the whole patches of {given}; {library.name} cuts the rest off"
        elif found := square(patches):
            result.assume("image_size", tuple(map(math.prod, zip(found, arguments["patch_size"]))),
                          f"its {patches} patches as a square")
    else:
        arguments["pos_embedding"] = "none"
    assume_the_rest(checkpoint, result, pool)
    return result


def assume_the_rest(checkpoint, result, pool):
    """Fills what neither shapes nor a config told with the usual, and notes the reason."""
    arguments, library = result.arguments, checkpoint.library
    result.assume("num_heads", *library.usual_heads(arguments["embed_dim"], checkpoint.attention_width()))
    result.assumed.update(library.remarks(checkpoint))
    result.assume("activation", library.activation, f"usual in files of {library.name}")
    result.assume("norm_eps", library.norm_eps, f"usual in files of {library.name}")
    library.assume_pool(checkpoint, result, pool)
    if checkpoint.norm_after_pool():
        result.assume("pool", "mean", "timm's fc_norm goes with it")
        result.assume("norm_after_pool", True, "the norm is called fc_norm")
    elif arguments["class_token"]:
        result.assume("pool", "cls", "the file has a class token")
    else:
        result.assume("pool", "mean", "the file has no class token")
