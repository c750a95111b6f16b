"""Images become the same numbers as in the libraries the weights come from, and prediction prepares as evaluation."""

import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import PIL
import pytest
from mindspore.dataset import vision
from PIL import Image
from stored import case_file

from mindvit import Preprocessing, from_checkpoint, open_rgb, prepare_image
from mindvit.checkpoints.libraries import LIBRARIES
from mindvit.checkpoints.libraries.google import EVALUATION as GOOGLE
from mindvit.checkpoints.libraries.huggingface import PROCESSORS, processor_evaluation
from mindvit.checkpoints.libraries.timm import timm_evaluation, timm_preparation
from mindvit.checkpoints.libraries.torchvision import EVALUATION as TORCHVISION
from mindvit.cli import main
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SUITE, exact_fraction

BEFORE_13 = int(PIL.__version__.partition(".")[0]) < 13
DATA = pathlib.Path(__file__).parent / "data"
sys.path.append(str(DATA))
import write_preparation  # noqa: E402


def own(library, config):
    """The Preprocessing for a stored case."""
    if library == "timm":
        return timm_evaluation(config)
    if library == "transformers":
        return processor_evaluation({**PROCESSORS["ViT"], **config})[0]
    fraction = exact_fraction(write_preparation.SIZE, config["resize_size"])
    return dataclasses.replace(TORCHVISION, crop_fraction=fraction, interpolation=config["interpolation"])


@pytest.mark.parametrize("library", ["timm", "transformers", "torchvision"])
def test_pixels_equal_the_librarys(library):
    with np.load(DATA / "preparation.npz") as stored:
        cases, arrays = json.loads(str(stored["cases"])), stored["prepared"]
    count = 0
    for (name, config, shape), expected in zip(cases, arrays):
        # Pillow 13, with which the cases were stored, resizes a tall image by its height first (its pull request 9549),
        # which tells where its sides are not resized alike
        other = BEFORE_13 and shape[0] > shape[1] and config.get("crop_mode") in ("squash", "border")
        if name == library and not other:
            preprocessing = own(name, config)
            image = Image.fromarray(write_preparation.pixels(*shape))
            found = prepare_image(image, write_preparation.SIZE, preprocessing)
            mean, std = (np.reshape(values, (3, 1, 1)) for values in (preprocessing.mean, preprocessing.std))
            assert found.dtype == np.float32 and found.shape == expected.shape
            assert np.abs((found * std + mean) * 255 - expected).max() < 1e-3, (config, shape)
            count += 1
    assert count >= 100


def test_pixels_equal_tensorflows():
    with np.load(DATA / "preparation_tensorflow.npz") as stored:
        arrays = stored["prepared"]
    for shape, expected in zip(write_preparation.SHAPES, arrays):
        found = prepare_image(Image.fromarray(write_preparation.pixels(*shape)), write_preparation.SIZE, GOOGLE)
        assert np.abs(found.transpose(1, 2, 0) - (expected - 127.5) / 127.5).max() < 1e-6


def test_mindspores_arithmetic_is_its_operations(tmp_path):
    image = Image.fromarray(write_preparation.pixels(75, 90))
    image.save(tmp_path / "a.png")
    finish = [vision.Normalize([255 * v for v in IMAGENET_MEAN], [255 * v for v in IMAGENET_STD]), vision.HWC2CHW()]
    for preprocessing, recipe in ((SUITE, [vision.Resize(36), vision.CenterCrop(32)]),
                                  (SUITE.for_prediction(), [vision.Resize([32, 32])])):
        expected = np.asarray(image)
        for operation in recipe + finish:
            expected = operation(expected)
        for picture in (image, tmp_path / "a.png"):
            assert (prepare_image(picture, 32, preprocessing) == expected).all()
    assert Preprocessing().for_prediction() == Preprocessing()


