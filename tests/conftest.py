import os
import pathlib
import signal

import numpy as np
import pytest
from PIL import Image

# Before MindSpore is imported: threads of several workers, which wait for each other by spinning, take each other's
# time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a script's background job; the tests' processes inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Real photographs and the ImageNet class they come nearest to.
PHOTOS = {"chelsea.png": "n02123045", "coffee.png": "n07920052", "china.jpg": "n03877845", "flower.jpg": "n11939491"}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory, monkeypatch):
    """Every test works in an empty folder: what it, or MindSpore, leaves behind is not in the way."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """The published data set's layout with parts of photographs from scikit-image and scikit-learn: four classes, two
    training, one validation and one infer picture each, JPEG."""
    import skimage.data
    import sklearn.datasets

    root = tmp_path_factory.mktemp("photos") / "dataset"
    folders = [pathlib.Path(skimage.data.__file__).parent, pathlib.Path(sklearn.datasets.__file__).parent / "images"]
    for name, wnid in PHOTOS.items():
        photo = Image.open(next(folder / name for folder in folders if (folder / name).exists())).convert("RGB")
        width, height = photo.size
        for i, (split, left) in enumerate((("train", 0), ("train", 0.1), ("val", 0.2), ("infer", 0.3))):
            path = root / split / wnid / f"{wnid}_{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.crop((int(left * width), 0, int((left + 0.7) * width), height)).save(path, quality=90)
    return root


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory):
    """Two hundred digits in class folders "class 0" to "class 9", 160 in train/ and 40 in val/, 32 x 32 gray PNG."""
    from mindvit import data

    archive = np.load(pathlib.Path(data.__file__).with_name("digits.npz"))
    root = tmp_path_factory.mktemp("digits")
    for i in range(200):
        path = root / ("val" if i % 5 == 0 else "train") / f"class {archive['labels'][i]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((archive["images"][i] * 15).astype(np.uint8)).resize((32, 32)).save(path)
    return root


@pytest.fixture(scope="session")
def digit_run(digit_folder, tmp_path_factory):
    """A ViT-Ti of one block trained for an epoch on the digits by the command line, with flags that others rely on."""
    from tiny import NAMED

    from mindvit.cli import main

    folder = tmp_path_factory.mktemp("runs") / "run"
    status = main(["train", "--data.root", str(digit_folder), *NAMED, "--model.num_classes", "10",
                   "--model.image_size", "32", "--train.epochs", "1", "--train.batch_size", "20", "--train.lr", "1e-3",
                   "--data.crop_fraction", "1.0", "--device-target", "CPU", "--out", str(folder)])
    assert status == 0
    return folder


@pytest.fixture(params=["graph", "pynative"])
def mode(request):
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE if request.param == "graph" else ms.PYNATIVE_MODE)
    yield request.param
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture
def graph_mode():
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)
