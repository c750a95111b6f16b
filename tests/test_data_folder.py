"""Folders of pictures: the label of a picture, the pictures in a batch, and what the operations make of them."""
import os

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision
from PIL import Image

from mindvit import DatasetGenerator, ImageFolder, ImageNet, infer_transform, open_dataset, read_dataset
from mindvit.data import open_evaluation, pipeline

DOBERMAN, TENCH, TOILET_TISSUE = "n02107142", "n01440764", "n15075141"  # labels 236, 0 and 999


def write(folder, *names, size=(50, 40)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = np.random.default_rng(len(str(folder)) + sum(map(ord, name))).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder / name)


def rows(dataset):
    return list(dataset.create_dict_iterator(output_numpy=True, num_epochs=1))


def labels(dataset):
    return np.concatenate([row["label"] for row in rows(dataset)])


@pytest.fixture
def subset(tmp_path):
    """Three of ImageNet's classes, in ImageNet's layout."""
    for split, count in (("train", 4), ("val", 3), ("infer", 2)):
        for wnid in (DOBERMAN, TENCH, TOILET_TISSUE):
            write(tmp_path / split / wnid, *(f"{wnid}_{i}.JPEG" for i in range(count)))
    return tmp_path


def test_imagenet_names_are_labelled_by_wnid(subset):
    val = ImageNet(subset, split="val", batch_size=4, resize=32)
    assert labels(val.run()).tolist() == [0] * 3 + [236] * 3 + [999] * 3  # nine in, nine counted
    assert val.num_classes == 1000 and len(val.index2label) == 1000
    assert val.index2label[236] == "Doberman" and val.index2label[0] == "tench"
    small = ImageNet(subset, "val", num_classes=3, batch_size=9, resize=32)
    assert labels(small.run()).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert small.index2label == {0: "tench", 1: "Doberman", 2: "toilet tissue"}
    with pytest.raises(ValueError, match="10 classes.*3 class folders.*3 or 1000"):
        ImageNet(subset, num_classes=10)


def test_other_names_are_classes_in_sorted_order(tmp_path):
    write(tmp_path / "train" / "b cat", "1.JPG", "2.Png", "3.bmp", "4.WebP", ".hidden.jpg")
    write(tmp_path / "train" / "b cat" / "more" / "deep", "5.jpeg")
    write(tmp_path / "train" / "b cat" / ".cache", "6.jpeg")
    (tmp_path / "train" / "b cat" / "notes.txt").write_text("no picture")
    write(tmp_path / "train" / "a" / "x", "1.jpg")
    write(tmp_path / "train" / ".hidden", "1.jpg")
    write(tmp_path / "val" / "b cat", "1.png")  # no `a` here; the label is still 1
    train = ImageFolder(tmp_path)
    assert [file.name for file in train.files] == ["1.jpg", "1.JPG", "2.Png", "3.bmp", "4.WebP", "5.jpeg"]
    assert train.labels == [0, 1, 1, 1, 1, 1] and train.index2label == {0: "a", 1: "b cat"}
    assert ImageFolder(tmp_path, "val").labels == [1]
    with pytest.raises(ValueError, match="1000 classes.* 2 class folders"):
        ImageFolder(tmp_path, num_classes=1000)
    write(tmp_path / "val" / "c", "1.png")
    with pytest.raises(ValueError, match="val/c is not among the 2 classes of .*train"):
        ImageFolder(tmp_path, "val")
    (tmp_path / "train" / "empty").mkdir()
    assert ImageFolder(tmp_path).remarks[0].startswith(f"{tmp_path}/train/empty has no images")


def test_one_folder_is_divided_by_class(tmp_path):
    for name, count in (("a", 10), ("b", 2), ("c", 1)):
        write(tmp_path / name, *(f"{i}.png" for i in range(count)))
    train, val = (open_dataset(tmp_path, split, val_fraction=0.3) for split in ("train", "val"))
    assert np.bincount(train.labels).tolist() == [7, 1, 1] and np.bincount(val.labels).tolist() == [3, 1]
    assert len({*train.files, *val.files}) == 13 and train.classes == val.classes == ["a", "b", "c"]
    assert ImageFolder(tmp_path, "val", val_fraction=0.3).files == val.files