def test_opening(tmp_path):
    rgba = np.dstack([write_preparation.pixels(8, 12), np.full((8, 12), 60, np.uint8)])
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn clockwise
    Image.fromarray(rgba).save(tmp_path / "a.png", exif=exif)
    rgb = rgba[..., :3]
    assert (np.asarray(open_rgb(tmp_path / "a.png", "plain")) == rgb).all()
    assert (np.asarray(open_rgb(tmp_path / "a.png", "turned")) == np.rot90(rgb, -1)).all()
    seen = np.asarray(open_rgb(tmp_path / "a.png")).astype(int)
    assert np.abs(seen - np.rot90(rgb * (60 / 255) + 255 * (195 / 255), -1)).max() <= 1


def test_json_and_back():
    preprocessing = Preprocessing(mean=[0, 0.5, 1], std=[1, 2, 3], crop_fraction=0.9, resizer="pillow")
    assert Preprocessing(**json.loads(json.dumps(dataclasses.asdict(preprocessing)))) == preprocessing
    assert preprocessing.mean == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("arguments, message", [
    ({"interpolation": "area"}, "interpolation is 'area'; the resizer 'mindspore' has bilinear, bicubic, nearest"),
    ({"interpolation": "bicubic", "resizer": "tensorflow"}, "the resizer 'tensorflow' has bilinear"),
    ({"resizer": "opencv"}, "resizer is 'opencv'; choose one of mindspore, pillow, torch, tensorflow"),
    ({"resize_mode": "pad"}, "choose one of crop, squash, border"),
    ({"resize_mode": "border"}, "needs another resizer"),
    ({"opening": "raw"}, "opening is 'raw'"),
    ({"crop_fraction": 0}, r"crop_fraction is 0; it lies in \[0.1, 2\]"),
    ({"std": (1, 0, 1)}, "above 0"),
    ({"mean": (1, 0)}, "three numbers"),
])
def test_what_is_unknown_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_a_thread_of_an_image_does_not_take_all_memory():
    image = Image.fromarray(np.zeros((60000, 1, 3), np.uint8))
    for preprocessing in (TORCHVISION, Preprocessing()):  # MindSpore's resize took 12 GB and 44 seconds
        with pytest.raises(ValueError, match="60000 x 1 pixels would become 13440000 x 224"):
            prepare_image(image, 224, dataclasses.replace(preprocessing, crop_fraction=1.0))


INCEPTION = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("path, mean, crop_fraction, reason", [
    ("vit_base_patch16_224.augreg_in1k.safetensors", INCEPTION, 0.9, "vit_base_patch16_224.augreg_in1k;"),
    ("vit_base_patch16_224.safetensors", INCEPTION, 0.9, "vit_base_patch16_224;"),
    ("vit_base_patch16_224.dino/model.safetensors", IMAGENET_MEAN, 0.9, "vit_base_patch16_224.dino;"),
    ("models--timm--vit_base_patch16_384.augreg_in1k/snapshots/0a/model.safetensors", INCEPTION, 1.0, "384"),
    ("deit_base_patch16_224-b5f2ef4d.pth", IMAGENET_MEAN, 0.9, "deit_base_patch16_224;"),
    ("vit_small_patch16_224_dino.safetensors", IMAGENET_MEAN, 0.9, "vit_small_patch16_224_dino;"),
    ("vit_base_patch16_224.mine.safetensors", INCEPTION, 0.9, "as timm has no vit_base_patch16_224.mine"),
    ("model.safetensors", INCEPTION, 0.9, "usual for timm's ViT"),
])
def test_timm_without_a_config_is_known_by_name(tmp_path, path, mean, crop_fraction, reason):
    found, said = timm_preparation(tmp_path / path, 224, False)
    assert (found.mean, found.crop_fraction, found.interpolation) == (mean, crop_fraction, "bicubic")
    assert reason in said


