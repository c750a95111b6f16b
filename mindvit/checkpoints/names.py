"""One table of parameter names: mindvit's own and those of the other libraries, read from left and from right."""

import collections
import functools
import re

from mindvit.checkpoints.formats.stored import listed

PAIR = ("weight", "bias")
# The first column is mindvit's (MindSpore's tutorial). {i} is a block's number, {p} weight and bias (each column has
# its own words for them below, by norm or not), {qkv} stands for the three names of query, key and value.
TABLE = [
    # mindspore, timm, huggingface, torchvision, google, vit_pytorch
    ("cls", "cls_token", "embeddings.cls_token", "class_token", "cls", "cls_token"),
    ("dist", "dist_token", "embeddings.distillation_token", None, None, None),
    ("pos_embedding", "pos_embed", "embeddings.position_embeddings", "encoder.pos_embedding",
     "Transformer/posembed_input/pos_embedding", "pos_embedding"),
    ("patch_embedding.conv.{p}", "patch_embed.proj.{p}", "embeddings.patch_embeddings.projection.{p}", "conv_proj.{p}",
     "embedding/{p}", "to_patch_embedding.2.{p}"),
    ("patch_embedding.norm1.{p}", None, None, None, None, "to_patch_embedding.1.{p}"),
    ("patch_embedding.norm2.{p}", None, None, None, None, "to_patch_embedding.3.{p}"),
    ("transformer.layers.{i}.0.cell.0.{p}", "blocks.{i}.norm1.{p}", "layers.{i}.layernorm_before.{p}",
     "encoder.layers.encoder_layer_{i}.ln_1.{p}", "Transformer/encoderblock_{i}/LayerNorm_0/{p}",
     "transformer.layers.{i}.0.norm.{p}"),
    ("transformer.layers.{i}.0.cell.1.qkv.{p}", "blocks.{i}.attn.qkv.{p}", "layers.{i}.attention.{qkv}_proj.{p}",
     "encoder.layers.encoder_layer_{i}.self_attention.in_proj_{p}",
     "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/{qkv}/{p}", "transformer.layers.{i}.0.to_qkv.{p}"),
    ("transformer.layers.{i}.0.cell.1.out.{p}", "blocks.{i}.attn.proj.{p}", "layers.{i}.attention.o_proj.{p}",
     "encoder.layers.encoder_layer_{i}.self_attention.out_proj.{p}",
     "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/{p}", "transformer.layers.{i}.0.to_out.0.{p}"),
    ("transformer.layers.{i}.1.cell.0.{p}", "blocks.{i}.norm2.{p}", "layers.{i}.layernorm_after.{p}",
     "encoder.layers.encoder_layer_{i}.ln_2.{p}", "Transformer/encoderblock_{i}/LayerNorm_2/{p}",
     "transformer.layers.{i}.1.net.0.{p}"),
    ("transformer.layers.{i}.1.cell.1.dense1.{p}", "blocks.{i}.mlp.fc1.{p}", "layers.{i}.mlp.fc1.{p}",
     "encoder.layers.encoder_layer_{i}.mlp.0.{p}", "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/{p}",
     "transformer.layers.{i}.1.net.1.{p}"),
    ("transformer.layers.{i}.1.cell.1.dense2.{p}", "blocks.{i}.mlp.fc2.{p}", "layers.{i}.mlp.fc2.{p}",
     "encoder.layers.encoder_layer_{i}.mlp.3.{p}", "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/{p}",
     "transformer.layers.{i}.1.net.4.{p}"),
    ("norm.{p}", "norm.{p}", "layernorm.{p}", "encoder.ln.{p}", "Transformer/encoder_norm/{p}",
     "transformer.norm.{p}"),
    ("representation.{p}", "pre_logits.fc.{p}", "pooler.dense.{p}", "heads.pre_logits.{p}", "pre_logits/{p}", None),
    ("dense.{p}", "head.{p}", "classifier.{p}", "heads.head.{p}", "head/{p}", "mlp_head.{p}"),
    ("dense_dist.{p}", "head_dist.{p}", "distillation_classifier.{p}", None, None, None),
]
NORMS = ("patch_embedding.norm1.{p}", "patch_embedding.norm2.{p}",
         "transformer.layers.{i}.0.cell.0.{p}", "transformer.layers.{i}.1.cell.0.{p}", "norm.{p}")
