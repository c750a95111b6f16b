"""Hugging Face's transformers: ViT, DeiT and ViT-MSN."""

import dataclasses
import math
import pathlib
import re

from mindvit.checkpoints.formats.stored import readable
from mindvit.checkpoints.library import INCEPTION, Library, Writing, beside, one_or_both, only_here, worded
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, exact_fraction, pair, resize_target

NAMES = {
    "cls": "embeddings.cls_token",
    "dist": "embeddings.distillation_token",
    "pos_embedding": "embeddings.position_embeddings",
    "patch_embedding.conv.{p}": "embeddings.patch_embeddings.projection.{p}",
    "transformer.layers.{i}.0.cell.0.{p}": "layers.{i}.layernorm_before.{p}",
    "transformer.layers.{i}.0.cell.1.qkv.{p}": "layers.{i}.attention.{qkv}_proj.{p}",
    "transformer.layers.{i}.0.cell.1.out.{p}": "layers.{i}.attention.o_proj.{p}",
    "transformer.layers.{i}.1.cell.0.{p}": "layers.{i}.layernorm_after.{p}",
    "transformer.layers.{i}.1.cell.1.dense1.{p}": "layers.{i}.mlp.fc1.{p}",
    "transformer.layers.{i}.1.cell.1.dense2.{p}": "layers.{i}.mlp.fc2.{p}",
    "norm.{p}": "layernorm.{p}",
    "representation.{p}": "pooler.dense.{p}",
    "dense.{p}": "classifier.{p}",
    "dense_dist.{p}": "distillation_classifier.{p}"}
# transformers 4 named its blocks otherwise than 5.
SPELLINGS = (
    (r"^(vit|deit)\.", ""), (r"^encoder\.layer\.", "layers."), (r"^cls_classifier\.", "classifier."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."), (r"^(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."))

# transformers' names of activations that ViT has, the first of each being written; others are refused by name.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh",
    "quick_gelu": "quick_gelu", "relu": "relu"}
MODELS = ("vit", "deit", "vit_msn")

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
EVALUATION = Preprocessing(**INCEPTION, crop_fraction=1.0, resize_mode="squash", resizer="torch", opening="turned")
# What the image processors of transformers 5 do unless their preprocessor_config.json says otherwise.
PROCESSOR = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_center_crop": False, "do_pad": False,
             "rescale_factor": 1 / 255, "resample": 3, "crop_size": 224, "size": {"height": 224, "width": 224},
             "default_to_square": True, "image_mean": INCEPTION["mean"], "image_std": INCEPTION["std"]}
CLIP_PROCESSOR = {**PROCESSOR, "do_center_crop": True, "size": {"shortest_edge": 224}, "default_to_square": False,
                  "image_mean": CLIP["mean"], "image_std": CLIP["std"]}
PROCESSORS = {
    "ViT": {**PROCESSOR, "resample": 2},
    "DeiT": {**PROCESSOR, "do_center_crop": True, "size": {"height": 256, "width": 256}},
    "Siglip": {**PROCESSOR, "default_to_square": False},
    "CLIP": CLIP_PROCESSOR,
    "Bit": CLIP_PROCESSOR,
}
RESAMPLE = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def told_by_hugging_face(checkpoint, config):
    """(ViT's arguments, class names) in Hugging Face's `config.json`.

    Raises:
        ValueError: it names something that ViT has not, with that word.
    """
    if config.get("model_type", "vit") not in MODELS:
        raise ValueError(f"config.json beside it has model_type {config['model_type']!r}; known are "
                         f"{', '.join(MODELS)}")
    if config.get("pooler_act", "tanh") != "tanh" and "representation.weight" in checkpoint.arrays:
        raise ValueError(f"config.json beside it has pooler_act {config['pooler_act']!r}; known is tanh")
    told = {"pool": "cls", "norm_after_pool": False}
    if "hidden_act" in config:
        if config["hidden_act"] not in ACTIVATIONS:
            raise ValueError(f"config.json beside it has hidden_act {config['hidden_act']!r}; known are "
                             f"{', '.join(ACTIVATIONS)}")
        told["activation"] = ACTIVATIONS[config["hidden_act"]]
    names = {"layer_norm_eps": "norm_eps", "num_attention_heads": "num_heads", "image_size": "image_size"}
    told.update((names[name], tuple(value) if isinstance(value, list) else value)
                for name, value in config.items() if name in names)
    if "image_size" in told:
        checkpoint.check_grid(told["image_size"], "config.json beside it")
    labels = config.get("id2label") or {}
    names = [labels.get(str(index)) for index in range(len(labels))]
    return told, None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def hugging_face_preparation(path, image_size, deit):
    """What the image processor of transformers does with the preprocessor_config.json beside the file."""
    said = beside(path, "preprocessor_config.json")
    usual = "DeiT" if deit else "ViT"
    if not said:
        public = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD} if deit else {}  # of facebook's DeiT files
        return (processor_evaluation({**PROCESSORS[usual], **public})[0],
                f"usual for {usual} of transformers; there is no preprocessor_config.json beside the file")
    with readable(pathlib.Path(path).with_name("preprocessor_config.json")):
        kind = said.get("image_processor_type") or said.get("feature_extractor_type") or usual
        kind = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", kind)
        if kind not in PROCESSORS:
            raise ValueError(f"its image processor is {kind!r}; known are {', '.join(PROCESSORS)}. "
                             "from_checkpoint(path, preprocessing=...) takes another")
        said = {name: value for name, value in said.items() if value is not None}
        found, size = processor_evaluation({**PROCESSORS[kind], **said})
        fits = size == pair(image_size)
        return found, "" if fits else f"preprocessor_config.json is for {size}; the ratio of crop to resize is kept"


