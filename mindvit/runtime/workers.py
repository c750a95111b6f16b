"""The processes that train or evaluate together, one for each device; alone, there is one."""

import os
import sys
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, communication, ops
from numpy.typing import NDArray

LAUNCHED = ("MS_SCHED_HOST", "RANK_TABLE_FILE")  # what msrun, or a rank table's launcher, puts into the environment


class Workers:
    """Who takes part.

    Attributes:
        rank: which of them this process is; 0 writes and prints.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.count = 0, 1

    @property
    def shard(self) -> dict[str, Any]:
        """The part of the images for this worker, as data sets take it."""
        return {"num_shards": self.count, "shard_id": self.rank} if self.count > 1 else {}


workers = Workers()


def start() -> None:
    """Joins the workers that a launcher started, once the device is set; all but the first print errors only.

    MindSpore's HCCL connects Ascends, NCCL GPUs, its own collectives CPUs. From here on gradients are averaged over
    the workers. In the scheduler that msrun starts beside them this returns never.

    Raises:
        ValueError: no launcher started this process.
    """
    if not any(name in os.environ for name in LAUNCHED):
        raise ValueError("distributed is true, but this process was started alone; start one for each device: msrun "
                         "--worker_num=8 --local_worker_num=8 --join=True --log_dir=logs $(which mindvit) train ... "
                         "--distributed true (docs/scaling.md)")
    if workers.count > 1:  # since another job of this process
        return
    communication.init()
    workers.rank, workers.count = communication.get_rank(), communication.get_group_size()
    ms.set_auto_parallel_context(parallel_mode="data_parallel", gradients_mean=True)
    if workers.rank:
        sys.stdout = open(os.devnull, "w")


def gathered(values: NDArray[Any]) -> NDArray[Any]:
    """The arrays of all workers, (N, ...), by rank; bits are sent as int32, which every device gathers."""
    values = np.ascontiguousarray(values)
    if workers.count == 1:
        return values[None]
    bits = ops.AllGather()(Tensor(values.reshape(-1).view(np.int32)))
    return bits.asnumpy().view(values.dtype).reshape(workers.count, *values.shape)


def total(values: NDArray[Any]) -> NDArray[Any]:
    """The sum over all workers of arrays of one shape and of a type of 4 or 8 bytes; the same bytes on each."""
    return gathered(values).sum(0)


def wait() -> None:
    """Returns when all workers have come here."""
    gathered(np.zeros(1, np.int32))


def told(text: str) -> str:
    """What the first worker says, a text of up to 4096 letters."""
    letters = np.zeros(4096, np.int32)
    letters[:len(text)] = [ord(letter) for letter in text]
    return "".join(map(chr, gathered(letters)[0])).rstrip("\0")
