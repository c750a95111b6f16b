"""`mindvit summary`: the layers of a network, what each has and costs, and the memory it needs."""

import dataclasses
from typing import Any

from mindspore.nn.utils import no_init_parameters

from mindvit.checkpoints import from_checkpoint
from mindvit.config import Overrides
from mindvit.models import ViT
from mindvit.zoo import create_model

BATCHES = (1, 8, 32, 128)
ADAM = 16  # bytes a parameter in training: weight, gradient and two moments in float32


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of a summary: a layer, the shape of what it gives for an image, its parameters and its MACs.

    MACs are multiplications with an addition in products of matrices, for one image; norms, activations and softmax
    count nothing, as in most tools.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    macs: int


def size_of(*cells):
    """Numbers in the parameters of cells, of which some may be None."""
    return sum(parameter.size for cell in cells if cell is not None for parameter in cell.get_parameters())


def dense_macs(rows, *cells):
    """MACs of rows through dense layers, of which some may be None."""
    return sum(rows * cell.weight.size for cell in cells if cell is not None)


def layers_of(network: ViT) -> list[Layer]:
    """The layers of a network in their order.

    Args:
        network (ViT): which.

    Returns:
        list of Layer: parameters and MACs of all add up to the network's.

    Example:
        >>> sum(layer.parameters for layer in layers_of(create_model("vit_t_16")))
        5717416
    """
    embedding, blocks = network.patch_embedding, network.transformer.layers
    patches, width = embedding.num_patches, blocks[0].attention.dim
    n = network.num_prefix_tokens + patches
    tokens = [parameter for parameter in (network.cls_token, network.dist_token, network.pos_embedding)
              if parameter is not None]
    rows = [Layer("patch_embedding", (patches, width), size_of(embedding), dense_macs(patches, embedding.conv)),
            Layer("tokens and positions", (n, width), sum(parameter.size for parameter in tokens), 0)]
    for i, block in enumerate(blocks):
        attention, mlp = block.attention, block.mlp
        products = 2 * attention.num_heads * n * n * attention.head_dim  # Q K^T, and the weights times V
        rows += [Layer(f"block {i} norm1", (n, width), size_of(block.norm1), 0),
                 Layer(f"block {i} attention", (n, width), size_of(attention),
                       dense_macs(n, attention.qkv, attention.out) + products),
                 Layer(f"block {i} norm2", (n, width), size_of(block.norm2), 0),
                 Layer(f"block {i} mlp", (n, width), size_of(mlp), dense_macs(n, mlp.dense1, mlp.dense2))]
    rows.append(Layer("norm", (width,) if network.norm_after_pool else (n, width), size_of(network.norm), 0))
    for name in ("representation", "dense", "dense_dist"):
        if (cell := getattr(network, name)) is not None:
            rows.append(Layer(name, (cell.out_channels,), size_of(cell), dense_macs(1, cell)))
    return rows


def sizes_of(network):
    """(L, N D, N M, H N^2) of a network: its layers, and numbers in its tokens, hidden layers and attention weights."""
    blocks = network.transformer.layers
    n = network.num_prefix_tokens + network.patch_embedding.num_patches
    attention = blocks[0].attention
    return (len(blocks), n * attention.dim, n * blocks[0].mlp.dense1.out_channels, attention.num_heads * n * n)


def inference_bytes(network: ViT, batch_size: int) -> int:
    """Memory of an evaluation in float32: the weights, and at most a block's tokens with either two hidden layers or
    V and two sets of attention weights for each image; counted in compiled graphs (`benchmarks/liveness.py`).

    Example:
        >>> inference_bytes(create_model("vit_b_16"), 8) // 2**20
        371
    """
    _, tokens, hidden, weights = sizes_of(network)
    return 4 * (size_of(network) + batch_size * (tokens + max(2 * hidden, tokens + 2 * weights)))


def activation_bytes(network: ViT, level: str = "O0", recompute: bool = False) -> int:
    """Memory of what a step of training keeps of one image for its gradients; docs/scaling.md explains the formula.

    Example:
        >>> activation_bytes(create_model("vit_b_16")) // 2**20
        137
    """
    layers, tokens, hidden, weights = sizes_of(network)
    height, width = network.patch_embedding.image_size
    bytes_each, norms, image = (4, 8, 0) if level == "O0" else (2, 10, network.patch_embedding.input_channels * height
                                                                * width)
    block = norms * tokens + 2 * hidden + weights
    kept = layers * tokens + block - tokens if recompute else layers * block
    return bytes_each * (kept + tokens + 2 * hidden + image)