def test_timm_config_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224", "pretrained_cfg": {
        "mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 1.0, "interpolation": "lanczos", "crop_mode": "squash"}}))
    expected = Preprocessing((0.1,) * 3, (0.2,) * 3, 1.0, "lanczos", "squash", "pillow", "plain")
    assert timm_preparation(tmp_path / "vit_base_patch16_224.safetensors", 224, False) == (expected, "")
    for word in ("interpolation", "crop_mode"):
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {word: "newest"}}))
        with pytest.raises(ValueError, match=f"config.json: .*{word} is 'newest'"):
            timm_preparation(tmp_path / "vit_base_patch16_224.safetensors", 224, False)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "deit_tiny_patch16_224"}))
    assert timm_preparation(tmp_path / "model.safetensors", 224, False)[0].mean == IMAGENET_MEAN


@pytest.mark.parametrize("name, size, resized, interpolation", [
    ("vit_b_16-c867db91.pth", 224, 256, "bilinear"), ("vit_l_16-852ce7e3.pth", 224, 242, "bilinear"),
    ("vit_b_16_swag-9ac1b537.pth", 384, 384, "bicubic"), ("vit_l_16_lc_swag-4d563306.pth", 224, 224, "bicubic"),
    ("vit_h_14_swag-80465313.pth", 518, 518, "bicubic")])
def test_torchvisions_weights_are_known_by_name(name, size, resized, interpolation):
    found, (said,) = LIBRARIES["torchvision"].prepared(f"weights/{name}", size)
    assert found.interpolation == interpolation and int(size / found.crop_fraction) == resized
    assert f"short side to {resized}, centre {size} x {size}" in said


def test_the_suite_resizes_by_32_pixels_more():
    for size in (224, 384):
        found, (said,) = LIBRARIES["suite"].prepared("vit_b_16.ckpt", size)
        assert f"short side to {size + 32}, centre" in said and found.predict_squash


