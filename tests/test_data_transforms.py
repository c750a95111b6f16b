"""What training does to a picture before the network sees it."""

import io

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision
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


def test_without_random_crop_the_whole_picture_is_resized():
    rows, columns = np.mgrid[0:60, 0:90]
    picture = np.stack([rows * 4, columns * 2, (rows + columns) % 200], 2).astype(np.uint8)
    for size in (30, (24, 40)):
        height, width = (size, size) if isinstance(size, int) else size
        expected = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), float)
        got = pixels(picture, train_transform(size, flip=0.0, random_crop=False))[0]
        assert got.shape == expected.shape and np.abs(got - expected).max() < 1.01
        mirrored = pixels(picture, train_transform(size, flip=1.0, random_crop=False))[0]
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
    operations = train_transform(101, flip=0.5, rotation=rotation, random_crop=False)
    angles = np.array([angle(image) for image in pixels(bar, operations, 150)])
    assert np.abs(angles).max() <= rotation + 0.5
    assert angles.min() <= -0.85 * rotation and angles.max() >= 0.85 * rotation
    assert abs(angles.mean()) <= 0.2 * rotation and (angles.std() > 0.4 * rotation or not rotation)
    assert any(isinstance(operation, vision.RandomRotation) for operation in operations) == bool(rotation)


def test_a_rotation_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"rotation is -3; it lies in \[0, 180\] degrees"):
        train_transform(32, rotation=-3)