def training_bytes(network: ViT, batch_size: int, level: str = "O0", recompute: bool = False) -> int:
    """Memory of a step of training with Adam or AdamW: see `activation_bytes`.

    Example:
        >>> training_bytes(create_model("vit_b_16"), 8) // 2**20
        2423
    """
    return ADAM * size_of(network) + batch_size * activation_bytes(network, level, recompute)


def summarize(name: str | None = None, /, checkpoint: str | None = None, image_size: int | None = None,
              num_classes: int | None = None, overrides: Overrides | None = None) -> dict[str, Any]:
    """Print the layers of a network, with parameters and MACs, and the memory of training and inference.

    Args:
        name: a name that `mindvit models` prints, or timm's name for it.
        checkpoint: a checkpoint in its place, whose network is summarized.
        image_size: pixels; by default the variant's, or the checkpoint's.
        num_classes: width of the head, likewise.
        overrides: other arguments of ViT, for example '{"pool": "mean"}'.

    Returns:
        dict: `layers` (list of dict: name, output, parameters, macs), `parameters` and `macs` of all.

    Raises:
        ValueError: neither name nor checkpoint is given, or both; or there is no such network.

    Example:
        >>> summarize("vit_b_16")["parameters"]
        vit_b_16: images of 224 x 224 in 14 x 14 patches of 16 x 16; 197 tokens, width 768, 12 blocks of 12 heads
        ...
        86567656
    """
    if (name is None) == (checkpoint is None):
        raise ValueError("give either the name of a model or --checkpoint FILE")
    asked: dict[str, Any] = {"image_size": image_size, "num_classes": num_classes, **(overrides or {})}
    given = {key: value for key, value in asked.items() if value is not None}
    if checkpoint:
        network = from_checkpoint(checkpoint, **given)
    else:
        with no_init_parameters():  # values nobody asks for: 2.5 GB of ViT-H
            network = create_model(str(name), **given)
    rows = layers_of(network)
    print_summary(network, rows, str(name or checkpoint))
    return {"layers": [dataclasses.asdict(row) for row in rows],
            "parameters": sum(row.parameters for row in rows), "macs": sum(row.macs for row in rows)}


def print_summary(network, rows, source):
    embedding, blocks = network.patch_embedding, network.transformer.layers
    by = [f"{height} x {width}" for height, width in (embedding.image_size, embedding.grid, embedding.patch_size)]
    n = network.num_prefix_tokens + embedding.num_patches
    print(f"{source}: images of {by[0]} in {by[1]} patches of {by[2]}; {n} tokens, width {blocks[0].attention.dim}, "
          f"{len(blocks)} blocks of {blocks[0].attention.num_heads} heads")
    line = "{:24} {:>14} {:>14} {:>18}"
    print(line.format("layer", "output", "parameters", "MACs an image"))
    for row in rows:
        if row.name.startswith("block "):
            _, number, part = row.name.split(maxsplit=2)
            if number != "0":
                continue  # all blocks are equal
            if part == "norm1":
                print(f"blocks 0 to {len(blocks) - 1}, each")
            row = dataclasses.replace(row, name=f"  {part}")
        print(line.format(row.name, str(row.output), f"{row.parameters:,}", f"{row.macs:,}" if row.macs else ""))
    print(line.format("all", "", f"{sum(row.parameters for row in rows):,}", f"{sum(row.macs for row in rows):,}"))
    print("\nmemory in MiB by images at a time (by formula, docs/scaling.md; training with Adam or AdamW)")
    line = "{:>8} {:>11} {:>12} {:>15} {:>14} {:>18}"
    print(line.format("images", "inference", "training", "with recompute", "training, O2", "O2 with recompute"))
    for batch in BATCHES:
        figures = [inference_bytes(network, batch), *(training_bytes(network, batch, level, recompute)
                                                      for level in ("O0", "O2") for recompute in (False, True))]
        print(line.format(batch, *(f"{figure / 2**20:,.1f}" for figure in figures)))