def test_train_alone_is_divided_when_asked(tmp_path):
    for name, count in (("a", 10), ("b", 5)):
        write(tmp_path / "train" / name, *(f"{i}.png" for i in range(count)))
        write(tmp_path / "test" / name, "t.png")
    train, val = (open_dataset(tmp_path, split, hold_out=True) for split in ("train", "val"))
    assert np.bincount(train.labels).tolist() == [8, 4] and np.bincount(val.labels).tolist() == [2, 1]
    assert len({*train.files, *val.files}) == 15 and val.files == open_dataset(tmp_path, "val", hold_out=True).files
    assert "3 of the 15 images in" in val.remarks[0] and train.remarks == []
    assert len(ImageFolder(tmp_path).files) == 15  # in Python train/ is whole unless hold_out is given
    with pytest.raises(FileNotFoundError, match="no folder .*/val"):
        ImageFolder(tmp_path, "val")
    assert len(ImageFolder(tmp_path / "test", "val", val_fraction=None).files) == 2
    write(tmp_path / "val" / "a", "v.png")
    assert len(open_dataset(tmp_path, "train", hold_out=True).files) == 15


def test_folders_are_found_among_the_names_of_a_head(subset):
    names = ["Doberman", "mouse", "toilet tissue", "tench"]
    val = ImageNet(subset, "val", class_names=names)
    assert sorted(set(val.labels)) == [0, 2, 3] and val.labels[0] == 3 and val.classes == names
    assert val.remarks == [f"1 of the 4 classes have no folder in {subset / 'val'}: mouse"]
    by_index = ImageNet(subset, "val", class_names=["x"] * 1000)
    assert set(by_index.labels) == {0, 236, 999}
    with pytest.raises(ValueError, match=r"n02107142 \(Doberman\) in .*; did you mean 'Dobermann'"):
        ImageNet(subset, "val", class_names=["Dobermann", "tench", "toilet tissue"])
    with pytest.raises(ValueError, match="may be any of the classes 0, 1, which have one name"):
        ImageNet(subset, "val", class_names=["tench", "tench", "Doberman", "toilet tissue"])


def test_missing_folder_says_what_is_expected(tmp_path, subset):
    (subset / "val").rename(subset / "validation")
    with pytest.raises(FileNotFoundError, match="no folder .*/val; expected images as .*val/<class>/"):
        ImageNet(subset, "val")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        ImageNet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no class folders in .*empty"):
        ImageNet(tmp_path / "empty", num_classes=10)
    with pytest.raises(ValueError, match="unknown split 'test'"):
        ImageNet(subset, "test")


def test_only_training_drops_the_last_batch(subset):
    def counts(split, **options):
        return [len(row["label"]) for row in rows(ImageNet(subset, split, batch_size=5, resize=32, **options).run())]

    assert counts("train") == [5, 5] and counts("train", repeat_num=2) == [5, 5] * 2
    assert counts("val") == [5, 4] and counts("infer") == [5, 1]
    assert counts("train", num_shards=2, shard_id=1) == [5]
    with pytest.raises(ValueError, match="batch_size 13 exceeds the 12 training images"):
        ImageNet(subset, batch_size=13).run()


def test_loose_pictures_to_predict(tmp_path):
    write(tmp_path / "infer", "b.jpg", "a.png")
    infer = ImageNet(tmp_path, "infer", resize=32)
    assert [file.name for file in infer.files] == ["a.png", "b.jpg"] and labels(infer.run()).tolist() == [-1, -1]
    assert infer.index2label[236] == "Doberman"


MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]
PUBLISHED = {  # the recipes of MindSpore's tutorial
    "train": lambda: [vision.RandomCropDecodeResize(size=224, scale=(0.08, 1.0), ratio=(0.75, 1.333)),
                      vision.RandomHorizontalFlip(prob=0.5)],
    "val": lambda: [vision.Decode(), vision.Resize(224 + 32), vision.CenterCrop(224)],
    "infer": lambda: [vision.Decode(), vision.Resize([224, 224])],
}


