"""Every kind of picture file comes out of MindSpore's Decode as the RGB that was put into it."""
import subprocess
import sys

import numpy as np
import pytest
from mindspore.dataset import vision
from PIL import Image, features

from mindvit import open_rgb, read_image

ROWS, COLUMNS = np.mgrid[0:40, 0:60]
RGB = np.stack([ROWS * 5, COLUMNS * 4, 200 - ROWS - COLUMNS], axis=2).astype(np.uint8)
GRAY = RGB[..., 1]
ALPHA = (ROWS * 6).astype(np.uint8)
ON_WHITE = (RGB * (ALPHA / 255)[..., None] + 255 * (1 - ALPHA / 255)[..., None]).round()


def gray3(values):
    return np.repeat(values[..., None], 3, axis=2)


def palette(transparency=None):
    image = Image.fromarray((COLUMNS // 15).astype(np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 90, 7, 8, 9])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


COLOURS = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 90], [7, 8, 9]])
DEEP = (ROWS * 1000 + COLUMNS * 300).astype(np.uint16)
CASES = {  # file name: (image, arguments of save, the RGB a person sees, tolerance)
    "rgb.png": (Image.fromarray(RGB), {}, RGB, 0),
    "rgb.BMP": (Image.fromarray(RGB), {}, RGB, 0),
    "rgb.webp": (Image.fromarray(RGB), {"lossless": True}, RGB, 0),
    "rgb.JPG": (Image.fromarray(RGB), {"quality": 98, "subsampling": 0}, RGB, 6),
    "gray.jpeg": (Image.fromarray(GRAY), {"quality": 98}, gray3(GRAY), 3),
    "gray.png": (Image.fromarray(GRAY), {}, gray3(GRAY), 0),
    "gray16.png": (Image.fromarray(DEEP), {}, gray3((DEEP / 65535 * 255).round()), 0),
    "one_bit.png": (Image.fromarray(GRAY > 99), {}, gray3((GRAY > 99) * 255), 0),
    "palette.png": (palette(), {}, COLOURS[COLUMNS // 15], 0),
    "palette_transparent.png": (palette(2), {}, np.array([*COLOURS[:2], [255] * 3, COLOURS[3]])[COLUMNS // 15], 0),
    "rgba.png": (Image.fromarray(np.dstack([RGB, ALPHA])), {}, ON_WHITE, 1),
    "rgba.webp": (Image.fromarray(np.dstack([RGB, ALPHA])), {"lossless": True, "exact": True}, ON_WHITE, 1),
    "gray_alpha.png": (Image.fromarray(np.dstack([RGB[..., 0], ALPHA])), {},
                       gray3((RGB[..., 0] * (ALPHA / 255.) + 255 - ALPHA).round()), 1),
    "cmyk.jpg": (Image.fromarray(np.dstack([255 - RGB, 0 * ALPHA]), "CMYK"), {"quality": 98}, RGB, 8),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_person_sees(tmp_path, name):
    image, options, expected, tolerance = CASES[name]
    image.save(tmp_path / name, **options)
    decoded = vision.Decode()(read_image(tmp_path / name))
    assert decoded.shape == (40, 60, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - expected).max() <= tolerance
    by_pillow = np.asarray(open_rgb(tmp_path / name)).astype(int)
    assert np.abs(by_pillow - decoded).max() <= (2 if "j" in name.lower() else 0)


SHOWN = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),  # EXIF 2.3, tag 274
         6: np.rot90(RGB, -1), 7: np.rot90(RGB.swapaxes(0, 1), 2), 8: np.rot90(RGB)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_orientation(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / f"turned.{suffix}"
    Image.fromarray(RGB).save(file, exif=exif, **{"jpg": {"quality": 98, "subsampling": 0}, "webp": {"lossless": True},
                                                  "png": {}}[suffix])
    decoded = vision.Decode()(read_image(file))
    assert decoded.shape == SHOWN[orientation].shape
    assert np.abs(decoded.astype(int) - SHOWN[orientation]).max() <= (6 if suffix == "jpg" else 0)


def test_plain_jpeg_is_not_encoded_again(tmp_path):
    for mode in ("RGB", "L"):
        Image.fromarray(RGB).convert(mode).save(tmp_path / "plain.jpg")
        assert read_image(tmp_path / "plain.jpg").tobytes() == (tmp_path / "plain.jpg").read_bytes()


def test_content_counts_and_not_the_name(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.JPEG")  # ImageNet has such a file
    assert (vision.Decode()(read_image(tmp_path / "picture.JPEG")) == RGB).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("keep", [0, 0.5, -2])
def test_truncated_file_is_named(tmp_path, suffix, keep):
    file = tmp_path / f"broken.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(file)
    data = file.read_bytes()
    file.write_bytes(data[:int(len(data) * keep)] if keep >= 0 else data[:-600])
    for read in (read_image, open_rgb):
        with pytest.raises(ValueError, match=f"broken.{suffix}.*(empty|truncated|not a|decode|could not|bytes)"):
            read(file)


def test_no_picture_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")  # starts Ghostscript
    with pytest.raises(ValueError, match="notes.png: not a JPEG"):
        read_image(tmp_path / "notes.png")


def phone_file(major, *compatible):
    """The beginning of a phone's picture (ISO/IEC 14496-12): box ftyp with its brands, then others."""
    brands = [major.encode(), bytes(4), *(brand.encode() for brand in compatible)]
    return (4 * len(brands) + 8).to_bytes(4, "big") + b"ftyp" + b"".join(brands) + bytes([0, 0, 0, 99]) + b"meta" * 50


@pytest.mark.parametrize("brands, kind", [(("heic", "mif1", "heic"), "HEIC"), (("mif1", "mif1", "heic"), "HEIC"),
                                          (("heix",), "HEIC"), (("hevc",), "HEIC"), (("msf1",), "HEIF"),
                                          (("mif1", "avif", "miaf"), "AVIF"), (("avif",), "AVIF"), (("isom",), None)])
def test_pictures_of_phones_are_recognised_by_content(tmp_path, brands, kind):
    (tmp_path / "IMG.JPG").write_bytes(phone_file(*brands))
    reason = f"it is {kind}, .* convert .*heif-convert a.heic a.jpg.*Most Compatible" if kind else "not a JPEG, PNG"
    for read in (read_image, open_rgb):
        with pytest.raises(ValueError, match=f"IMG.JPG: {reason}"):
            read(tmp_path / "IMG.JPG")


def test_a_real_avif_is_named(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    Image.fromarray(RGB).save(tmp_path / "a.avif")
    with pytest.raises(ValueError, match="a.avif: it is AVIF, which mindvit does not read"):
        read_image(tmp_path / "a.avif")


def test_damaged_jpeg_header_is_refused(tmp_path):
    """Given to MindSpore's Decode, such a file ends the process with SIGSEGV."""
    file = tmp_path / "damaged.jpg"
    Image.fromarray(RGB).save(file)
    data = bytearray(file.read_bytes())
    data[data.index(b"\xff\xc4") + 9] = 255  # more codes in a Huffman table than there can be
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged.jpg: "):
        read_image(file)


PEAK = """import resource, sys
from mindvit import prepare_image, read_image
from mindvit.data import train_transform
from mindvit.preprocessing import Preprocessing
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(sys.argv[1])
for step in train_transform(224):
    image = step(image)
prepare_image(sys.argv[1], 224, Preprocessing(resizer="pillow", interpolation="bicubic"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"""


@pytest.mark.parametrize("mode, suffix", [("RGB", "jpg"), pytest.param("L", "png", marks=pytest.mark.long),
                                          pytest.param("RGBA", "png", marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_takes_little_memory(tmp_path, mode, suffix):
    """13,000 x 13,000 pixels, whose RGB alone has 484 MiB; read, trained on and evaluated."""
    file = tmp_path / f"huge.{suffix}"
    Image.new(mode, (13_000, 13_000), 100 if mode == "L" else (100, 50, 30, 255)[:len(mode)]).save(file)
    done = subprocess.run([sys.executable, "-c", PEAK, file], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < {"RGB": 700, "L": 1400, "RGBA": 2600}[mode]
    seen = open_rgb(file)
    assert seen.size == (6500, 6500)
    assert np.abs(np.array(seen.getpixel((77, 6499))) - (100 if mode == "L" else (100, 50, 30))).max() <= 2


def test_more_pixels_than_pillow_reads_are_refused(tmp_path):
    Image.new("1", (18_000, 10_000)).save(tmp_path / "bomb.png")
    for read in (read_image, open_rgb):
        with pytest.raises(ValueError, match=r"bomb.png: .*180000000 pixels\) exceeds limit of 178956970"):
            read(tmp_path / "bomb.png")
