"""What training does to an image before the network sees it."""

import io
import re

import mindspore.dataset as ds
import numpy as np
import pytest
from PIL import Image

from mindvit import train_transform
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def pixels(picture, operations, count=1):
    """The bytes (count, height, width, 3) that `count` times the picture become, before they are scaled to floats."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    encoded = np.repeat(np.frombuffer(buffer.getvalue(), np.uint8)[None], count, 0)
    ds.config.set_seed(5)
    dataset = ds.NumpySlicesDataset({"image": encoded}, shuffle=False).map(operations, "image")
    images = np.stack([row["image"] for row in dataset.create_dict_iterator(1, output_numpy=True)])
    return (images.transpose(0, 2, 3, 1) * IMAGENET_STD + IMAGENET_MEAN) * 255


def places(height, width):
    """An image whose red and green are row and column, so that a part of it tells where it is from."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2, columns * 2, rows * 0], 2).astype(np.uint8)


def test_a_random_crop_is_a_part_of_the_area_and_shape_asked_for():
    scale, ratio = (0.2, 0.6), (0.5, 2.0)
    crops = pixels(places(100, 120), train_transform(60, [{"random_crop": {"scale": scale, "ratio": ratio}}]), 200)
    heights = (crops[:, -1, 0, 0] - crops[:, 0, 0, 0]) / 2 * 60 / 59  # of the parts, in pixels
    widths = (crops[:, 0, -1, 1] - crops[:, 0, 0, 1]) / 2 * 60 / 59
    areas, shapes = heights * widths / 12000, widths / heights
    assert 0.19 < areas.min() < 0.23 and 0.55 < areas.max() < 0.62 and 0.36 < areas.mean() < 0.44
    assert 0.47 < shapes.min() < 0.6 and 1.7 < shapes.max() < 2.1 and 0.8 < np.exp(np.log(shapes).mean()) < 1.2
    assert crops[:, 0, 0, 0].std() > 10 and crops[:, 0, 0, 1].std() > 10  # from everywhere


def test_the_first_crop_is_the_same_as_one_after_decoding():
    """A crop that stands first is taken while the file is decoded."""
    first = pixels(places(100, 120), train_transform(40, ["random_crop", "flip"]), 20)
    later = pixels(places(100, 120), train_transform(40, [{"rotation": 0}, "random_crop", "flip"]), 20)
    assert first.shape == later.shape == (20, 40, 40, 3) and len({image.tobytes() for image in first}) == 20
    np.testing.assert_allclose(first.mean((0, 1, 2)), later.mean((0, 1, 2)), rtol=0.2)


@pytest.mark.parametrize("padding", [0, 3])
def test_a_simple_crop_is_a_window_of_the_mirrored_image(padding):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    padded = np.pad(picture, ((padding, padding), (padding, padding), (0, 0)), "reflect").astype(float)
    windows = {(top, left): padded[top:top + 16, left:left + 16] for top in range(2 * padding + 1)
               for left in range(2 * padding + 1)}
    found = [next(place for place, window in windows.items() if np.abs(window - image).max() < 0.01)
             for image in pixels(picture, train_transform(16, [{"simple_crop": padding}]), 300)]
    assert set(found) == set(windows)


def test_flip_mirrors_as_often_as_asked():
    images = pixels(places(20, 20), train_transform(20, ["resize", {"flip": 0.25}]), 400)
    mirrored = images[:, 0, 0, 1] > images[:, 0, -1, 1]
    assert 0.17 < mirrored.mean() < 0.33
    np.testing.assert_allclose(images[mirrored], images[~mirrored][:1, :, ::-1].repeat(mirrored.sum(), 0), atol=1e-3)


def test_color_jitter_scales_brightness_within_its_range():
    picture = np.full((8, 8, 3), 100, np.uint8)
    jitter = {"brightness": 0.3, "contrast": 0.0, "saturation": 0.0}
    values = pixels(picture, train_transform(8, ["resize", {"color_jitter": jitter}]), 200)
    assert np.ptp(values, (1, 2, 3)).max() < 0.01  # an even image stays even
    values = values[:, 0, 0, 0]
    assert 69 <= values.min() < 75 and 125 < values.max() <= 131 and abs(values.mean() - 100) < 5