# library: (column, words of a norm, words of the other layers, words of query, key and value)
LIBRARIES = {
    "mindspore": (0, ("gamma", "beta"), PAIR, None),
    "mindcv": (1, ("gamma", "beta"), PAIR, None),
    "timm": (1, PAIR, PAIR, None),
    "huggingface": (2, PAIR, PAIR, "qkv"),
    "torchvision": (3, PAIR, PAIR, None),
    "google": (4, ("scale", "bias"), ("kernel", "bias"), ("query", "key", "value")),
    "vit_pytorch": (5, PAIR, PAIR, None),
}
# Other spellings of a library, brought to the table's by these substitutions in this order. The Vision suite and the
# older mindcv put the tutorial's cells under `backbone` and `head`; Hugging Face 4 named its blocks otherwise than 5;
# lucidrains' vit-pytorch had PreNorm cells with their `fn`, within Residual ones at first, the last norm in the head
# and no norms around the patch product. A third entry says which name makes the substitution void.
SPELLINGS = {
    "mindspore": [(r"^backbone\.", ""), (r"^cls_token$", "cls"),
                  (r"^head\.classifier\.0\.(dense|classifier)\.", "representation."),
                  (r"^head\.classifier\.1\.(dense|classifier)\.", "dense."),
                  (r"^(head\.dense|head\.classifier|classifier)\.", "dense.")],
    "mindcv": [(r"^fc_norm\.", "norm.")],
    "timm": [(r"^fc_norm\.", "norm.")],
    "huggingface": [(r"^(vit|deit)\.", ""), (r"^encoder\.layer\.", "layers."), (r"^cls_classifier\.", "classifier."),
                    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
                    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
                    (r"\.intermediate\.dense\.", ".mlp.fc1."), (r"^(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2.")],
    "torchvision": [],
    "google": [(r"^opt/target/", "")],
    "vit_pytorch": [(r"^patch_to_embedding\.", "to_patch_embedding.2."),
                    (r"^to_patch_embedding\.1\.", "to_patch_embedding.2.", "to_patch_embedding.2.weight"),
                    (r"^(transformer\.layers\.\d+\.[01])\.fn\.(norm|fn)\.", r"\1.\2."),
                    (r"^(transformer\.layers\.\d+\.0)\.fn\.", r"\1."),
                    (r"^(transformer\.layers\.\d+\.1)\.norm\.", r"\1.net.0."),
                    (r"^(transformer\.layers\.\d+\.1)\.fn\.net\.0\.", r"\1.net.1."),
                    (r"^(transformer\.layers\.\d+\.1)\.fn\.net\.3\.", r"\1.net.4."),
                    (r"^mlp_head\.0\.", "transformer.norm."), (r"^mlp_head\.1\.", "mlp_head.")],
}
# What MindSpore's optimizers, loss scaling and ModelCheckpoint add to a training checkpoint.
TRAINING_STATE = re.compile(
    r"(learning_rate|weight_decay)(_group_\d+)?|global_step|beta[12]_power|momentum|(epoch|step)_num|state_step"
    r"|scale_sense|loss_scale|current_iterator_step|last_overflow_iterator_step")
PARAMETER_STATE = re.compile(
    r"^(accu_grads|accum(_update)?|adam_[mv]|ax_?|exp_avg(_sq)?|exp_inf|lamb_[mv]|linear|max_exp_avg_sq|mean_grad"
    r"|mean_square|moment[12s]?|momentum_buf|prev|stat|step_size|vhat)\.")


@functools.cache
def templates(library):
    """{name in the library with {i}: (mindvit's name with {i}, 0 or which of query, key and value, how many)}."""
    column, norm, other, qkv = LIBRARIES[library]
    result = {}
    for row in TABLE:
        native, foreign = row[0], row[column]
        if foreign is None:
            continue
        is_norm = native in NORMS
        parts = qkv if "{qkv}" in foreign else [""]
        for native_p, foreign_p in zip(("gamma", "beta") if is_norm else PAIR, norm if is_norm else other):
            for k, part in enumerate(parts):
                name = foreign.replace("{qkv}", part).replace("{p}", foreign_p)
                result[name] = native.replace("{p}", native_p), k, len(parts)
    return result


def spell(library, name, names=()):
    """The name in the table's spelling; `names` are all names of the file."""
    for pattern, replacement, *unless in SPELLINGS[library]:
        if not unless or unless[0] not in names:
            name = re.sub(pattern, replacement, name)
    return name


def translate(names, library):
    """({mindvit's name: [names in the file]}, names that the library does not know).

    Raises:
        ValueError: two names of the file mean the same parameter, or one of query, key and value lacks.
    """
    known, names = templates(library), dict.fromkeys(names)
    sources, unknown = {}, []
    for name in names:
        spelled = spell(library, name, names)
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


def recognise(names):
    """(library, {mindvit's name: [names in the file]}, unknown names), the library that knows most of the names.

    The library is "suite" for the tutorial's names in the Vision suite's spelling. Optimizer state is left out.

    Raises:
        ValueError: no library knows any of the names.
    """
    names = dict.fromkeys(names)
    kinds = collections.Counter(re.sub(r"(?<=[._])\d+(?=[./])", "0", name, count=1) for name in names)

    def count(library):
        known = templates(library)
        return sum(number for kind, number in kinds.items()
                   if re.sub(r"(?<=[._])0(?=[./])", "{i}", spell(library, kind, names), count=1) in known)

    counts = {library: count(library) for library in LIBRARIES}
    library = max(counts, key=counts.get)
    if not counts[library]:
        raise ValueError(f"its names are of no known library ({', '.join(LIBRARIES)}); they are {listed(names)}")
    sources, unknown = translate(names, library)
    if library in ("mindspore", "mindcv"):
        unknown = [name for name in unknown if not is_training_state(name, library)]
    if library == "mindspore" and any(spell(library, name) != name for parts in sources.values() for name in parts):
        library = "suite"
    return library, sources, unknown


def is_training_state(name, library):
    """Whether the name is a step counter or an optimizer's state of a parameter that the library knows."""
    parameter = PARAMETER_STATE.sub("", name)
    return bool(TRAINING_STATE.fullmatch(name)) or parameter != name and not translate([parameter], library)[1]


def foreign_names(native, library):
    """The library's names (one, or three for query, key and value) of a parameter of mindvit; [] if it has none."""
    block = re.search(r"(?<=^transformer\.layers\.)[0-9]+", native)
    template = native[:block.start()] + "{i}" + native[block.end():] if block else native
    return [name.replace("{i}", block.group()) if block else name
            for name, (known, _, _) in templates(library).items() if known == template]
