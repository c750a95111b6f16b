"""How each library prepares images for the weights in a file: from its own files beside it, else by its habits."""

import dataclasses
import functools
import json
import math
import pathlib
import re

from mindvit.checkpoints.formats.stored import readable
from mindvit.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SUITE,
    Preprocessing,
    exact_fraction,
    pair,
    resize_target,
)

INCEPTION = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}

# As `timm.data.create_transform` evaluates what says nothing else.
TIMM = Preprocessing(interpolation="bicubic", resizer="pillow", opening="plain")
TIMM_NAMES = {"mean": "mean", "std": "std", "crop_pct": "crop_fraction", "interpolation": "interpolation",
              "crop_mode": "resize_mode"}
TIMM_MODES = {"center": "crop", "squash": "squash", "border": "border"}
TORCHVISION = Preprocessing(resizer="pillow", opening="plain")
# vision_transformer's input_pipeline.py: `tf.image.resize`, then (x - 127.5) / 127.5.
GOOGLE = Preprocessing(**INCEPTION, crop_fraction=1.0, resize_mode="squash", resizer="tensorflow", opening="plain")
HUGGING_FACE = Preprocessing(**INCEPTION, crop_fraction=1.0, resize_mode="squash", resizer="torch", opening="turned")

# What the image processors of transformers 5 do unless their preprocessor_config.json says otherwise.
_PROCESSOR = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_center_crop": False, "do_pad": False,
              "rescale_factor": 1 / 255, "resample": 3, "crop_size": 224, "size": {"height": 224, "width": 224},
              "default_to_square": True, "image_mean": INCEPTION["mean"], "image_std": INCEPTION["std"]}
_CLIP_PROCESSOR = {**_PROCESSOR, "do_center_crop": True, "size": {"shortest_edge": 224}, "default_to_square": False,
                   "image_mean": CLIP["mean"], "image_std": CLIP["std"]}
PROCESSORS = {
    "ViT": {**_PROCESSOR, "resample": 2},
    "DeiT": {**_PROCESSOR, "do_center_crop": True, "size": {"height": 256, "width": 256}},
    "Siglip": {**_PROCESSOR, "default_to_square": False},
    "CLIP": _CLIP_PROCESSOR,
    "Bit": _CLIP_PROCESSOR,
}
RESAMPLE = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def preparation(path, library, image_size, deit=False):
    """The Preprocessing that belongs to the weights in a file.

    Args:
        path (str): the file; other files of the library beside it are read.
        library (str): where the file comes from, as `read_checkpoint` names it.
        image_size (int or (int, int)): pixels of the network's images.
        deit (bool): the file holds a DeiT, as far as one can see.

    Returns:
        (Preprocessing, list[str]): the second says what was taken although no file told it, and why.

    Raises:
        ValueError: a file beside it names something that is not known here, or is damaged.
    """
    if library == "timm":
        found, reason = timm_preparation(path, deit)
    elif library == "huggingface":
        found, reason = hugging_face_preparation(path, image_size, deit)
    elif library == "torchvision":
        found, reason = torchvision_preparation(path, image_size)
    elif library == "google":
        found, reason = GOOGLE, "as vision_transformer's input pipeline evaluates"
    elif library == "mindcv":
        found, reason = Preprocessing(), "as mindcv evaluates its ViT"
    elif library == "vit_pytorch":
        found, reason = Preprocessing(), ("mindvit's own, as vit-pytorch prepares no images; from_checkpoint(path, "
                                          "preprocessing=...) takes what the weights were trained with")
    else:
        found, reason = suite_preparation(image_size), "as the Vision suite evaluates"
    return found, [f"preprocessing {found.describe(image_size)}; {reason}"] if reason else []


def suite_preparation(image_size):
    """The suite resizes to image size + 32; that is 7/8 at 224 and is kept as 7/8 where it published no weights."""
    if pair(image_size) == (384, 384):
        return dataclasses.replace(SUITE, crop_fraction=exact_fraction(384, 416))
    return SUITE


