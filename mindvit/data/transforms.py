"""The image operations of training, evaluation and prediction, as published for the Vision suite's ViT and as any
weights need them."""
from mindspore.dataset import vision
from PIL import Image

from mindvit.data.images import encode, open_rgb, read_image, to_rgb
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, pair, prepare_pixels, resize_target

# Bicubic is Pillow's, with antialiasing.
INTERPOLATIONS = {"bilinear": vision.Inter.LINEAR, "bicubic": vision.Inter.PILCUBIC, "nearest": vision.Inter.NEAREST}


def prepare_image(image, size, preprocessing):
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
    opened, opening = isinstance(image, Image.Image), preprocessing.opening
    if preprocessing.resizer == "mindspore" and opening == "seen" and not opened:
        image = read_image(image)
    else:
        image = to_rgb(image, opening) if opened else open_rgb(image, opening)
        if preprocessing.resizer != "mindspore":
            return prepare_pixels(image, size, preprocessing)
        image = encode(image)
    for operation in operations(size, preprocessing):
        image = operation(image)
    return image


def operations(size, preprocessing):
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


def train_transform(size, scale=(0.08, 1.0), ratio=(0.75, 1.333), flip=0.5, mean=IMAGENET_MEAN, std=IMAGENET_STD,
                    rotation=0.0, random_crop=True):
    """Operations for training: a random part of the image, resized to `size`, mirrored with probability `flip`, and
    rotated about its centre by at most `rotation` degrees, the corners then black.

    Args:
        size: pixels of the output, one int or (height, width).
        scale: least and largest part of the image's area to crop.
        ratio: least and largest width / height of the crop.
        flip: probability of a horizontal flip.
        mean, std: of the three RGB channels, for values scaled to 0..1.
        rotation: largest angle, in degrees, to either side.
        random_crop: False takes the whole image, proportions not kept.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).

    Raises:
        ValueError: rotation is outside [0, 180].

    Example:
        >>> data = ImageNet("dataset", "train", transform=train_transform(96, rotation=10), batch_size=4)
        >>> data.run().output_shapes()[0]
        [4, 3, 96, 96]
    """
    if not 0 <= rotation <= 180:
        raise ValueError(f"rotation is {rotation}; it lies in [0, 180] degrees")
    resized = ([vision.RandomCropDecodeResize(size, scale=scale, ratio=ratio)] if random_crop else
               [vision.Decode(), vision.Resize(list(pair(size)))])
    rotated = [vision.RandomRotation(rotation, vision.Inter.BILINEAR)] if rotation else []
    return [*resized, vision.RandomHorizontalFlip(flip), *rotated, *finish(mean, std)]


def eval_transform(size, crop_fraction=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"):
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


def predict_transform(size, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"):
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


def infer_transform(dataset, columns_list, resize):
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
