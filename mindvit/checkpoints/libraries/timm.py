"""timm: Ross Wightman's PyTorch Image Models."""

import dataclasses
import functools
import pathlib
import re

from mindvit.checkpoints.formats.stored import readable
from mindvit.checkpoints.library import INCEPTION, USUAL_HEADS, Library, Writing, beside, one_or_both, only_here, worded
from mindvit.models.layers import ACTIVATIONS, pair
from mindvit.models.variants import VARIANTS
from mindvit.preprocessing import Preprocessing

NAMES = {
    "cls": "cls_token",
    "dist": "dist_token",
    "pos_embedding": "pos_embed",
    "patch_embedding.conv.{p}": "patch_embed.proj.{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "blocks.{i}.norm1.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "blocks.{i}.attn.qkv.{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "blocks.{i}.attn.proj.{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "blocks.{i}.norm2.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "blocks.{i}.mlp.fc1.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "blocks.{i}.mlp.fc2.{p}",
    "norm.{p}": "norm.{p}",
    "representation.{p}": "pre_logits.fc.{p}",
    "dense.{p}": "head.{p}",
    "dense_dist.{p}": "head_dist.{p}"}

# What timm's entry points set and neither shapes nor config.json tell (timm 1.0.31, vision_transformer.py); a sentence
# refuses the architecture.
ARCHITECTURES = {
    "test_vit": {"num_heads": 2},
    "vit_base_patch16_gap_224": {"num_heads": 16},
    "vit_base_patch16_rpn_224": "its norms stand after attention and MLP, under the names of those before",
    **dict.fromkeys(("vit_base_patch32_siglip_gap_256", "vit_giantopt_patch16_siglip_gap_256",
                     "vit_giantopt_patch16_siglip_gap_384", "vit_large_patch16_siglip_gap_512",
                     "vit_so400m_patch16_siglip_gap_256", "vit_so400m_patch16_siglip_gap_384",
                     "vit_so400m_patch16_siglip_gap_512"), {"activation": "gelu_tanh"})}
# timm's model_args: those that the shapes tell or that act in training only, and those that are read.
TOLD_BY_SHAPES = {"patch_size", "in_chans", "embed_dim", "depth", "mlp_ratio", "qkv_bias", "class_token",
                  "no_embed_class", "pos_embed", "num_classes", "dynamic_img_pad",
                  "strict_img_size", "weight_init", "fix_init", "drop_rate", "pos_drop_rate",
                  "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "distilled_training"}
READ = {"num_heads", "img_size", "global_pool", "fc_norm", "act_layer", "norm_layer", "dynamic_img_size",
        "pool_include_prefix"}
NEUTRAL = {"proj_bias": True, "final_norm": True}  # any other argument must be None or False
POOLS = {"token": "cls", "avg": "mean"}

# As `timm.data.create_transform` evaluates what says nothing else.
EVALUATION = Preprocessing(interpolation="bicubic", resizer="pillow", opening="plain")
CONFIG_NAMES = {"mean": "mean", "std": "std", "crop_pct": "crop_fraction", "interpolation": "interpolation",
                "crop_mode": "resize_mode"}
CROP_MODES = {"center": "crop", "squash": "squash", "border": "border"}


def architecture_arguments(architecture):
    """ViT's arguments that a timm architecture has otherwise than usual.

    Raises:
        ValueError: it is known to compute what ViT does not.
    """
    arguments = ARCHITECTURES.get(architecture, {})
    if isinstance(arguments, str):
        raise ValueError(f"timm's {architecture} is not built here: {arguments}")
    return arguments


def told_by_timm(checkpoint, config):
    """(ViT's arguments, class names) in timm's `config.json`; nothing in another library's.

    Raises:
        ValueError: it names something that ViT has not, with that word.
    """
    if "architecture" not in config:
        return {}, None
    architecture, pretrained = config["architecture"], config.get("pretrained_cfg") or {}
    arguments = config.get("model_args") or {}
    for name, value in arguments.items():
        if name not in TOLD_BY_SHAPES | READ and value not in (None, NEUTRAL.get(name, False)):
            raise ValueError(f"config.json beside it has model_args {name} {value!r}, which mindvit's ViT has not")
    told = {"activation": "gelu", "norm_eps": 1e-6, **architecture_arguments(architecture),
            "dynamic_image_size": bool(arguments.get("dynamic_img_size"))}
    if (activation := arguments.get("act_layer")) is not None:
        if activation not in ACTIVATIONS:  # mindvit has timm's names
            raise ValueError(f"config.json beside it has act_layer {activation!r}; known are {', '.join(ACTIVATIONS)}")
        told["activation"] = activation
    if arguments.get("norm_layer") not in (None, "layernorm"):
        raise ValueError(f"config.json beside it has norm_layer {arguments['norm_layer']!r}; known is layernorm")
    pool = arguments.get("global_pool") or config.get("global_pool") or pretrained.get("global_pool")
    pool = pool or ("token" if "cls" in checkpoint.arrays else "avg")
    if pool not in POOLS or "dist" in checkpoint.arrays and pool != "token":
        raise ValueError(f"config.json beside it has global_pool {pool!r}; known are {', '.join(POOLS)}"
                         f"{', with a distillation token token only' if 'dist' in checkpoint.arrays else ''}")
    # With the class token alone, the norm before and after pooling are the same.
    told |= {"pool": "mean_all" if pool == "avg" and arguments.get("pool_include_prefix") else POOLS[pool],
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


def told_by_timm_name(path):
    """What timm's names in a path tell of the network, with the reason."""
    for name in (name.split(".")[0] for name in timm_names(path)):
        for argument, value in architecture_arguments(name).items():
            yield argument, value, f"as in timm's {name}, after which the file is named"


@functools.cache
def timm_table():
    """{name: Preprocessing} of timm_preparation.tsv; "architecture.tag", retired names, and the bare architecture."""
    lines = pathlib.Path(__file__).with_name("timm_preparation.tsv").read_text().splitlines()[2:]
    table = {}
    for name, mean, std, *others in (line.split("\t") for line in lines):
        mean, std = ([float(value) for value in (values.split() * 3)[:3]] for values in (mean, std))
        table[name] = timm_evaluation(dict(zip(("crop_pct", "interpolation", "crop_mode"), others), mean=mean, std=std))
        table.setdefault(name.split(".")[0], table[name])  # an architecture's first tag is its default
    return table


def timm_evaluation(config):
    """The Preprocessing of timm's `pretrained_cfg`, with `resolve_data_config`'s defaults."""
    said = {CONFIG_NAMES[name]: value for name, value in config.items() if name in CONFIG_NAMES and value}
    if "resize_mode" in said:
        if said["resize_mode"] not in CROP_MODES:
            raise ValueError(f"crop_mode is {said['resize_mode']!r}; known are {', '.join(CROP_MODES)}")
        said["resize_mode"] = CROP_MODES[said["resize_mode"]]
    if "crop_fraction" in said:
        said["crop_fraction"] = float(said["crop_fraction"])
    return dataclasses.replace(EVALUATION, **said)


def timm_names(path):
    """Names of timm that a path may hold: the file's own, its folder's, that of a folder of Hugging Face's cache."""
    path = pathlib.Path(path).absolute()
    stem = re.sub(r"-[0-9a-f]{8}$", "", path.name.removesuffix(path.suffix))  # torch.hub's hash
    cached = [match[1] for parent in path.parents if (match := re.fullmatch("models--.*?--(.*)", parent.name))]
    return [stem, path.parent.name, *cached]


def timm_preparation(path, image_size, deit):
    """timm's preparation: config.json's, else that of its own table for the name in the path, else its usual one."""
    config = beside(path, "config.json")
    said = config.get("pretrained_cfg") or config
    if CONFIG_NAMES.keys() & said.keys():
        with readable(pathlib.Path(path).with_name("config.json")):
            return timm_evaluation(said), ""
    table = timm_table()
    for name in [str(config.get("architecture")), *timm_names(path)]:
        architecture = name.split(".")[0]
        if name in table:
            return table[name], f"timm's for {name}; no config.json beside the file tells it"
        if architecture in table:
            return table[architecture], f"timm's for {architecture}, as timm has no {name}; no config.json tells it"
    usual = dataclasses.replace(EVALUATION, crop_fraction=0.9, **({} if deit else INCEPTION))
    return usual, (f"usual for timm's {'DeiT' if deit else 'ViT'}; neither a config.json beside the file nor a name "
                   "of timm's in the path tells it")


def timm_words(preprocessing):
    """`timm_evaluation` backwards: the part of timm's `pretrained_cfg` that says how images are prepared."""
    modes = {mode: name for name, mode in CROP_MODES.items()}
    return {"mean": list(preprocessing.mean), "std": list(preprocessing.std), "crop_pct": preprocessing.crop_fraction,
            "interpolation": preprocessing.interpolation, "crop_mode": modes[preprocessing.resize_mode]}


def timm_cannot_hold(arguments):
    """What timm's VisionTransformer has not."""
    a = arguments
    return {**only_here(a),
            "a distillation token without a head of its own, or without position embedding":
                a["distilled"] and (a["pos_embedding"] == "none" or not a["distillation_head"]),
            worded(a, "representation_size"): a["representation_size"]}


def timm_name(name, arguments):
    """The last norm is called otherwise where it stands after pooling."""
    return f"fc_{name}" if arguments["norm_after_pool"] and name.startswith("norm.") else name


def timm_config(network):
    """timm's config.json: with it `timm.create_model("local-dir:FOLDER", pretrained=True)` is this network."""
    a = network.arguments
    sizes = ("patch_size", "embed_dim", "num_layers", "num_heads", "mlp_dim", "distilled")
    own = {name: one_or_both(a[name]) if name == "patch_size" else a[name] for name in sizes}
    name = next((variant.timm_name for variant in VARIANTS.values()
                 if own == {name: getattr(variant, name) for name in sizes}),
                "deit_base_distilled_patch16" if a["distilled"] else "vit_base_patch16")
    pool = "token" if a["pool"] == "cls" else "avg"
    model_args = {
        "img_size": list(a["image_size"]), "patch_size": list(a["patch_size"]), "in_chans": a["input_channels"],
        "embed_dim": a["embed_dim"], "depth": a["num_layers"], "num_heads": a["num_heads"],
        "mlp_ratio": (a["mlp_dim"] + 0.5) / a["embed_dim"],  # timm takes the whole part of embed_dim * mlp_ratio
        "qkv_bias": a["qkv_bias"], "class_token": a["class_token"], "global_pool": pool,
        "fc_norm": a["norm_after_pool"], "act_layer": a["activation"], "dynamic_img_size": a["dynamic_image_size"],
        "pos_embed": "none" if a["pos_embedding"] == "none" else "learn",
        "pool_include_prefix": a["pool"] == "mean_all"}
    config = {"architecture": f"{name}_224", "num_classes": a["num_classes"], "num_features": a["embed_dim"],
              "global_pool": pool, "model_args": model_args,
              "pretrained_cfg": {"input_size": [a["input_channels"], *a["image_size"]], "fixed_input_size": True,
                                 "num_classes": a["num_classes"], "pool_size": None, "first_conv": "patch_embed.proj",
                                 "classifier": ["head", "head_dist"] if a["distilled"] else "head",
                                 **timm_words(network.preprocessing)}}
    if network.class_names:
        config["label_names"] = network.class_names
    return config


TIMM = Library(
    name="timm", rank=3, names=NAMES, spellings=((r"^fc_norm\.", "norm."),), norms_after_pool=("fc_norm.",),
    positions_of_patches=True, told_by_config=told_by_timm, told_by_path=told_by_timm_name,
    preparation=timm_preparation,
    writing=Writing(".safetensors", timm_cannot_hold, name=timm_name, fixed_epsilon=1e-6,
                    files_beside=lambda network: {"config.json": timm_config(network)},
                    prepares=lambda preprocessing, image_size: timm_evaluation(timm_words(preprocessing))))
