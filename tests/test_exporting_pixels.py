"""The preparation of images as ONNX, equal to the last bit to `prepare_image`: Pillow, MindSpore's OpenCV, the
arithmetic of torch and TensorFlow."""

import resource

import numpy as np
import onnx
import pytest
from PIL import Image

from mindvit import prepare_image
from mindvit.exporting import pixels
from mindvit.exporting.graph import Graph
from mindvit.exporting.onnx_file import onnxruntime_session
from mindvit.exporting.pixels import prepared
from mindvit.preprocessing import RESIZE_MODES, RESIZERS, Preprocessing

SIZES = [(64, 0.875), ((32, 96), 0.9), (40, 1.4)]  # the last leaves a border around pictures
WAYS = [(resizer, interpolation, mode) for resizer, interpolations in RESIZERS.items()
        for interpolation in interpolations for mode in RESIZE_MODES
        if resizer != "mindspore" or mode != "border" and interpolation != "bicubic"]


def assert_equal(size, preprocessing, pictures):
    graph = Graph()
    images = prepared(graph, graph.input("pixels", "uint8", ["batch", "height", "width", 3]), size, preprocessing)
    graph.output(images, "images", ["batch", 3, "rows", "columns"], {})
    content = graph.in_one()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    prepare = onnxruntime_session(content)
    for picture in pictures:
        expected = prepare_image(Image.fromarray(picture), size, preprocessing)
        assert np.array_equal(prepare(np.stack([picture, picture[::-1]]))[0], expected), picture.shape


def pictures(seed, number, largest=500):
    rng = np.random.default_rng(seed)
    shapes = [(64, 64), (480, 640)[::rng.choice((1, -1))], *rng.integers(8, largest, (number - 2, 2))]
    smooth = [Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(shape, Image.Resampling.BICUBIC)
              for shape in shapes]
    return [rng.integers(0, 256, (*shape, 3), np.uint8) if i % 2 else np.asarray(smooth[i])
            for i, shape in enumerate(shapes) if max(shape) < 12 * min(shape)]


@pytest.mark.parametrize("resizer, interpolation, mode", WAYS)
def test_every_resize_pixel_for_pixel(resizer, interpolation, mode):
    seed = WAYS.index((resizer, interpolation, mode))
    size, fraction = SIZES[seed % len(SIZES)]
    assert_equal(size, Preprocessing(resizer=resizer, interpolation=interpolation, resize_mode=mode,
                                     crop_fraction=fraction), pictures(seed, 5))


def test_pillow_13_resizes_the_rows_of_tall_pictures_first(monkeypatch):
    """What Pillow makes of the rows alone, then of the columns."""
    monkeypatch.setattr(pixels, "ROWS_FIRST", True)
    graph, preprocessing = Graph(), Preprocessing((0, 0, 0), (1 / 255,) * 3, 1.0, "bicubic", "squash", "pillow")
    given = graph.input("pixels", "uint8", ["batch", "height", "width", 3])
    graph.output(prepared(graph, given, 40, preprocessing), "images", ["batch", 3, 40, 40], {})
    prepare, other = onnxruntime_session(graph.in_one()), 0
    for height, width in ((300, 90), (90, 300), (141, 90), (140, 90), (60, 30)):
        picture = Image.fromarray(np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8))
        steps = [(width, 40), (40, 40)] if height - 40 > 2 * (width - 40) else [(40, height), (40, 40)]
        expected = picture.resize(steps[0], Image.Resampling.BICUBIC).resize(steps[1], Image.Resampling.BICUBIC)
        found = prepare(np.asarray(picture)[None])[0].transpose(1, 2, 0)
        np.testing.assert_allclose(found, np.asarray(expected), rtol=0, atol=1e-3)
        other += steps[0][0] == width
    assert other == 3


def test_a_narrow_picture_takes_little_memory():
    """Of what it is resized to, 28,000 columns, the crop's alone are computed."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 500, 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, limits[1]))
    try:
        assert_equal(40, Preprocessing(crop_fraction=0.7, interpolation="bicubic", resizer="pillow"), [picture])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.long
@pytest.mark.parametrize("resizer, interpolation, mode", WAYS)
def test_every_resize_pixel_for_pixel_at_all_sizes(resizer, interpolation, mode):
    for seed, (size, fraction) in enumerate([*SIZES, (224, 0.9), (48, 1.0), (384, 1.0)]):
        assert_equal(size, Preprocessing((0.5, 0.4, 0.3), (0.5, 0.2, 0.1), fraction, interpolation, mode, resizer),
                     pictures(seed, 20, 1500))


def test_what_is_not_known_to_the_last_bit_is_refused():
    graph = Graph()
    with pytest.raises(ValueError, match="^the bicubic resize of 'mindspore' cannot be written pixel for pixel; leave"):
        prepared(graph, graph.input("pixels", "uint8", ["batch", "height", "width", 3]), 32,
                 Preprocessing(interpolation="bicubic"))
