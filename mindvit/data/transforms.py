"""The image operations of training, evaluation and prediction, as published for the Vision suite's ViT and as any
weights need them."""
from collections.abc import Sequence

import numpy as np
from mindspore.dataset import Dataset, vision
from numpy.typing import NDArray
from PIL import Image

from mindvit.choices import Choice, choose, name_of
from mindvit.data.augment import AUGMENTATIONS, INTERPOLATIONS, SIZING
from mindvit.data.images import Operation, decode, plain_jpeg, read_bytes, to_rgb
from mindvit.data.mixing import MIXING, Mixing
from mindvit.files import StrPath
from mindvit.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Size,
    pair,
    prepare_pixels,
    resize_target,
    resized_shape,
)

Channels = tuple[float, float, float]


def prepare_image(image: StrPath | Image.Image, size: Size,
                  preprocessing: Preprocessing) -> NDArray[np.float32]:
    """One image as a network takes it: the way of evaluation, prediction and Python alike.

    `network(mindspore.Tensor(prepare_image("cat.jpg", 224, network.preprocessing))[None])` gives its logits.

    Args:
        image: path, or PIL.Image of any mode.
        size: pixels of the result, one int or (height, width).
        preprocessing (Preprocessing): `network.preprocessing`; prediction takes its `for_prediction()`.

    Returns:
        float32 (3, height, width).

    Raises:
        FileNotFoundError, ValueError: see `open_rgb` and `prepare_pixels`.

    Example:
        >>> prepare_image("cat.jpg", 224, Preprocessing()).shape
        (3, 224, 224)
    """
    rgb = to_rgb(image, preprocessing.opening) if isinstance(image, Image.Image) else opened(image, preprocessing)
    if preprocessing.resizer != "mindspore":
        return prepare_pixels(rgb, size, preprocessing)
    if isinstance(size, int):
        resized_shape(rgb.height, rgb.width, pair(size), preprocessing)  # raises where it would fill the memory
    pixels, (_, *others) = np.asarray(rgb), operations(size, preprocessing)
    for operation in others:
        pixels = operation(pixels)
    return pixels


def opened(file, preprocessing):
    """An image file as the PIL.Image of mode "RGB" that `prepare_image` prepares, decoded once."""
    return opened_bytes(read_bytes(file), file, preprocessing)


def opened_bytes(data, name, preprocessing):
    """The same of what is in a file; the name stands in messages."""
    if preprocessing.resizer == "mindspore" and preprocessing.opening == "seen" and plain_jpeg(data):
        return Image.fromarray(vision.Decode()(np.frombuffer(data, np.uint8)))
    return decode(data, name, preprocessing.opening)


def operations(size: Size, preprocessing: Preprocessing) -> list[Operation]:
    """MindSpore's operations for a Preprocessing whose resizer is "mindspore".

    Args:
        size: pixels of the output. An int resizes the shorter side and keeps the proportions; (height, width) resizes
            both sides, as `train_transform` does with its crops.
        preprocessing (Preprocessing): what to do.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).
    """
    resized = list(resize_target(pair(size), preprocessing))
    if isinstance(size, int) and preprocessing.resize_mode == "crop":
        resized = resized[0]
    crop = [] if resized == list(pair(size)) else [vision.CenterCrop(size)]
    return [vision.Decode(), vision.Resize(resized, INTERPOLATIONS[preprocessing.interpolation]), *crop,
            *finish(preprocessing.mean, preprocessing.std)]


