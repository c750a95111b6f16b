"""The order of the images: one permutation an epoch for any number of devices, repeats, and runs that go on."""

import mindspore as ms
import numpy as np
import pytest

from mindvit.config import DataConfig, ModelConfig, TrainJob
from mindvit.data import ImageFolder, train_transform
from mindvit.data.order import Order
from mindvit.training.loop import open_training

IMAGES = 160


@pytest.fixture(autouse=True)
def seeded():
    yield
    ms.dataset.config.set_fast_recovery(True)


def epochs(folder, count=3, start=0, workers=1, batch=20, **options):
    """(indices, images as bytes) of the batches of some epochs, from a batch on; the label tells the image's index."""
    ms.set_seed(3)
    data = ImageFolder(folder, "train", batch_size=batch, transform=train_transform(16, ["random_crop", "flip"]),
                       num_parallel_workers=workers, **options)
    data.labels = list(range(len(data)))
    dataset = data.run()
    steps = dataset.get_dataset_size()
    if start:
        ms.dataset.config.set_fast_recovery(False)
        dataset.set_init_step(start)
    iterator = dataset.create_tuple_iterator(num_epochs=count, output_numpy=True)
    return [(labels.tolist(), images.tobytes()) for _ in range(start // steps, count) for images, labels in iterator]


def order_of(batches):
    return [index for indices, _ in batches for index in indices]


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_that_goes_on_sees_the_same_crops(workers, repeats, digit_folder):
    whole = epochs(digit_folder, workers=workers, repeats=repeats)
    assert len(whole) == 24 and epochs(digit_folder, workers=workers, repeats=repeats) == whole
    for start in (1, 5, 7, 8, 9, 15, 16, 23):
        assert epochs(digit_folder, start=start, workers=workers, repeats=repeats) == whole[start:]


def test_each_image_once_an_epoch_and_another_order_in_each(digit_folder):
    orders = np.reshape(order_of(epochs(digit_folder)), (3, IMAGES))
    assert all(sorted(order) == list(range(IMAGES)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert all(tuple(order) != tuple(range(IMAGES)) for order in orders)


def test_repeats_stand_next_to_each_other_with_other_crops(digit_folder):
    once, thrice = epochs(digit_folder, 2), epochs(digit_folder, 2, repeats=3)
    for epoch in range(2):
        chosen = order_of(once[epoch * 8:(epoch + 1) * 8])
        assert order_of(thrice[epoch * 8:(epoch + 1) * 8]) == np.repeat(chosen, 3)[:IMAGES].tolist()
    assert thrice[0][0][0] == thrice[0][0][1] == thrice[0][0][2] != thrice[0][0][3]
    first = np.frombuffer(thrice[0][1], np.float32).reshape(20, -1)
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("shards", [2, 3, 4])
def test_any_number_of_devices_sees_the_same_batches(shards, repeats, digit_folder):
    """Of 160 images three devices have 53 each; global batches of 12 are the same images, in order."""
    one = epochs(digit_folder, 2, batch=12, repeats=repeats)
    parts = [epochs(digit_folder, 2, batch=12 // shards, num_shards=shards, shard_id=i, repeats=repeats)
             for i in range(shards)]
    assert len(one) == len(parts[0]) == 2 * (IMAGES // 12)
    for batch, shares in zip(one, zip(*parts)):
        assert batch[0] == np.stack([indices for indices, _ in shares], 1).ravel().tolist()


def test_devices_have_equal_numbers_of_images(digit_folder):
    parts = [order_of(epochs(digit_folder, 1, batch=1, num_shards=3, shard_id=i)) for i in range(3)]
    assert [len(part) for part in parts] == [53] * 3 and len({*sum(parts, [])}) == 159


def test_evaluation_divides_the_images_without_filling_up(digit_folder):
    def labels(**options):
        data = ImageFolder(digit_folder, "val", batch_size=4, **options)
        data.labels = list(range(len(data)))
        return [int(i) for row in data.run().create_dict_iterator(num_epochs=1, output_numpy=True)
                for i in row["label"]]

    assert labels() == list(range(40))
    assert [labels(num_shards=3, shard_id=i) for i in range(3)] == [list(range(i, 40, 3)) for i in range(3)]


def test_a_seed_decides_and_none_is_another_each_time():
    def first(seed):
        ms.set_seed(seed)
        return list(Order(50))

    assert first(1) == first(1) != first(2)


def test_orders_without_a_seed_differ(monkeypatch):
    monkeypatch.setattr(ms, "get_seed", lambda: None)
    one = Order(50)
    assert list(one) != list(Order(50)) and list(one) != list(one)


def test_a_batch_larger_than_a_devices_share(digit_folder):
    with pytest.raises(ValueError, match="batch_size 54 exceeds the 53 training images in .* for each device; use 53"):
        epochs(digit_folder, batch=54, num_shards=3, shard_id=0)


def test_a_training_repeats_its_images(digit_folder):
    job = TrainJob(data=DataConfig(str(digit_folder), repeats=4), model=ModelConfig("vit_t_16", image_size=32))
    assert open_training(job)[0]["train"].repeats == 4
    with pytest.raises(ValueError, match="data.repeats is 0; it is a whole number of at least 1"):
        DataConfig(repeats=0)
