"""The preparation of images as ONNX: from the pixels of pictures of any size to what the network takes, number for
number as `mindvit.preprocessing` and MindSpore's operations do it.

Numbers are float64 unless said otherwise: whole ones up to 2^53 are exact. `old` and `new` are a side before and after
the resize, scalars; `places` (n,) are the resized columns that the crop takes.
"""

import numpy as np
import PIL

from mindvit.exporting.graph import Graph, Value
from mindvit.preprocessing import Preprocessing, pair, resize_target

# Where a picture loses more than twice as much height as width, Pillow resizes the rows first from 13 on.
ROWS_FIRST = int(PIL.__version__.partition(".")[0]) >= 13
PILLOW_BITS, TORCH_BITS, OPENCV_BITS = 22, 15, 11  # behind the point, or in all, of their weights


def constant(graph, value):
    return graph.constant(value, float)


def triangle(graph, x):
    return graph("Max", 1 - graph("Abs", x), 0)


def cubic(graph, x):  # Keys, "Cubic convolution interpolation", 1981, with a = -1/2
    x = graph("Abs", x)
    far = graph.where(x < 2, ((x * -0.5 + 2.5) * x - 4) * x + 2, 0)
    return graph.where(x < 1, (x * 1.5 - 2.5) * x * x + 1, far)


def sinc(graph, x):
    x = x * np.pi
    return graph.where(graph("Equal", x, 0, dtype=bool), 1, graph("Sin", x) / x)


def lanczos(graph, x):
    return graph.where(graph("Abs", x) < 3, sinc(graph, x) * sinc(graph, x / 3), 0)


def box(graph, x):
    return ((x > -0.5) & (x <= 0.5)).to(float)


def hamming(graph, x):
    x, (a, b) = graph("Abs", x), np.float32([0.54, 0.46])  # which Pillow has in float32
    return graph.where(x < 1, sinc(graph, x) * (graph("Cos", x * np.pi) * b + a), 0)


FILTERS = {"box": (box, 0.5), "bilinear": (triangle, 1), "hamming": (hamming, 1), "bicubic": (cubic, 2),
           "lanczos": (lanczos, 3)}  # and half their width


def averages(graph, old, new, places, interpolation):
    """The weights (old, n) of a resize that averages what it shrinks."""
    function, support = FILTERS[interpolation]
    scale = old / new
    stretch = graph("Max", scale, 1)
    centre = (places + 0.5) * scale
    first = graph("Max", graph("Floor", centre - stretch * support + 0.5), 0)
    behind = graph("Min", graph("Floor", centre + stretch * support + 0.5), old)
    columns = graph("Unsqueeze", upto(graph, old), [1])  # (old, 1)
    used = (first <= columns) & (columns < behind)
    weights = graph.where(used, function(graph, (columns - centre + 0.5) / stretch), 0)
    return weights / graph("ReduceSum", weights, [0])


def upto(graph, number):
    """0, 1, ... below the number."""
    return graph("Range", constant(graph, 0), number, 1)


def turned(graph, x):
    """Rows for columns."""
    return graph("Transpose", x, perm=[0, 1, 3, 2])


def picked(graph, pixels, places):
    """These columns."""
    return graph("Gather", pixels, places.to("int64"), axis=3)


def averaged(graph, pixels, weights, bits):
    """Bytes (B, 3, H, W) to bytes (B, 3, n, H) by whole numbers with so many bits behind the point."""
    scale = graph("Pow", constant(graph, 2), bits)
    weights = graph("Floor", graph("Abs", weights) * scale + 0.5) * graph("Sign", weights)
    sums = graph("MatMul", pixels, weights)
    # turned before it is rounded: onnxruntime makes one operator of a turn and the product behind it, which older ones
    # lack in float64
    return graph("Clip", graph("Floor", turned(graph, sums) / scale + 0.5), 0, 255)


def pillow(graph, pixels, old, new, places, interpolation):
    if interpolation == "nearest":  # Pillow adds step by step, and what is rounded adds up
        scale = graph("Reshape", old / new, [1])
        steps = graph("Concat", scale / 2, graph("Expand", scale, (graph("Reshape", new, [1]) - 1).to("int64")), axis=0)
        steps = graph("Floor", graph("CumSum", steps, graph.constant(0, "int64")))
        return turned(graph, picked(graph, pixels, graph("Gather", steps, places.to("int64"))))
    return averaged(graph, pixels, averages(graph, old, new, places, interpolation), PILLOW_BITS)


def torch(graph, pixels, old, new, places, interpolation):
    weights = averages(graph, old, new, upto(graph, new), interpolation)
    largest = graph("ReduceMax", weights, keepdims=0)
    fitting = graph("Floor", largest * 2.0**np.arange(1, 23) + 0.5) < 2**TORCH_BITS
    weights = graph("Gather", weights, places.to("int64"), axis=1)
    return averaged(graph, pixels, weights, graph("ReduceSum", fitting.to(float), keepdims=0))


def tensorflow(graph, pixels, old, new, places, interpolation):
    """In float32, without averaging."""
    place = (places.to("float32") + 0.5) * (old / new).to("float32") - 0.5
    low = graph("Floor", place)
    first = picked(graph, pixels, graph("Max", low, 0))
    second = picked(graph, pixels, graph("Min", graph("Ceil", place), (old - 1).to("float32")))
    return turned(graph, first + (second - first) * (place - low))


def inverse(graph, x):
    """1 / x, rounded: onnxruntime would make a / x of a * (1 / x)."""
    return graph("Reciprocal", x)


