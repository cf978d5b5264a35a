"""The order of the data: which samples make a global batch, and which of them each rank loads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wgan_dist.utils import rng, signals
from wgan_dist.utils.images import from_uint8
from wgan_dist.utils.levels import Levels

Indices = NDArray[np.int64]
# Samples, and their labels or None.
MicroBatch = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class GlobalBatchOrder:
    """The endless sequence of global batches: a new permutation in each epoch, without the incomplete last batch.

    It is a pure function of the seed and the batch number, so that every rank can compute any batch, also after a
    resume and with another number of ranks.
    """

    seed: int
    size: int
    batch_size: int

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of complete batches in an epoch."""
        return self.size // self.batch_size

    def permutation(self, batch: int) -> Indices:
        """Return the permutation [size] of the epoch that global batch number `batch` belongs to."""
        return rng.permutation(self.seed, "order", batch // self.batches_per_epoch, self.size)

    def batch_slice(self, batch: int) -> slice:
        """Return where global batch number `batch` lies in the permutation of its epoch."""
        start = batch % self.batches_per_epoch * self.batch_size
        return slice(start, start + self.batch_size)


class RankSampler(Sampler[Indices]):
    """A sampler of this rank's share of each global batch, one micro-batch at a time, without end.

    Args:
        order: The order of the global batches.
        start: The number of the first global batch.
        rank_slices: This rank's part of each micro-batch, as slices of a global batch.
        rows: The samples [order.size] that are put in order, by default all.
    """

    def __init__(
        self, order: GlobalBatchOrder, start: int, rank_slices: list[slice], rows: Indices | None = None
    ) -> None:
        self.order, self.start, self.rank_slices = order, start, rank_slices
        self.rows = np.arange(order.size) if rows is None else rows

    def __iter__(self) -> Iterator[Indices]:
        batch, permutation = self.start, self.order.permutation(self.start)
        while True:
            global_batch = self.rows[permutation[self.order.batch_slice(batch)]]
            yield from (global_batch[rank_slice] for rank_slice in self.rank_slices)
            batch += 1
            if batch % self.order.batches_per_epoch == 0:
                permutation = self.order.permutation(batch)


class _Rows(Dataset[MicroBatch]):
    """Samples and their labels as a data set that is indexed by a whole micro-batch."""

    def __init__(self, values: Any, labels: Indices | None) -> None:
        # Indexing a memmap takes twice as long.
        self.values = values.view(np.ndarray) if isinstance(values, np.ndarray) else values
        self.labels = labels

    def __getitem__(self, indices: Indices) -> MicroBatch:
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return torch.from_numpy(np.asarray(self.values[indices])), labels


def _start_worker(worker: int) -> None:
    signals.ignore()


def micro_batches(
    values: Any, sampler: RankSampler, workers: int, pin_memory: bool, labels: Indices | None = None
) -> Iterator[MicroBatch]:
    """Yield the rows of `values` that the sampler chooses, [micro-batch size / ranks, …], without end.

    Beside them stand their labels, int64 [micro-batch size / ranks], or None if `labels` [n] is None.
    """
    loader = DataLoader(
        _Rows(values, labels),
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
    )
    return iter(loader)


def to_network_inputs(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return samples as the critic takes them: pixels of 8 bits in [−1, 1], others unchanged."""
    return from_uint8(values, dtype) if values.dtype == torch.uint8 else values.to(dtype)


def scale_to_inputs(levels: Levels, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return a function that maps values [n, c, h, w] of a source, on a device, to the critic's inputs in [−1, 1].

    Values beyond the levels become −1 or 1. The levels go to the device once, so that no call waits for it.
    """
    if levels.is_eight_bit:
        return lambda values: from_uint8(values, dtype)
    low, high = (torch.tensor(side, dtype=torch.float64).view(-1, 1, 1) for side in (levels.low, levels.high))
    factor, low = (part.to(device, dtype) for part in (2.0 / (high - low), low))
    return lambda values: values.to(dtype).sub_(low).mul_(factor).sub_(1.0).clamp_(-1.0, 1.0)


def flip_horizontally(images: Tensor, is_mirrored: Tensor) -> Tensor:
    """Return images [n, c, h, w], with left and right exchanged where `is_mirrored` [n] is True."""
    return torch.where(is_mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