@pytest.mark.parametrize("split", PUBLISHED)
def test_transforms_are_the_published_ones(subset, split):
    ms.set_seed(7)
    ours = rows(ImageNet(subset, split, batch_size=1, shuffle=False).run())
    ms.set_seed(7)
    folder = ds.ImageFolderDataset(str(subset / split), shuffle=False, num_parallel_workers=1)
    operations = [*PUBLISHED[split](), vision.Normalize(mean=MEAN, std=STD), vision.HWC2CHW()]
    published = rows(folder.map(operations, input_columns="image", num_parallel_workers=1).batch(1))
    assert len(ours) == len(published) >= 6
    for row, expected in zip(ours, published):
        assert row["image"].dtype == np.float32 and (row["image"] == expected["image"]).all()


def test_equal_seeds_give_equal_batches(subset):
    def epochs(seed):
        ms.set_seed(seed)
        return rows(ImageNet(subset, batch_size=4, resize=32, repeat_num=2).run())

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert all((a["image"] == b["image"]).all() and (a["label"] == b["label"]).all() for a, b in zip(first, again))
    assert any((a["image"] != b["image"]).any() for a, b in zip(first, other))
    assert any((a["label"] != b["label"]).any() for a, b in zip(first[:3], first[3:]))  # a new order each epoch


def test_broken_picture_is_named_by_the_pipeline(subset):
    file = subset / "val" / TENCH / f"{TENCH}_1.JPEG"
    file.write_bytes(file.read_bytes()[:-100])
    for workers in (1, 2):
        with pytest.raises(RuntimeError, match=f"{TENCH}_1.JPEG: .*truncated"):
            rows(ImageNet(subset, "val", num_parallel_workers=workers, resize=32).run())
    images, ids = read_dataset(subset / "val")
    with pytest.raises(RuntimeError, match=f"{TENCH}_1.JPEG: .*truncated"):
        rows(infer_transform(ds.GeneratorDataset(DatasetGenerator(images, ids), ["image", "label"]), ["image"], 32))


def test_suite_prediction_keeps_the_order(subset):
    images, ids = read_dataset(subset / "train")
    assert images == sorted(str(file) for file in (subset / "train").rglob("*.JPEG")) and ids == list(range(12))
    columns = ("image", "label")
    dataset = ds.GeneratorDataset(DatasetGenerator(images, ids), column_names=list(columns), num_parallel_workers=1)
    found = rows(infer_transform(dataset=dataset, columns_list=columns, resize=32))
    assert [row["label"].tolist() for row in found] == [[i] for i in ids]
    for row, image in zip(found, images):
        expected = vision.Resize([32, 32])(np.asarray(Image.open(image)))
        back = row["image"][0].transpose(1, 2, 0) * STD + MEAN
        assert row["image"].shape == (1, 3, 32, 32) and np.abs(back - expected).max() <= 3
    assert read_dataset(images[3]) == ([images[3]], [0])
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_dataset(subset / "nowhere")


def test_pictures_of_phones_are_not_passed_over(tmp_path):
    write(tmp_path / "cat", "1.jpg", "2.jpg")
    write(tmp_path / "dog", "1.jpg", "2.jpg")
    for name in ("dog/3.HEIC", "dog/b/4.heif", "dog/.5.heic", "cat/a.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=f"AVIF: 3 of the images in {tmp_path}, .* cat/a.avif; .*heif-convert"):
            open_dataset(tmp_path, split)
    names = [file.removeprefix(f"{tmp_path}/") for file in read_dataset(tmp_path)[0]]
    assert names == ["cat/1.jpg", "cat/2.jpg", "cat/a.avif", "dog/1.jpg", "dog/2.jpg", "dog/3.HEIC", "dog/b/4.heif"]
    (tmp_path / "dog").rename(tmp_path / "infer")
    with pytest.raises(ValueError, match="AVIF: 2 of the images in .*infer, the first is 3.HEIC"):
        ImageFolder(tmp_path, "infer")


@pytest.mark.parametrize("classes", [["\u72d7", "\u732b"], ["\u5154", "\u72d7", "\u732b", "\u9e1f"]])
def test_classes_with_chinese_names(tmp_path, classes):
    """Each class has a colour of its own, so that a batch's pictures say which label they must have."""
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)][:len(classes)]
    for name, colour in reversed(list(zip(classes, colours))):
        for i in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (40, 40), colour).save(tmp_path / name / f"\u7167\u7247{i}.png")
    assert classes == sorted(classes)
    for split, count in (("train", 4), ("val", 1)):
        dataset = open_dataset(tmp_path, split, batch_size=len(classes), resize=32)
        assert dataset.classes == classes
        found = []
        for row in rows(dataset.run()):
            for image, label in zip(row["image"], row["label"]):
                pixels = image.transpose(1, 2, 0) * STD + MEAN
                assert np.abs(pixels - colours[label]).max() < 3
                found.append(int(label))
        assert sorted(found) == sorted([*range(len(classes))] * count)


