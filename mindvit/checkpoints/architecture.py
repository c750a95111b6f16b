"""What a checkpoint tells of its network by shapes, mindvit's notes and config.json beside it; the rest is assumed."""

import dataclasses
import math

from mindvit.checkpoints.formats.stored import listed
from mindvit.checkpoints.load import BLOCK, patch_grid, zero_positions
from mindvit.checkpoints.names import foreign_names
from mindvit.checkpoints.preparation import beside, timm_names
from mindvit.checkpoints.resize import square
from mindvit.models.layers import ACTIVATIONS, pair
from mindvit.models.variants import VARIANTS

MOST_LAYERS = 1000
# Heads of the public ViTs by width; from 1152 on: Zhai et al., "Scaling Vision Transformers", 2022, and so400m.
USUAL_HEADS = {variant.embed_dim: variant.num_heads for variant in VARIANTS.values()} | {
    1152: 16, 1408: 16, 1536: 16, 1664: 16}
# Activation and epsilon of each library's ViT, for a file that says neither.
USUAL = {"mindspore": ("gelu_tanh", 1e-7), "suite": ("gelu_tanh", 1e-7), "mindcv": ("gelu_tanh", 1e-7),
         "timm": ("gelu", 1e-6), "huggingface": ("gelu", 1e-12), "torchvision": ("gelu", 1e-6),
         "google": ("gelu", 1e-6), "vit_pytorch": ("gelu", 1e-5)}
VIT_PYTORCH_HEAD = 64  # its dim_head, unless one gives another

# transformers' names of activations that ViT has, the first of each being written; others are refused by name.
HUGGING_FACE_ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh",
    "quick_gelu": "quick_gelu", "relu": "relu"}
HUGGING_FACE_MODELS = ("vit", "deit", "vit_msn")

# What timm's entry points set and neither shapes nor config.json tell (timm 1.0.31, vision_transformer.py); a sentence
# refuses the architecture.
TIMM_ARCHITECTURES = {
    "test_vit": {"num_heads": 2},
    "vit_base_patch16_gap_224": {"num_heads": 16},
    "vit_base_patch16_rpn_224": "its norms stand after attention and MLP, under the names of those before",
    **dict.fromkeys(("vit_base_patch32_siglip_gap_256", "vit_giantopt_patch16_siglip_gap_256",
                     "vit_giantopt_patch16_siglip_gap_384", "vit_large_patch16_siglip_gap_512",
                     "vit_so400m_patch16_siglip_gap_256", "vit_so400m_patch16_siglip_gap_384",
                     "vit_so400m_patch16_siglip_gap_512"), {"activation": "gelu_tanh"})}
