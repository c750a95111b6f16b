"""Mixed batches: shares, areas to the pixel, targets, and the same numbers again."""

import mindspore as ms
import numpy as np
import pytest

from mindvit import ImageFolder
from mindvit.data.mixing import MIXING, cutmix, mixup, mixup_or_cutmix, random_erasing
from mindvit.data.transforms import split_augment, train_transform

B, K, H, W = 6, 4, 20, 30


def batch():
    """Image i is i everywhere, its target class i % K."""
    images = np.broadcast_to(np.arange(B, dtype=np.float32)[:, None, None, None], (B, 3, H, W)).copy()
    return images, np.eye(K, dtype=np.float32)[np.arange(B) % K]


def test_mixup_is_the_share_of_both():
    shares = []
    for seed in range(300):
        images, targets = mixup(*batch(), np.random.default_rng(seed), alpha=0.4)
        plain, plain_targets = batch()
        share = (images[0, 0, 0, 0] - 5) / -5  # of image 0, the other being 5
        np.testing.assert_allclose(images, plain * share + plain[::-1] * (1 - share), atol=1e-5)
        np.testing.assert_allclose(targets, plain_targets * share + plain_targets[::-1] * (1 - share), atol=1e-6)
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
        shares.append(share)
    assert abs(np.mean(shares) - 0.5) < 0.06
    assert abs(np.var(shares) - 1 / (4 * (2 * 0.4 + 1))) < 0.02  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_cutmix_shares_are_areas_to_the_pixel():
    shares = []
    for seed in range(300):
        images, targets = cutmix(*batch(), np.random.default_rng(seed))
        for i in range(B):
            foreign = images[i, 0] == B - 1 - i
            assert (foreign | (images[i, 0] == i)).all() and (images[i] == images[i, :1]).all()
            share = 1 - foreign.mean()
            own, other = np.eye(K)[i % K], np.eye(K)[(B - 1 - i) % K]
            np.testing.assert_allclose(targets[i], own * share + other * (1 - share), atol=1e-6)
            rows, columns = np.nonzero(foreign)
            if len(rows):  # one rectangle
                assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        shares.append(share)
    assert min(shares) < 0.2 and max(shares) > 0.95


def test_one_of_both_as_often_as_asked():
    kinds = []
    for seed in range(400):
        images, _ = mixup_or_cutmix(*batch(), np.random.default_rng(seed), switch=0.25)
        kinds.append(len(np.unique(images[0])) == 2)  # cut, not blended
    assert 0.15 < np.mean(kinds) < 0.33
    plain = batch()
    for name in ("mixup", "cutmix", "mixup_or_cutmix"):
        images, targets = MIXING[name](*batch(), np.random.default_rng(0), probability=0.0)
        assert (images == plain[0]).all() and (targets == plain[1]).all()


def test_erased_rectangles_have_the_area_and_shape_asked_for():
    erased, areas = 0, []
    for seed in range(200):
        images, targets = random_erasing(*batch(), np.random.default_rng(seed), probability=0.5, area=(0.1, 0.3),
                                         ratio=(0.5, 2.0))
        assert (targets == batch()[1]).all()
        for i, image in enumerate(images):
            rows, columns = np.nonzero((image != i).any(0))
            if len(rows):
                height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
                assert len(rows) == height * width and 0.4 < height / width < 2.4
                erased, areas = erased + 1, [*areas, len(rows) / (H * W)]
    assert 0.42 < erased / (200 * B) < 0.58 and 0.08 < min(areas) and max(areas) < 0.33


@pytest.mark.parametrize("function, options, message", [
    (mixup, {"alpha": 0}, "alpha of mixup is 0; it is above 0"), (cutmix, {"alpha": -1}, "alpha of cutmix is -1"),
    (mixup, {"probability": 2}, r"probability of mixup is 2; it lies in \[0, 1\]"),
    (random_erasing, {"area": [0.5, 0.2]}, r"area of random_erasing is \[0.5, 0.2\]"),
    (mixup_or_cutmix, {"switch": -1}, "switch of mixup_or_cutmix is -1"),
])
def test_what_cannot_be_mixed_is_refused(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(*batch(), np.random.default_rng(0), **options)


def test_one_list_holds_both_kinds_in_order():
    single, mixing = split_augment(["resize", "flip", {"mixup": 0.2}, "random_erasing"])
    assert single == ["resize", "flip"] and [part.func for part in mixing] == [mixup, random_erasing]
    assert mixing[0].keywords == {"alpha": 0.2}
    with pytest.raises(ValueError, match="what works on batches, mixup, cutmix, .* stands behind the others"):
        split_augment(["resize", "mixup", "flip"])


def epochs(folder, workers, start=0):
    """Batches of three epochs, from a batch on, as bytes."""
    ms.set_seed(3)
    single, mixing = split_augment(["random_crop", "flip", "mixup_or_cutmix", "random_erasing"])
    data = ImageFolder(folder, "train", batch_size=30, transform=train_transform(16, single), mixing=mixing,
                       num_parallel_workers=workers).run()
    if start:
        ms.dataset.config.set_fast_recovery(False)
        data.set_init_step(start)
    iterator = data.create_tuple_iterator(num_epochs=3, output_numpy=True)
    return [(images.tobytes(), targets.tobytes()) for _ in range(start // 5, 3) for images, targets in iterator]


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_mixed_anew_each_epoch_and_the_same_again(digit_folder, workers):
    """Also from the middle of an epoch on."""
    once = epochs(digit_folder, workers)
    assert len(once) == 15 and len(set(once)) == 15
    assert epochs(digit_folder, workers) == once
    for start in (2, 5, 8):
        assert epochs(digit_folder, workers, start) == once[start:]
