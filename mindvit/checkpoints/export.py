"""What another library can hold of a network: why not, at which epsilon, and the files that it reads beside weights."""

import math

from mindvit.checkpoints.architecture import HUGGING_FACE_ACTIVATIONS
from mindvit.checkpoints.preparation import processor_words, timm_words
from mindvit.models.variants import VARIANTS

# The epsilon that a library has no place for, being the same in every ViT of its own.
FIXED_EPSILON = {"suite": 1e-7, "timm": 1e-6, "torchvision": 1e-6}


def reasons_against(format, arguments):
    """What a network of these arguments has that the library's own ViT cannot compute, in words."""
    a = arguments
    words = {name: f"{name}={a[name]!r}" for name in a}
    table = [  # (formats, whether the network has it, what it is)
        ("mindspore suite timm huggingface torchvision", a["activation"] is None, "an activation without a name"),
        ("mindspore suite timm huggingface torchvision", a["norm"] is None, "a norm other than LayerNorm"),
        ("suite timm huggingface torchvision", a["norm"] == "none", "no norms"),
        ("suite timm huggingface torchvision", a["patch_norm"], words["patch_norm"]),
        ("suite timm huggingface torchvision", not a["out_projection"], words["out_projection"]),
        ("suite", a["pool"] == "mean_all", words["pool"]),
        ("suite timm huggingface torchvision", a["num_heads"] * a["head_dim"] != a["embed_dim"],
         f"{a['num_heads']} heads of {words['head_dim']}, which do not make embed_dim {a['embed_dim']}"),
        ("suite", a["activation"] != "gelu_tanh", words["activation"]),
        ("torchvision", a["activation"] != "gelu", words["activation"]),
        ("suite torchvision", a["image_size"][0] != a["image_size"][1], words["image_size"]),
        ("suite torchvision", a["patch_size"][0] != a["patch_size"][1], words["patch_size"]),
        ("torchvision", a["input_channels"] != 3, words["input_channels"]),
        ("suite torchvision", not a["qkv_bias"], words["qkv_bias"]),
        ("suite huggingface torchvision", a["pos_embedding"] == "none", words["pos_embedding"]),
        ("huggingface torchvision", a["pool"] != "cls", words["pool"]),
        ("suite", a["pool"] == "mean" and a["class_token"], "pool='mean' with a class token"),
        ("suite", a["norm_after_pool"], words["norm_after_pool"]),
        ("suite torchvision", a["distilled"], "a distillation token"),
        ("timm", a["distilled"] and (a["pos_embedding"] == "none" or not a["distillation_head"]),
         "a distillation token without a head of its own, or without position embedding"),
        ("timm", a["representation_size"], words["representation_size"]),
        ("huggingface", a["representation_size"] and a["num_classes"],
         f"{words['representation_size']} before the head"),
        ("torchvision", not a["num_classes"], "no head"),
    ]
    return [what for formats, has, what in table if format in formats.split() and has]


def residual_scale(format, arguments):
    """What the residual stream is multiplied by so that the library's epsilon gives the numbers of the network's.

    LayerNorm of c x with epsilon c^2 e is LayerNorm of x with epsilon e, and nothing but norms reads the stream.
    """
    return math.sqrt(FIXED_EPSILON[format] / arguments["norm_eps"]) if format in FIXED_EPSILON else 1


def one_or_both(size):
    """A number for a square, else the list [height, width]."""
    return size[0] if size[0] == size[1] else list(size)


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


def hugging_face_config(network):
    """transformers' config.json: with it `from_pretrained(FOLDER)` is this network."""
    a = network.arguments
    family = "DeiT" if a["distilled"] else "ViT"
    if a["representation_size"]:
        name = f"{family}Model"
    else:
        name = f"{family}ForImageClassification{'WithTeacher' if a['distilled'] and a['distillation_head'] else ''}"
    activation = next(name for name, own in HUGGING_FACE_ACTIVATIONS.items() if own == a["activation"])
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


def files_beside(format, network):
    """{file name: JSON content} of what the library reads beside the weights."""
    if format == "timm":
        return {"config.json": timm_config(network)}
    if format == "huggingface":
        return {"config.json": hugging_face_config(network),
                "preprocessor_config.json": processor_words(network.preprocessing, network.arguments["image_size"])}
    return {}