@pytest.mark.parametrize("config, expected", [
    ({"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 3}, (1.0, "squash", "bicubic")),
    ({"image_processor_type": "DeiTImageProcessorFast"}, (0.875, "squash", "bicubic")),
    ({"size": {"shortest_edge": 256}, "do_center_crop": True}, (0.875, "crop", "bilinear")),
    ({"image_processor_type": "CLIPImageProcessor"}, (1.0, "crop", "bicubic")),
])
def test_hugging_faces_processor_is_read(tmp_path, config, expected):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    found, said = LIBRARIES["huggingface"].prepared(tmp_path / "model.safetensors", 224)
    assert (found.crop_fraction, found.resize_mode, found.interpolation) == expected and not said
    assert (found.resizer, found.opening) == ("torch", "turned")


def test_hugging_faces_scaling_is_in_mean_and_std(tmp_path):
    bytes_ = np.asarray(Image.fromarray(write_preparation.pixels(8, 8)), np.float64).transpose(2, 0, 1)
    for config, expected in (({"do_rescale": False}, (bytes_ - 0.5) / 0.5), ({"do_normalize": False}, bytes_ / 255),
                             ({"rescale_factor": 1 / 127.5}, (bytes_ / 127.5 - 0.5) / 0.5)):
        found = processor_evaluation({**PROCESSORS["ViT"], **config, "size": 8})[0]
        np.testing.assert_allclose(prepare_image(Image.fromarray(write_preparation.pixels(8, 8)), 8, found), expected,
                                   rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config, message", [
    ({"image_processor_type": "BeitImageProcessor"}, "its image processor is 'Beit'; known are ViT, DeiT"),
    ({"do_resize": False}, "do_resize is False"), ({"do_pad": True}, "do_pad is True"),
    ({"resample": 4}, "resample is 4"), ({"size": {"longest_edge": 224}}, "size is {'longest_edge': 224}"),
    ({"size": {"shortest_edge": 224}}, "do_center_crop is off"),
    ({"size": {"height": 250, "width": 240}, "do_center_crop": True}, "other proportions"),
])
def test_what_hugging_faces_processor_says_and_mindvit_lacks_is_refused(tmp_path, config, message):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"preprocessor_config.json: .*{message}"):
        LIBRARIES["huggingface"].prepared(tmp_path / "model.safetensors", 224)
    with pytest.raises(ValueError, match=message):
        from_checkpoint(shutil.copy(case_file("hf_vit"), tmp_path / "model.safetensors"), num_heads=4)
    assert from_checkpoint(str(tmp_path / "model.safetensors"), num_heads=4, preprocessing=SUITE).preprocessing == SUITE


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten classes of one or two odd pictures, as val/."""
    root = tmp_path_factory.mktemp("pictures")
    for i, shape in enumerate(write_preparation.SHAPES[-12:]):
        path = root / "val" / f"class {i % 10}" / f"{i}.{'jpg' if i % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(write_preparation.pixels(*shape)).save(path)
    return root


@pytest.mark.parametrize("case", ["timm_vit", "hf_vit", "torchvision_vit", "google_vit", "mindvision_tiny"])
@pytest.mark.parametrize("workers", [1, 2])
def test_data_set_prepares_as_the_function(case, workers, pictures):
    from mindvit import ImageFolder
    network = from_checkpoint(case_file(case), num_heads=4)
    dataset = ImageFolder(pictures, "val", resize=32, preprocessing=network.preprocessing, batch_size=4,
                          num_parallel_workers=workers)
    found = np.concatenate([row["image"] for row in dataset.run().create_dict_iterator(1, output_numpy=True)])
    expected = np.stack([prepare_image(file, 32, network.preprocessing) for file in dataset.files])
    assert found.dtype == np.float32 and (found == expected).all()


def test_eval_and_predict_take_the_same_overrides(tmp_path, pictures, capsys):
    """And print what they do; what a library's own network does, a network of the suite does not in prediction."""
    path = str(shutil.copy(case_file("mindvision_tiny"), tmp_path / "tiny.ckpt"))
    common = ["--checkpoint", path, "--model.overrides", '{"num_heads": 4}']

    def line(command, *arguments):
        status = main([command, *common, *arguments])
        printed = capsys.readouterr().out
        assert status == 0, printed
        return next(row for row in printed.splitlines() if row.startswith("images "))

    picture = str(pictures / "val/class 0/0.png")
    assert "both sides to 32 x 32, centre 32 x 32; bilinear of mindspore" in line("predict", picture)
    for overrides, expected in (
            (["--data.crop_fraction", "0.8"], "short side to 40, centre 32 x 32; bilinear"),
            (["--data.resize_mode", "squash"], "both sides to 36 x 36, centre 32 x 32; bilinear"),
            (["--data.mean", "[0.1, 0.2, 0.3]", "--data.crop_fraction", "1"], "mean 0.1 0.2 0.3 std 0.229 0.224 0.225"),
            (["--data.interpolation", "bicubic", "--data.resize_mode", "crop"], "bicubic of mindspore")):
        assert expected in line("predict", picture, *overrides)
    data = ["--data.root", str(pictures)]
    assert "short side to 36, centre 32 x 32" in line("eval", *data)
    assert "short side to 40, centre 32 x 32" in line("eval", *data, "--data.crop_fraction", "0.8")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_eval_names_a_broken_picture(workers, pictures, tmp_path, capsys):
    shutil.copytree(pictures, tmp_path / "data")
    broken = next((tmp_path / "data/val/class 3").iterdir())
    broken.write_bytes(broken.read_bytes()[:90])
    path = str(shutil.copy(case_file("torchvision_vit"), tmp_path / "vit.safetensors"))
    arguments = ["--checkpoint", path, "--model.overrides", '{"num_heads": 4}', "--data.workers", workers,
                 "--data.strict", "true"]
    assert main(["eval", "--data.root", str(tmp_path / "data"), *arguments]) == 2
    assert f"mindvit eval: cannot read the image {broken}: " in capsys.readouterr().err