def beside(path, name):
    """The JSON object in the file `name` beside the checkpoint, {} without one."""
    path = pathlib.Path(path).with_name(name)
    if not path.exists():
        return {}
    with readable(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content


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
    said = {TIMM_NAMES[name]: value for name, value in config.items() if name in TIMM_NAMES and value}
    if "resize_mode" in said:
        if said["resize_mode"] not in TIMM_MODES:
            raise ValueError(f"crop_mode is {said['resize_mode']!r}; known are {', '.join(TIMM_MODES)}")
        said["resize_mode"] = TIMM_MODES[said["resize_mode"]]
    if "crop_fraction" in said:
        said["crop_fraction"] = float(said["crop_fraction"])
    return dataclasses.replace(TIMM, **said)


def timm_names(path):
    """Names of timm that a path may hold: the file's own, its folder's, that of a folder of Hugging Face's cache."""
    path = pathlib.Path(path).absolute()
    stem = re.sub(r"-[0-9a-f]{8}$", "", path.name.removesuffix(path.suffix))  # torch.hub's hash
    cached = [match[1] for parent in path.parents if (match := re.fullmatch("models--.*?--(.*)", parent.name))]
    return [stem, path.parent.name, *cached]


def timm_preparation(path, deit=False):
    """timm's preparation: config.json's, else that of its own table for the name in the path, else its usual one."""
    config = beside(path, "config.json")
    said = config.get("pretrained_cfg") or config
    if TIMM_NAMES.keys() & said.keys():
        with readable(pathlib.Path(path).with_name("config.json")):
            return timm_evaluation(said), ""
    table = timm_table()
    for name in [str(config.get("architecture")), *timm_names(path)]:
        architecture = name.split(".")[0]
        if name in table:
            return table[name], f"timm's for {name}; no config.json beside the file tells it"
        if architecture in table:
            return table[architecture], f"timm's for {architecture}, as timm has no {name}; no config.json tells it"
    usual = dataclasses.replace(TIMM, crop_fraction=0.9, **({} if deit else INCEPTION))
    return usual, (f"usual for timm's {'DeiT' if deit else 'ViT'}; neither a config.json beside the file nor a name "
                   "of timm's in the path tells it")


def torchvision_preparation(path, image_size):
    """torchvision's `weights.transforms()`, which its public file names tell."""
    name = pathlib.Path(path).name
    if "swag" in name:
        return (dataclasses.replace(TORCHVISION, crop_fraction=1.0, interpolation="bicubic"),
                f"torchvision's for SWAG weights, which the name {name} says")
    if name.startswith("vit_l_16") and pair(image_size) == (224, 224):
        return (dataclasses.replace(TORCHVISION, crop_fraction=exact_fraction(224, 242)),
                f"torchvision's for ViT_L_16_Weights.IMAGENET1K_V1, which the name {name} says")
    return TORCHVISION, "torchvision's for its ViT weights, except SWAG's and ViT_L_16's"


def hugging_face_preparation(path, image_size, deit=False):
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
    return dataclasses.replace(HUGGING_FACE, mean=mean, std=std, crop_fraction=fraction,
                               interpolation=RESAMPLE[config["resample"]],
                               resize_mode="squash" if squash else "crop"), crop


def timm_words(preprocessing):
    """`timm_evaluation` backwards: the part of timm's `pretrained_cfg` that says how images are prepared."""
    modes = {mode: name for name, mode in TIMM_MODES.items()}
    return {"mean": list(preprocessing.mean), "std": list(preprocessing.std), "crop_pct": preprocessing.crop_fraction,
            "interpolation": preprocessing.interpolation, "crop_mode": modes[preprocessing.resize_mode]}


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
    words = {**_PROCESSOR, "image_processor_type": "ViTImageProcessor", "size": size,
             "default_to_square": "height" in size, "do_center_crop": size != dict(zip(("height", "width"), crop)),
             "crop_size": dict(zip(("height", "width"), crop)), "resample": resample[preprocessing.interpolation],
             "image_mean": list(preprocessing.mean), "image_std": list(preprocessing.std)}
    del words["do_pad"]
    return words


def prepared_otherwise(format, preprocessing, image_size):
    """What the library of a format does otherwise than the Preprocessing in spite of the files written, in words."""
    if format == "timm":
        there = timm_evaluation(timm_words(preprocessing))
    elif format == "huggingface":
        there, _ = processor_evaluation({**_PROCESSOR, **processor_words(preprocessing, image_size)})
    else:
        return []
    return [f"{format} prepares images with {field.name} {getattr(there, field.name)!r}, this network's is {own!r}"
            for field in dataclasses.fields(there)
            if (own := getattr(preprocessing, field.name)) != getattr(there, field.name)
            and field.name not in ("mean", "std", "crop_fraction")]