def test_three_augment_is_gray_solarised_or_blurred_a_third_each():
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    images = pixels(picture, train_transform(12, ["resize", "three_augment"]), 300)
    gray = np.ptp(images, 3).max((1, 2)) < 0.01
    solarised = (np.abs(images - np.where(picture < 128, picture, 255 - picture.astype(int))) < 0.01).all((1, 2, 3))
    blurred = ~gray & ~solarised
    assert all(0.24 < share < 0.43 for share in (gray.mean(), solarised.mean(), blurred.mean()))
    spreads = images[blurred].std((1, 2, 3))
    assert spreads.min() < 0.5 * picture.std() and spreads.max() > 0.95 * picture.std()  # strongly and hardly
    weights = [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(images[gray][0][..., 0], picture @ weights, atol=1)


@pytest.mark.parametrize("choice, least", [
    ("auto_augment", 15), ({"auto_augment": "cifar10"}, 15), ({"auto_augment": "svhn"}, 15), ("trivial_augment", 40),
    ("rand_augment", 40), ({"rand_augment": {"magnitude": 0}}, 4)])
def test_searched_and_random_policies_give_many_images(choice, least):
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    images = pixels(picture, train_transform(20, ["resize", choice]), 150)
    assert images.shape == (150, 20, 20, 3) and -0.01 <= images.min() and images.max() <= 255.01
    assert len({image.tobytes() for image in images}) >= least


def test_without_random_crop_the_whole_picture_is_resized():
    rows, columns = np.mgrid[0:60, 0:90]
    picture = np.stack([rows * 4, columns * 2, (rows + columns) % 200], 2).astype(np.uint8)
    for size in (30, (24, 40)):
        height, width = (size, size) if isinstance(size, int) else size
        expected = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), float)
        got = pixels(picture, train_transform(size, ["resize"]))[0]
        assert got.shape == expected.shape and np.abs(got - expected).max() < 1.01
        mirrored = pixels(picture, train_transform(size, ["resize", {"flip": 1}]))[0]
        np.testing.assert_allclose(mirrored, got[:, ::-1], atol=1e-3)


def angle(image):
    """Degrees by which the brightest direction through the middle is turned from the horizontal, up being positive."""
    rows, columns = np.nonzero(image[..., 0] > 128)
    x, y = columns - columns.mean(), rows.mean() - rows
    return np.degrees(0.5 * np.arctan2(2 * (x * y).mean(), (x * x).mean() - (y * y).mean()))


@pytest.mark.parametrize("rotation", [0, 10, 40])
def test_rotation_is_drawn_up_to_its_limit_to_both_sides(rotation):
    bar = np.zeros((101, 101, 3), np.uint8)
    bar[47:54, 25:76] = 255
    operations = train_transform(101, ["resize", "flip", {"rotation": rotation}])
    angles = np.array([angle(image) for image in pixels(bar, operations, 150)])
    assert np.abs(angles).max() <= rotation + 0.5
    assert angles.min() <= -0.85 * rotation and angles.max() >= 0.85 * rotation
    assert abs(angles.mean()) <= 0.2 * rotation and (angles.std() > 0.4 * rotation or not rotation)


def test_a_rotation_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"degrees of rotation is -3.0; it lies in \[0, 180\]"):
        train_transform(32, ["resize", {"rotation": -3}])


@pytest.mark.parametrize("augment, message", [
    (["flip"], r"augment is ['flip'], after which images have different sizes; begin with one of random_crop, resize"),
    ([], "augment is [], after which"), ([{"random_crop": [0.5, 0.2]}], "scale of random_crop is [0.5, 0.2]"),
    ([{"random_crop": [0.0, 1.0]}], "scale of random_crop is [0.0, 1.0]"), ([{"random_crop": [1, 2]}], "is [1, 2]"),
    ([{"random_crop": {"ratio": [-1, 1]}}], "ratio of random_crop is [-1, 1]"),
    ([{"resize": "best"}], "interpolation is 'best'; choose one of bilinear"),
    ([{"simple_crop": 99}], "padding of simple_crop is 99; it lies in [0, 31] pixels"),
    (["resize", {"flip": 1.5}], "probability of flip is 1.5; it lies in [0, 1]"),
    (["resize", {"color_jitter": {"hue": 0.6}}], "hue of color_jitter is 0.6"),
    (["resize", {"rand_augment": 31}], "magnitude of rand_augment is 31; it lies in [0, 30]"),
    (["resize", {"auto_augment": "best"}], "policy of auto_augment is 'best'; choose one of imagenet, cifar10, svhn"),
])
def test_what_cannot_be_augmented_is_refused(augment, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train_transform(32, augment)
