"""In what order images are read, which does not depend on the number of devices that read them."""

import secrets
from collections.abc import Iterator

import mindspore as ms
import mindspore.dataset as ds
import numpy as np


class Order(ds.Sampler):
    """The images of an epoch for one device: every N-th of an order that all N devices share.

    Shuffled, the order is a permutation that follows from `mindspore.set_seed` and the epoch, and each image stands in
    it `repeats` times in a row, as long as the epoch lasts (Hoffer et al., "Augment your batch", 2020; Berman et al.,
    "MultiGrain", 2019; DeiT). So the images of N devices' batches together are those of one device's N times as large.

    Args:
        count (int): images there are, and in an epoch.
        repeats (int): how often an image stands in a shuffled order.
        num_shards, shard_id (int): number of devices, and which of them this is.
        shuffle (bool): else the images come as they are.
        even (bool): whether all devices have equally many, as training needs; up to N - 1 images are then left out.

    Example:
        >>> mindspore.set_seed(1)
        >>> [list(Order(8, num_shards=2, shard_id=i, shuffle=False)) for i in range(2)]
        [[0, 2, 4, 6], [1, 3, 5, 7]]
    """

    def __init__(self, count: int, repeats: int = 1, num_shards: int = 1, shard_id: int = 0, shuffle: bool = True,
                 even: bool = True) -> None:
        self.count, self.repeats, self.num_shards, self.shard_id = count, repeats, num_shards, shard_id
        self.shuffle = shuffle
        self.length = count // num_shards if even else len(range(shard_id, count, num_shards))
        seed = ms.get_seed()
        self.seed = secrets.randbits(64) if seed is None else seed
        self.epoch = 0
        super().__init__(self.length)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        """The indices of the next epoch. MindSpore asks once an epoch, also for those that `set_init_step` leaves
        behind, and each of its iterators has a copy of its own, which begins with the first."""
        order = np.arange(self.count)
        if self.shuffle:
            permutation = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
            order = permutation.repeat(self.repeats)[:self.count]
        self.epoch += 1
        return iter(order[self.shard_id::self.num_shards][:self.length].tolist())
