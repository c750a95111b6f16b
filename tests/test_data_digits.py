"""The packaged digits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mindvit.data
from mindvit import write_digits


def test_digits(tmp_path):
    folder = write_digits(tmp_path / "new" / "digits")
    files = sorted(folder.rglob("*.png"))
    assert len(files) == 1797 and len(list((folder / "val").rglob("*.png"))) == 360
    with np.load(Path(mindvit.data.__file__).with_name("digits.npz")) as packaged:
        images, labels = packaged["images"], packaged["labels"]
    for file in files:
        image, index = Image.open(file), int(file.stem)
        assert image.mode == "L" and image.size == (32, 32) and int(file.parent.name) == labels[index]
        pixels = np.asarray(image)
        assert pixels[4:28, 4:28].any() and pixels.sum() == pixels[4:28, 4:28].sum()  # a black margin
        # Bicubic interpolation keeps the samples: here the centres of the 3 x 3 pixels.
        assert np.abs(pixels[5:28:3, 5:28:3] / 255 * 16 - images[index]).max() < 0.04
    for digit in range(10):
        held_out, count = len(list((folder / "val" / str(digit)).iterdir())), (labels == digit).sum()
        assert abs(held_out - count / 5) < 1
    times = [file.stat().st_mtime_ns for file in files]
    write_digits(folder)
    assert [file.stat().st_mtime_ns for file in files] == times
    files[0].unlink()
    with pytest.raises(FileExistsError, match="other than the digits"):
        write_digits(folder)
    (tmp_path / "empty").mkdir()
    assert len(list(write_digits(tmp_path / "empty").rglob("*.png"))) == 1797
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "new"]