def train_transform(size: Size, augment: Sequence[Choice] = ("random_crop", "flip"),
                    mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD) -> list[Operation]:
    """Operations for training: the named augmentations of `mindvit.data.augment` in their order, then mean and std.

    Args:
        size: pixels of the output, one int or (height, width).
        augment: names, or {name: {option: value}}; one of them makes images of one size: random_crop, resize or
            simple_crop.
        mean, std: of the three RGB channels, for values scaled to 0..1.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).

    Raises:
        ValueError: there is no such augmentation or option, an option is out of its range, or nothing makes images of
            one size.

    Example:
        >>> data = ImageNet("dataset", transform=train_transform(96, ["resize", {"rotation": 10}]), batch_size=4)
        >>> data.run().output_shapes()[0]
        [4, 3, 96, 96]
    """
    chosen = [choose(choice, AUGMENTATIONS, "augment") for choice in augment]
    if not any(part.func in SIZING for part in chosen):
        raise ValueError(f"augment is {list(augment)}, after which images have different sizes; begin with one of "
                         f"{', '.join(part.__name__ for part in SIZING)}")
    first, *others = [operation for part in chosen for operation in part(pair(size))]
    if isinstance(first, vision.RandomResizedCrop):  # the same crops; of a large JPEG, only they are decoded
        opened = [vision.RandomCropDecodeResize(first.size, first.scale, first.ratio, first.interpolation)]
    else:
        opened = [vision.Decode(), first]
    return [*opened, *others, *finish(mean, std)]


def split_augment(augment: Sequence[Choice]) -> tuple[list[Choice], list[Mixing]]:
    """(what is done to single images, what is done to batches), from one list.

    Raises:
        ValueError: something for single images stands behind something for batches.
    """
    single = [choice for choice in augment if name_of(choice) not in MIXING]
    behind = list(augment)[len(single):]
    if any(name_of(choice) not in MIXING for choice in behind):
        raise ValueError(f"augment is {list(augment)}; what works on batches, {', '.join(MIXING)}, stands behind the "
                         "others")
    return single, [choose(choice, MIXING, "augment") for choice in behind]


def eval_transform(size: Size, crop_fraction: float = 0.875, mean: Channels = IMAGENET_MEAN,
                   std: Channels = IMAGENET_STD, interpolation: str = "bilinear") -> list[Operation]:
    """Operations for evaluation: resize to `size` / `crop_fraction`, then crop the centre.

    Args:
        size: pixels of the output. An int resizes the shorter side and keeps the proportions (224 by way of 256);
            (height, width) resizes both sides, as `train_transform` does with its crops.
        crop_fraction: side of the crop as part of the resized image's side.
        mean, std: as in `train_transform`.
        interpolation: "bilinear", "bicubic" or "nearest".

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).

    Example:
        >>> image = read_image("cat.jpg")
        >>> for operation in eval_transform(224):
        ...     image = operation(image)
        >>> image.shape
        (3, 224, 224)
    """
    return operations(size, Preprocessing(mean, std, crop_fraction, interpolation))


def predict_transform(size: Size, mean: Channels = IMAGENET_MEAN,
                      std: Channels = IMAGENET_STD, interpolation: str = "bilinear") -> list[Operation]:
    """Operations for prediction: the whole image resized to `size`, proportions not kept.

    Args:
        size: pixels of the output, one int or (height, width).
        mean, std: as in `train_transform`.
        interpolation: as in `eval_transform`.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).

    Example:
        >>> data = ImageNet("dataset", "val", transform=predict_transform(224))
        >>> data.run().output_shapes()[0]
        [4, 3, 224, 224]
    """
    return operations(size, Preprocessing(mean, std, 1.0, interpolation, resize_mode="squash"))


def infer_transform(dataset: Dataset, columns_list: Sequence[str], resize: Size) -> Dataset:
    """Map a data set of encoded images, such as one over `DatasetGenerator`, to batches of one for prediction.

    Args:
        dataset: MindSpore data set.
        columns_list: its column names, list or tuple, the image's first.
        resize: pixels of the output, one int or (height, width).

    Returns:
        data set whose first column is float32 (1, 3, height, width).

    Example:
        >>> source = mindspore.dataset.GeneratorDataset(DatasetGenerator(*read_dataset("cat.jpg")), ["image", "label"])
        >>> infer_transform(source, ["image", "label"], 224).output_shapes()[0]
        [1, 3, 224, 224]
    """
    return dataset.map(predict_transform(resize), input_columns=columns_list[0]).batch(1)


def finish(mean, std):
    scaled = [[value * 255 for value in channels] for channels in (mean, std)]
    return [vision.HWC2CHW(), vision.Normalize(*scaled, is_hwc=False)]  # bytes are quicker to turn than floats
