"""Writes what other libraries make of small images: preparation.npz and preparation_tensorflow.npz.

python tests/data/write_preparation.py              (where timm, torchvision and transformers are installed)
python tests/data/write_preparation.py tensorflow   (where TensorFlow is)
"""

import itertools
import json
import pathlib
import sys

import numpy as np

SIZE = 16
# Heights and widths for which the crop's offset takes every remainder by 4, halves included, and odd ones.
SHAPES = [(16, 16), (18, 18), (37, 53), (53, 37), (16, 17), (18, 16), (9, 11), (1, 1), (64, 6), (6, 64), (31, 61),
          *((30, 30 + i) for i in range(2, 10, 2)), *((30 + i, 30) for i in range(2, 10, 2))]
HERE = pathlib.Path(__file__).parent


def pixels(height, width):
    """An image full of edges, from a formula: uint8 (height, width, 3)."""
    y, x, c = np.ogrid[:height, :width, :3]
    return ((y * y * 3 + x * 7 + y * x * 5 + c * 50) % 256).astype(np.uint8)


def cases():
    """{library: list of its own configurations}"""
    timm = [{"crop_mode": mode, "interpolation": interpolation, "crop_pct": crop_pct}
            for mode, interpolation, crop_pct in itertools.product(
                ("center", "squash", "border"), ("bilinear", "bicubic"), (0.875, 0.9, 1.0))]
    timm += [{"interpolation": name, "crop_pct": 0.9} for name in ("nearest", "box", "hamming", "lanczos")]
    transformers = [{"image_processor_type": "ViTImageProcessor", "size": size, "resample": resample, **crop}
                    for resample in (1, 2, 3) for size, crop in (
                        ({"height": SIZE, "width": SIZE}, {}),
                        ({"height": 19, "width": 19}, {"do_center_crop": True, "crop_size": SIZE}),
                        ({"shortest_edge": 18}, {"do_center_crop": True, "crop_size": SIZE}),
                        ({"shortest_edge": 12}, {"do_center_crop": True, "crop_size": SIZE}))]
    torchvision = [{"resize_size": size, "interpolation": name} for size in (16, 18, 19) for name in
                   ("bilinear", "bicubic")]
    return {"timm": timm, "transformers": transformers, "torchvision": torchvision}


def prepared(library, config, image):
    """The library's bytes (3, SIZE, SIZE) before they are scaled."""
    if library == "timm":
        from timm.data import create_transform
        return create_transform(input_size=SIZE, normalize=False, **config)(image).numpy()
    if library == "transformers":
        from transformers import ViTImageProcessor
        processor = ViTImageProcessor(**config, do_rescale=False, do_normalize=False)
        return processor(image, return_tensors="np")["pixel_values"][0]
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification
    preset = ImageClassification(crop_size=SIZE, resize_size=config["resize_size"], mean=(0, 0, 0), std=(1, 1, 1),
                                 interpolation=InterpolationMode(config["interpolation"]))
    return (preset(image) * 255).round().numpy()


def main():
    if sys.argv[1:] == ["tensorflow"]:
        import tensorflow
        arrays = [tensorflow.image.resize(pixels(*shape), [SIZE, SIZE]).numpy() for shape in SHAPES[:11]]
        np.savez_compressed(HERE / "preparation_tensorflow.npz", prepared=np.stack(arrays))  # (11, SIZE, SIZE, 3)
        return
    from PIL import Image

    said, arrays = [], []
    for library, configs in cases().items():
        for config, shape in itertools.product(configs, SHAPES):
            array = prepared(library, config, Image.fromarray(pixels(*shape)))
            assert (array == array.astype(np.uint8)).all()
            said.append([library, config, shape])
            arrays.append(array.astype(np.uint8))
    np.savez_compressed(HERE / "preparation.npz", cases=json.dumps(said), prepared=np.stack(arrays))


if __name__ == "__main__":
    main()