def opencv_pairs(graph, pixels, old, new, places, one_at_border):
    """The two neighbours of each place (B, 3, H, n) and their weights (n,), whole numbers."""
    place = ((places + 0.5) * inverse(graph, new / old) - 0.5).to("float32")
    low = graph("Floor", place)
    share = place - low
    low, last = low.to(float), old - 1
    if one_at_border:
        share = graph.where((low < last) & (graph("Sign", low) > -1), share, 0)
    both = [picked(graph, pixels, graph("Min", graph("Max", each, 0), last)) for each in (low, low + 1)]
    return both, [graph("Round", each * 2**OPENCV_BITS).to(float) for each in (1 - share, share)]


def opencv_columns(graph, pixels, old, new, places, interpolation):
    """Bytes (B, 3, H, W) to whole numbers (B, 3, n, H), 2^11 times as large."""
    (first, second), (a, b) = opencv_pairs(graph, pixels, old, new, places, True)
    return turned(graph, first * a + second * b)


def opencv_rows(graph, pixels, old, new, places, interpolation):
    """These to bytes."""
    both, weights = opencv_pairs(graph, graph("Floor", pixels / 16), old, new, places, False)
    first, second = (graph("Floor", each * weight / 2**16) for each, weight in zip(both, weights))
    return turned(graph, graph("Floor", (first + second + 2) / 4))


def opencv_nearest(graph, pixels, old, new, places, interpolation):
    nearest = graph("Min", graph("Floor", places * inverse(graph, new / old)), old - 1)
    return turned(graph, picked(graph, pixels, nearest))


# (resizer, its interpolation or "" for all): what resizes the columns, and what the rows; both turn what they give
RESIZES = {("pillow", ""): (pillow, pillow), ("torch", ""): (torch, torch),
           ("tensorflow", ""): (tensorflow, tensorflow),
           ("mindspore", "bilinear"): (opencv_columns, opencv_rows),
           ("mindspore", "nearest"): (opencv_nearest, opencv_nearest)}


def resized_shape(graph, height, width, size, preprocessing):
    """Height and width that a picture has before the crop; see `mindvit.preprocessing.resized_shape`."""
    target = resize_target(size, preprocessing)
    mode, of_mindspore = preprocessing.resize_mode, preprocessing.resizer == "mindspore"
    if mode == "squash" or of_mindspore and size[0] != size[1]:
        return [constant(graph, side) for side in target]
    longer, shorter = graph("Max", height, width), graph("Min", height, width)
    if mode == "crop" and target[0] == target[1]:
        if of_mindspore:
            long = graph("Floor", longer.to("float32") / shorter.to("float32") * target[0]).to(float)
        else:
            long = graph("Floor", longer * target[0] / shorter)
        return graph.where(width <= height, long, target[0]), graph.where(width <= height, target[0], long)
    ratio = graph("Max" if mode == "border" else "Min", height / target[0], width / target[1])
    return [graph("Max", graph("Round", side / ratio), 1) for side in (height, width)]


def crop_places(graph, new, size, resizer):
    """(places, which of them lie in the resized image, both (size,)) of the centre crop."""
    spare = (new - size) / 2
    first = graph("Floor", spare)
    if resizer != "mindspore":  # whose Pad and CenterCrop round alike
        first = graph.where(spare < 0, graph("Ceil", spare), first if resizer == "torch" else graph("Round", spare))
    places = first + np.arange(size)
    inside = (places < new) & (places > -1)
    return graph("Max", graph("Min", places, new - 1), 0), inside


def prepared(graph: Graph, pixels: Value, size: int | tuple[int, int], preprocessing: Preprocessing) -> Value:
    """What the network takes, float32 (B, 3, *size), of pictures' RGB, uint8 (B, H, W, 3).

    Raises:
        ValueError: the resizer's arithmetic is not known to the last bit.
    """
    (rows, columns), resizer = pair(size), preprocessing.resizer
    passes = RESIZES.get((resizer, "")) or RESIZES.get((resizer, preprocessing.interpolation))
    if not passes:
        raise ValueError(f"the {preprocessing.interpolation} resize of {resizer!r} cannot be written pixel for pixel; "
                         "leave with_preprocess out, or take another --data.interpolation")
    shape = graph("Shape", pixels, dtype="int64")
    height, width = (graph("Gather", shape, graph.constant(axis, "int64")).to(float) for axis in (1, 2))
    new_height, new_width = resized_shape(graph, height, width, (rows, columns), preprocessing)
    row_places, row_there = crop_places(graph, new_height, rows, resizer)
    column_places, column_there = crop_places(graph, new_width, columns, resizer)

    def resized(perm, *passes):
        x = graph("Transpose", pixels, perm=perm).to("float32" if resizer == "tensorflow" else float)
        for resize, old, new, places in passes:
            x = resize(graph, x, old, new, places, preprocessing.interpolation)
        return x

    by_width, by_height = (passes[0], width, new_width, column_places), (passes[1], height, new_height, row_places)
    x = resized([0, 3, 1, 2], by_width, by_height)
    if resizer == "pillow" and ROWS_FIRST:
        lost, lost_width = height - new_height, width - new_width
        other = turned(graph, resized([0, 3, 2, 1], by_height, by_width))
        x = graph.where((lost > 0) & (lost > lost_width * 2), other, x)
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    fill = np.round(255 * mean) * (preprocessing.resize_mode == "border")
    x = graph.where(graph("Unsqueeze", row_there, [1]) & column_there, x, fill.reshape(3, 1, 1)).to("float32")
    for operator, values in (("Sub", mean), ("Div", std)):
        scaled = np.float32(values * 255) if resizer == "mindspore" else np.float32(values) * 255
        x = graph(operator, x, scaled.reshape(3, 1, 1))
    return x
