"""A hundred photographs as people have them, made from the pictures that scikit-image and scikit-learn bring along."""

import pathlib

import numpy as np
from PIL import Image

SOURCES = ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg",
           "china.jpg", "flower.jpg", "ihc.png", "retina.jpg"]


def write_photographs(folder):
    """Writes 100 files of odd sizes into `folder`, returns their paths in sorted order.

    JPEG in all subsamplings, PNG, WebP and BMP; gray, gray with alpha, RGBA, palette with and without transparency,
    CMYK, 16-bit gray, all EXIF orientations, 10 times as wide as high and the reverse, and tiny ones.
    """
    import skimage.data
    import sklearn.datasets

    folders = [pathlib.Path(skimage.data.__file__).parent, pathlib.Path(sklearn.datasets.__file__).parent / "images"]
    photos = [Image.open(next(path / name for path in folders if (path / name).exists())).convert("RGB")
              for name in SOURCES]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(100):
        photo = photos[i % len(photos)]
        height, width = (int(rng.integers(side // 3, side + 1)) for side in (photo.height, photo.width))
        if i // 10 == 7:  # wide and tall ones
            height, width = (height, max(3, height // 10)) if i % 2 else (max(3, width // 10), width)
        if i // 10 == 8:  # tiny ones
            height, width = rng.integers(1, 24, 2)
        top, left = int(rng.integers(photo.height - height + 1)), int(rng.integers(photo.width - width + 1))
        write(photo.crop((left, top, left + int(width), top + int(height))), folder / f"{i:02d}", i)
    return sorted(folder.iterdir())


def write(photo, path, i):
    """Writes the i-th photograph, in the i-th form, beside the others."""
    alpha = Image.linear_gradient("L").resize(photo.size)
    exif = Image.Exif()
    exif[274] = i % 8 + 1
    with_alpha = photo.copy()
    with_alpha.putalpha(alpha)
    forms = {0: ("jpg", photo, {"subsampling": i % 3, "quality": 85}), 1: ("png", photo, {}),
             2: ("jpg", photo, {"exif": exif}), 3: ("png", photo.convert("L"), {}), 4: ("png", with_alpha, {}),
             5: ("png", with_alpha.convert("LA"), {}), 6: ("webp", photo, {"quality": 80}),
             7: ("jpg", photo.convert("L"), {}), 8: ("bmp", photo, {}), 9: ("jpeg", photo.convert("CMYK"), {}),
             10: ("png", photo.quantize(64), {}), 11: ("png", photo.quantize(64), {"transparency": 3}),
             12: ("png", photo, {"exif": exif}), 13: ("webp", with_alpha, {"lossless": True}),
             14: ("png", Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257), {})}
    suffix, image, options = forms[(i * 7 + i // 10) % len(forms)]
    image.save(path.with_suffix(f".{suffix}"), **options)