def processor_evaluation(config):
    """The Preprocessing of an image processor's whole configuration, and the (height, width) that it makes.

    transformers resizes to `size`, then crops to `crop_size`; what is kept is the ratio of the two, so that it also
    serves a network that is built for another size than the file's.
    """
    for name in ("do_resize", "do_pad"):
        if bool(config[name]) != (name == "do_resize"):
            raise ValueError(f"{name} is {config[name]!r}, so that images would keep their sizes; "
                             "from_checkpoint(path, preprocessing=...) takes another preparation")
    if config["resample"] not in RESAMPLE:
        raise ValueError(f"resample is {config['resample']!r}; known are {RESAMPLE}")
    size, crop = config["size"], config["crop_size"]
    if isinstance(size, int):
        squash, resized = config["default_to_square"], (size, size)
    elif {"height", "width"} <= size.keys():
        squash, resized = True, (size["height"], size["width"])
    elif size.keys() == {"shortest_edge"}:
        squash, resized = False, (size["shortest_edge"],) * 2
    else:
        raise ValueError(f"size is {size}; known are height and width, or shortest_edge alone")
    crop = (crop["height"], crop["width"]) if isinstance(crop, dict) else (crop, crop)
    if not config["do_center_crop"]:
        if not squash:
            raise ValueError("size is the shortest edge and do_center_crop is off, so that images would keep their "
                             "proportions; from_checkpoint(path, preprocessing=...) takes another preparation")
        crop = resized
    fraction = min(exact_fraction(*sides) for sides in zip(crop, resized))
    if any(math.floor(side / fraction) != target for side, target in zip(crop, resized)):
        raise ValueError(f"size {resized} and crop_size {crop} have other proportions in height than in width")
    scale = config["rescale_factor"] * 255 if config["do_rescale"] else 255  # of values from 0 to 1
    mean, std = (config["image_mean"], config["image_std"]) if config["do_normalize"] else ((0, 0, 0), (1, 1, 1))
    mean, std = ([value / scale for value in values] for values in (mean, std))
    return dataclasses.replace(EVALUATION, mean=mean, std=std, crop_fraction=fraction,
                               interpolation=RESAMPLE[config["resample"]],
                               resize_mode="squash" if squash else "crop"), crop


