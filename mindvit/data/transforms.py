"""The image operations of training, evaluation and prediction, as published for the Vision suite's ViT."""
from mindspore.dataset import vision

from mindvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# Bicubic is Pillow's, with antialiasing, as timm and Hugging Face resize.
INTERPOLATIONS = {"bilinear": vision.Inter.LINEAR, "bicubic": vision.Inter.PILCUBIC}


def train_transform(size, scale=(0.08, 1.0), ratio=(0.75, 1.333), flip=0.5, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Operations for training: a random part of the picture, resized to `size`, mirrored with probability `flip`.

    Args:
        size: pixels of the output, one int or (height, width).
        scale: least and largest part of the picture's area to crop.
        ratio: least and largest width / height of the crop.
        flip: probability of a horizontal flip.
        mean, std: of the three RGB channels, for values scaled to 0..1.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).
    """
    return [vision.RandomCropDecodeResize(size, scale=scale, ratio=ratio), vision.RandomHorizontalFlip(flip),
            *_finish(mean, std)]


def eval_transform(size, crop_fraction=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"):
    """Operations for evaluation: resize to `size` / `crop_fraction`, then crop the centre.

    Args:
        size: pixels of the output. An int resizes the shorter side and keeps the proportions (224 by way of 256);
            (height, width) resizes both sides, as `train_transform` does with its crops.
        crop_fraction: side of the crop as part of the resized picture's side.
        mean, std: as in `train_transform`.
        interpolation: "bilinear" or "bicubic".

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).
    """
    resized = round(size / crop_fraction) if isinstance(size, int) else [round(side / crop_fraction) for side in size]
    return [vision.Decode(), vision.Resize(resized, INTERPOLATIONS[interpolation]), vision.CenterCrop(size),
            *_finish(mean, std)]


def predict_transform(size, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"):
    """Operations for prediction: the whole picture resized to `size`, proportions not kept.

    Args:
        size: pixels of the output, one int or (height, width).
        mean, std: as in `train_transform`.
        interpolation: as in `eval_transform`.

    Returns:
        list of operations from encoded bytes to float32 (3, height, width).
    """
    size = [size, size] if isinstance(size, int) else list(size)
    return [vision.Decode(), vision.Resize(size, INTERPOLATIONS[interpolation]), *_finish(mean, std)]


def infer_transform(dataset, columns, resize):
    """Map a data set of encoded pictures, such as one over `DatasetGenerator`, to batches of one for prediction.

    Args:
        dataset: MindSpore data set.
        columns: its column names, the picture's first.
        resize: pixels of the output, one int or (height, width).

    Returns:
        data set whose first column is float32 (1, 3, height, width).
    """
    return dataset.map(predict_transform(resize), input_columns=columns[0]).batch(1)


def _finish(mean, std):
    scaled = [[value * 255 for value in channels] for channels in (mean, std)]
    return [vision.HWC2CHW(), vision.Normalize(*scaled, is_hwc=False)]  # bytes are quicker to turn than floats