def test_large_rotated_photographs(tmp_path):
    """A phone's 12 megapixels, stored lying and shown upright: the top is red, the bottom blue."""
    shown = np.zeros((4032, 3024, 3), np.uint8)
    shown[:2016, :, 0] = shown[2016:, :, 2] = 250
    exif = Image.Exif()
    exif[274] = 6  # turn clockwise to show
    for name in ("\u7ad6", "\u6a2a"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(np.rot90(shown)).save(tmp_path / name / f"\u7167 {i}.jpg", exif=exif)
    for split in ("train", "val"):
        transform = [vision.Decode(), vision.Resize([32, 24])]
        batch = rows(open_dataset(tmp_path, split, val_fraction=0.5, batch_size=2, transform=transform).run())[0]
        assert sorted(batch["label"]) == [0, 1] and np.abs(batch["image"] - shown[63::126, 63::126]).max() <= 3
    assert rows(open_dataset(tmp_path, "train", batch_size=2, resize=32).run())[0]["image"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("part", ["test", "val", "infer"])
def test_a_part_beside_class_folders_is_no_class(tmp_path, part):
    for name in ("cat", "dog", part):
        write(tmp_path / name, "1.png", "2.png")
    message = f"has {part}/ beside the class folders cat, dog: put these into {tmp_path}/train, or move {part}/ away"
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path, "train", hold_out=True)
    if part != "val":
        with pytest.raises(ValueError, match=message):
            open_evaluation(tmp_path)
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert open_dataset(tmp_path, "train", hold_out=True).classes == ["cat", "dog"]


def test_a_part_alone_is_no_class(tmp_path):
    write(tmp_path / "test" / "cat", "1.png", "2.png")
    with pytest.raises(FileNotFoundError, match="no folder .*/train; expected images as"):
        open_dataset(tmp_path, "train")
    assert len(open_evaluation(tmp_path)[0]) == 2


def test_a_gif_is_an_image_in_folders_too(tmp_path):
    """`predict` read it and training passed it over in silence."""
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / name / f"{i}.{'gif' if i % 2 else 'png'}")
    assert len(ImageFolder(tmp_path, "train")) + len(ImageFolder(tmp_path, "val")) == 8


def test_one_image_a_class_leaves_none_to_hold_out(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    with pytest.raises(FileNotFoundError, match="each class folder in .* has one image, so none can be held out"):
        ImageFolder(tmp_path, "val")


def test_no_more_threads_than_cores_are_taken_and_that_is_said_once(tmp_path, capsys):
    pipeline.say_fewer.cache_clear()
    write(tmp_path / "train" / "a", "1.png", "2.png")
    for _ in range(2):
        data = ImageFolder(tmp_path, batch_size=2, resize=8, num_parallel_workers=os.cpu_count() + 6)
        assert next(data.run().create_tuple_iterator(num_epochs=1))[0].shape == (2, 3, 8, 8)
    cores = os.cpu_count()
    said = f"{cores + 6} threads are asked for images, but there are {cores} cores: {cores} are taken\n"
    assert capsys.readouterr().out == said
    with pytest.raises(ValueError, match="num_parallel_workers is 0; it is at least 1"):
        ImageFolder(tmp_path, num_parallel_workers=0)
