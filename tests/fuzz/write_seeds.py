"""Writes what fuzzing starts from to tests/fuzz/corpus: one small good input of each kind; needs torch for .pth."""

import io
import json
import pathlib
import pickle

import numpy as np
import targets
import torch
from PIL import Image

CORPUS = pathlib.Path(__file__).with_name("corpus")
MARKS = {"arguments": {"num_heads": 1, "head_dim": 4, "image_size": 4, "pos_embedding": "learned"},
         "preprocessing": {"crop_fraction": 0.9}, "class_names": ["a", "b"]}
CONFIGS = {"recipe": "0data:\n  root: photos\n  augment: [random_crop, flip: 0.3]\ntrain: {epochs: 3, lr: 1e-3}\n",
           "whole": "2model: {name: vit_t_16, overrides: {num_layers: 1}}\ntrain: {optimizer: {sgd: {}}}\n",
           "flags": "1--train.epochs=3\n--data.mean\n0.5,0.5,0.5\n--model.overrides.num_heads\n4\n--data.augment=flip"}


def checkpoints():
    """{kind: the file, or the part of it that targets.py wraps}."""
    arrays = targets.small()
    npz, npy, pth, old = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(npz, **arrays)
    np.save(npy, arrays["cls_token"])
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    torch.save(tensors, pth)
    optimizer = {i: torch.zeros(3, dtype=torch.float64) for i in range(5)}
    torch.save({"model": tensors, "epoch": 3, "optimizer": optimizer}, old, _use_new_zipfile_serialization=False)
    stored = targets.small_safetensors()
    header = stored[8:8 + int.from_bytes(stored[:8], "little")]
    with torch.serialization._open_zipfile_reader(io.BytesIO(pth.getvalue())) as archive:
        pickled = archive.get_record("data.pkl")
    yield from {"ckpt": targets.small_checkpoint(), "safetensors": stored, "npz": npz.getvalue(), "pth": pth.getvalue(),
                "header": header, "npy": npy.getvalue(), "pickle": pickled, "marks": json.dumps(MARKS).encode(),
                "config.json": b'{"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [1, 1, 1]}}',
                "preprocessor_config.json": b'{"image_processor_type": "ViTImageProcessor", "size": 4}',
                "cifar": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [3]}, 2)}.items()
    yield "pth", old.getvalue()


def images():
    """(name, bytes) of a few formats and modes."""
    rgb = Image.fromarray(np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3))
    exif = Image.Exif()
    exif[274] = 6
    for name, picture, options in (
            ("rgb.jpeg", rgb, {}), ("gray.jpeg", rgb.convert("L"), {"progressive": True}),
            ("cmyk.jpeg", rgb.convert("CMYK"), {}), ("turned.jpeg", rgb, {"exif": exif}),
            ("rgba.png", rgb.convert("RGBA"), {}), ("deep.png", Image.fromarray(np.zeros((5, 6), np.uint16)), {}),
            ("palette.png", rgb.convert("P"), {}),
            ("rgb.bmp", rgb, {}), ("rgb.webp", rgb, {}),
            ("two.gif", rgb.convert("P"), {"save_all": True, "append_images": [rgb.rotate(90).convert("P")]}),
            ("two.webp", rgb, {"save_all": True, "append_images": [rgb.rotate(180)]})):
        file = io.BytesIO()
        picture.save(file, name.split(".")[1], **options)
        yield name, file.getvalue()


if __name__ == "__main__":
    kinds = [*targets.CHECKPOINTS, *targets.BESIDE, "cifar"]
    written = {"checkpoint": [(f"{i}.{kind}", bytes([kinds.index(kind)]) + content)
                              for i, (kind, content) in enumerate(checkpoints())],
               "image": images(), "config": [(name, text.encode()) for name, text in CONFIGS.items()]}
    for target, files in written.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, content in files:
            (CORPUS / target / f"seed.{name}").write_bytes(content)