# timm's model_args: those that the shapes tell or that act in training only, and those that are read.
TIMM_TOLD_BY_SHAPES = {"patch_size", "in_chans", "embed_dim", "depth", "mlp_ratio", "qkv_bias", "class_token",
                       "no_embed_class", "pos_embed", "num_classes", "dynamic_img_pad",
                       "strict_img_size", "weight_init", "fix_init", "drop_rate", "pos_drop_rate",
                       "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "distilled_training"}
TIMM_READ = {"num_heads", "img_size", "global_pool", "fc_norm", "act_layer", "norm_layer", "dynamic_img_size",
             "pool_include_prefix"}
TIMM_NEUTRAL = {"proj_bias": True, "final_norm": True}  # any other argument must be None or False
TIMM_POOLS = {"token": "cls", "avg": "mean"}


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
    arrays = checkpoint.arrays

    def shape(name):
        if name not in arrays:
            library = "mindspore" if checkpoint.library == "suite" else checkpoint.library
            wanted = foreign_names(name, library) or [name]
            found = [name for names in checkpoint.sources.values() for name in names] + checkpoint.unknown
            raise ValueError(f"it has no {wanted[0]}; it is not a whole Vision Transformer. It has {listed(found)}")
        return arrays[name].shape

    embed_dim, input_channels, *patch_size = shape("patch_embedding.conv.weight")
    shape(BLOCK + "0.cell.1.qkv.weight")
    width = checkpoint.attention_width()
    projected = BLOCK + "0.cell.1.out.weight" in arrays
    if not projected and "arguments" not in checkpoint.marks and (
            checkpoint.library != "vit_pytorch" or width != embed_dim):  # it leaves one head of full width as it is
        shape(BLOCK + "0.cell.1.out.weight")
    hidden = shape(BLOCK + "1.cell.1.dense1.weight")[0]
    has_head = bool(arrays.keys() & {"dense.weight", "dense.bias"})
    told = {"patch_size": tuple(patch_size), "input_channels": input_channels, "embed_dim": embed_dim,
            "num_layers": count_blocks(arrays), "mlp_dim": hidden, "qkv_bias": BLOCK + "0.cell.1.qkv.bias" in arrays,
            "num_classes": shape("dense.weight")[0] if has_head else 0, "class_token": "cls" in arrays,
            "distilled": "dist" in arrays, "representation_size": None, "out_projection": projected,
            "patch_norm": "patch_embedding.norm1.gamma" in arrays}
    if checkpoint.library == "vit_pytorch" and not projected:
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
    check_grid(checkpoint, noted.get("image_size"), "its entry 'mindvit'")
    return noted


def check_grid(checkpoint, image_size, source):
    """ValueError unless the image size gives as many patches as the position embedding has entries for."""
    height, width = pair(image_size, f"image_size of {source}")
    rows, columns = patch_grid(checkpoint, (height, width))
    if "pos_embedding" not in checkpoint.arrays:
        if max(height, width) > 65535:
            raise ValueError(f"{source} says image_size {image_size}; images have at most 65,535 pixels a side")
        return
    patches = checkpoint.arrays["pos_embedding"].shape[1] - checkpoint.prefix()
    if rows * columns != patches:
        raise ValueError(f"{source} says image_size {image_size}, that is {rows} x {columns} patches, and the position "
                         f"embedding has {patches}")


def told_by_hugging_face(checkpoint, config):
    """(ViT's arguments, class names) in Hugging Face's `config.json`.

    Raises:
        ValueError: it names something that ViT has not, with that word.
    """
    if config.get("model_type", "vit") not in HUGGING_FACE_MODELS:
        raise ValueError(f"config.json beside it has model_type {config['model_type']!r}; known are "
                         f"{', '.join(HUGGING_FACE_MODELS)}")
    if config.get("pooler_act", "tanh") != "tanh" and "representation.weight" in checkpoint.arrays:
        raise ValueError(f"config.json beside it has pooler_act {config['pooler_act']!r}; known is tanh")
    told = {"pool": "cls", "norm_after_pool": False}
    if "hidden_act" in config:
        if config["hidden_act"] not in HUGGING_FACE_ACTIVATIONS:
            raise ValueError(f"config.json beside it has hidden_act {config['hidden_act']!r}; known are "
                             f"{', '.join(HUGGING_FACE_ACTIVATIONS)}")
        told["activation"] = HUGGING_FACE_ACTIVATIONS[config["hidden_act"]]
    names = {"layer_norm_eps": "norm_eps", "num_attention_heads": "num_heads", "image_size": "image_size"}
    told.update((names[name], tuple(value) if isinstance(value, list) else value)
                for name, value in config.items() if name in names)
    if "image_size" in told:
        check_grid(checkpoint, told["image_size"], "config.json beside it")
    labels = config.get("id2label") or {}
    names = [labels.get(str(index)) for index in range(len(labels))]
    return told, None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def architecture_arguments(architecture):
    """ViT's arguments that a timm architecture has otherwise than usual.

    Raises:
        ValueError: it is known to compute what ViT does not.
    """
    arguments = TIMM_ARCHITECTURES.get(architecture, {})
    if isinstance(arguments, str):
        raise ValueError(f"timm's {architecture} is not built here: {arguments}")
    return arguments


def told_by_timm(checkpoint, config):
    """(ViT's arguments, class names) in timm's `config.json`.

    Raises:
        ValueError: it names something that ViT has not, with that word.
    """
    architecture, pretrained = config["architecture"], config.get("pretrained_cfg") or {}
    arguments = config.get("model_args") or {}
    for name, value in arguments.items():
        if name not in TIMM_TOLD_BY_SHAPES | TIMM_READ and value not in (None, TIMM_NEUTRAL.get(name, False)):
            raise ValueError(f"config.json beside it has model_args {name} {value!r}, which mindvit's ViT has not")
    told = {"activation": "gelu", "norm_eps": USUAL["timm"][1], **architecture_arguments(architecture),
            "dynamic_image_size": bool(arguments.get("dynamic_img_size"))}
    if (activation := arguments.get("act_layer")) is not None:
        if activation not in ACTIVATIONS:  # mindvit has timm's names
            raise ValueError(f"config.json beside it has act_layer {activation!r}; known are {', '.join(ACTIVATIONS)}")
        told["activation"] = activation
    if arguments.get("norm_layer") not in (None, "layernorm"):
        raise ValueError(f"config.json beside it has norm_layer {arguments['norm_layer']!r}; known is layernorm")
    pool = arguments.get("global_pool") or config.get("global_pool") or pretrained.get("global_pool")
    pool = pool or ("token" if "cls" in checkpoint.arrays else "avg")
    if pool not in TIMM_POOLS or "dist" in checkpoint.arrays and pool != "token":
        raise ValueError(f"config.json beside it has global_pool {pool!r}; known are {', '.join(TIMM_POOLS)}"
                         f"{', with a distillation token token only' if 'dist' in checkpoint.arrays else ''}")
    # With the class token alone, the norm before and after pooling are the same.
    told |= {"pool": "mean_all" if pool == "avg" and arguments.get("pool_include_prefix") else TIMM_POOLS[pool],
             "norm_after_pool": pool == "avg" and checkpoint.norm_after_pool()}
    if arguments.get("num_heads") is not None:
        told["num_heads"] = arguments["num_heads"]
    elif "num_heads" not in told and architecture.startswith(("vit_", "deit_", "eva_", "flexivit_")):
        width = checkpoint.arrays["patch_embedding.conv.weight"].shape[0]
        if width in USUAL_HEADS:  # those of the architecture
            told["num_heads"] = USUAL_HEADS[width]
    size = arguments.get("img_size") or (pretrained.get("input_size") or [])[1:]
    if size:
        told["image_size"] = pair(tuple(size) if isinstance(size, list) else size, "img_size of config.json beside it")
    return told, class_names_of_timm(config)


def class_names_of_timm(config):
    """The class names in timm's `config.json`, the description before the label where there is one; None without."""
    pretrained = config.get("pretrained_cfg") or {}
    labels = config.get("label_names") or pretrained.get("label_names")
    if not isinstance(labels, list):
        return None
    descriptions = config.get("label_descriptions") or pretrained.get("label_descriptions") or {}
    return [str(descriptions.get(label, label)) for label in labels]


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
        return result
    library = checkpoint.library
    config = beside(path, "config.json") if library in ("timm", "huggingface") else {}
    if library == "timm" and "architecture" in config:
        told, result.class_names = told_by_timm(checkpoint, config)
    elif library == "huggingface" and config:
        told, result.class_names = told_by_hugging_face(checkpoint, config)
    else:
        told = {}
        for name in (name.split(".")[0] for name in timm_names(path) if library == "timm"):
            for argument, value in architecture_arguments(name).items():
                result.assume(argument, value, f"as in timm's {name}, after which the file is named")
        result.assumed["norm placement"] = "before attention and MLP, as in the paper"
    arguments.update(told)

    if "pos_embedding" in checkpoint.arrays:
        given = image_size or arguments.pop("image_size", None)
        grid = patch_grid(checkpoint, given)
        patches = checkpoint.arrays["pos_embedding"].shape[1] - checkpoint.prefix()
        if zero_positions(checkpoint, grid):
            patches += checkpoint.prefix()
            result.assumed["position embedding"] = "the class token has none, as their number says"
        if grid and math.prod(grid) == patches:
            arguments["image_size"] = tuple(map(math.prod, zip(grid, arguments["patch_size"])))
            if pair(given, "image_size") != arguments["image_size"]:
                result.assumed["image_size"] = f"the whole patches of {given}; {library} cuts the rest off"
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
    embed_dim, width = arguments["embed_dim"], checkpoint.attention_width()
    if library == "vit_pytorch":
        if width % VIT_PYTORCH_HEAD == 0:
            result.assume("num_heads", width // VIT_PYTORCH_HEAD, f"vit-pytorch's usual heads of {VIT_PYTORCH_HEAD}")
        channels, *sides = checkpoint.arrays["patch_embedding.conv.weight"].shape[1:]
        if not checkpoint.is_todays():
            result.assumed["attention scale"] = "head_dim ** -0.5, as in vit-pytorch since 0.6.7; before, dim ** -0.5"
        result.assumed["patches"] = f"{' x '.join(map(str, sides))} with {channels} channels, which make their values"
    elif width == embed_dim:
        result.assume("num_heads", USUAL_HEADS.get(embed_dim), f"usual for width {embed_dim}")
    activation, epsilon = USUAL[library]
    result.assume("activation", activation, f"usual in files of {library}")
    result.assume("norm_eps", epsilon, f"usual in files of {library}")
    if library == "vit_pytorch" and arguments["class_token"]:
        result.assume("pool", "cls", "the file has a class token; vit-pytorch's pool='mean' is pool='mean_all' here")
        arguments["norm_after_pool"] = pool not in (None, "cls") and checkpoint.norm_after_pool()
    elif checkpoint.norm_after_pool():
        result.assume("pool", "mean", "timm's fc_norm goes with it")
        result.assume("norm_after_pool", True, "the norm is called fc_norm")
    elif arguments["class_token"]:
        result.assume("pool", "cls", "the file has a class token")
    else:
        result.assume("pool", "mean", "the file has no class token")