def processor_words(preprocessing, image_size):
    """`processor_evaluation` backwards: transformers' preprocessor_config.json.

    Raises:
        ValueError: transformers has no such interpolation, or no border.
    """
    resample = {name: number for number, name in RESAMPLE.items()}
    if preprocessing.interpolation not in resample or preprocessing.resize_mode == "border":
        raise ValueError(f"transformers has no interpolation {preprocessing.interpolation!r} with resize_mode "
                         f"{preprocessing.resize_mode!r}; give the network another preprocessing")
    (height, width), crop = resize_target(pair(image_size), preprocessing), pair(image_size)
    size = {"height": height, "width": width}
    if preprocessing.resize_mode == "crop" and height == width:
        size = {"shortest_edge": height}
    words = {**PROCESSOR, "image_processor_type": "ViTImageProcessor", "size": size,
             "default_to_square": "height" in size, "do_center_crop": size != dict(zip(("height", "width"), crop)),
             "crop_size": dict(zip(("height", "width"), crop)), "resample": resample[preprocessing.interpolation],
             "image_mean": list(preprocessing.mean), "image_std": list(preprocessing.std)}
    del words["do_pad"]
    return words


def prepared_there(preprocessing, image_size):
    """What transformers does with these words."""
    return processor_evaluation({**PROCESSOR, **processor_words(preprocessing, image_size)})[0]


def hugging_face_cannot_hold(arguments):
    """What transformers' ViT and DeiT have not."""
    a = arguments
    return {**only_here(a), worded(a, "pos_embedding"): a["pos_embedding"] == "none",
            worded(a, "pool"): a["pool"] != "cls",
            f"{worded(a, 'representation_size')} before the head": a["representation_size"] and a["num_classes"]}


def hugging_face_name(name, arguments):
    """With the prefix and heads of ViTForImageClassification, ViTModel (no head) or their DeiT counterparts."""
    a = arguments
    if name.startswith("distillation_classifier."):
        return name
    if name.startswith("classifier."):
        return f"cls_{name}" if a["distilled"] and a["distillation_head"] else name
    return f"{'deit' if a['distilled'] else 'vit'}.{name}" if a["num_classes"] else name


def hugging_face_config(network):
    """transformers' config.json: with it `from_pretrained(FOLDER)` is this network."""
    a = network.arguments
    family = "DeiT" if a["distilled"] else "ViT"
    if a["representation_size"]:
        name = f"{family}Model"
    else:
        name = f"{family}ForImageClassification{'WithTeacher' if a['distilled'] and a['distillation_head'] else ''}"
    activation = next(name for name, own in ACTIVATIONS.items() if own == a["activation"])
    names = network.class_names or [f"LABEL_{index}" for index in range(a["num_classes"])]
    config = {"architectures": [name], "model_type": family.lower(), "hidden_size": a["embed_dim"],
              "num_hidden_layers": a["num_layers"], "num_attention_heads": a["num_heads"],
              "intermediate_size": a["mlp_dim"], "hidden_act": activation,
              "layer_norm_eps": a["norm_eps"], "image_size": one_or_both(a["image_size"]),
              "patch_size": one_or_both(a["patch_size"]), "num_channels": a["input_channels"],
              "qkv_bias": a["qkv_bias"], "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
              "id2label": {str(index): name for index, name in enumerate(names)},
              "label2id": {name: index for index, name in enumerate(names)}}
    if a["representation_size"]:
        config |= {"pooler_output_size": a["representation_size"], "pooler_act": "tanh"}
    return config


def files_beside(network):
    """What transformers reads beside the weights."""
    return {"config.json": hugging_face_config(network),
            "preprocessor_config.json": processor_words(network.preprocessing, network.arguments["image_size"])}


HUGGING_FACE = Library(
    name="huggingface", rank=4, names=NAMES, qkv=("q", "k", "v"), spellings=SPELLINGS, deit_names=("deit.",),
    norm_eps=1e-12, told_by_config=told_by_hugging_face, preparation=hugging_face_preparation,
    writing=Writing(".safetensors", hugging_face_cannot_hold, name=hugging_face_name, files_beside=files_beside,
                    prepares=prepared_there))
