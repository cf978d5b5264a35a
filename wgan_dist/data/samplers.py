"""Which images make global batch k, and the loader that brings a process its share of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wgan_dist.utils import rng, signals
from wgan_dist.utils.images import from_uint8


@dataclass(frozen=True)
class Order:
    """The endless sequence of global batches: each epoch a new permutation, an incomplete last batch dropped.

    A pure function of (seed, k): any process of any world can ask for any batch, before or after a resume.
    """

    seed: int
    size: int
    batch_size: int

    @property
    def batches_per_epoch(self) -> int:
        return self.size // self.batch_size

    def epoch(self, batch: int) -> NDArray[np.int64]:
        """The permutation that global batch number `batch` is cut from."""
        return rng.permutation(self.seed, "order", batch // self.batches_per_epoch, self.size)

    def within(self, batch: int) -> slice:
        """The place of global batch number `batch` in its epoch's permutation."""
        start = batch % self.batches_per_epoch * self.batch_size
        return slice(start, start + self.batch_size)


class ShareSampler(Sampler[NDArray[np.int64]]):
    """This process's indices of each micro-batch, from global batch `start` on, without end.

    `rows` [order.size] are the samples that are put in order; None: as many as there are places.
    """

    def __init__(self, order: Order, start: int, shares: list[slice], rows: NDArray[np.int64] | None = None) -> None:
        self.order, self.start, self.shares = order, start, shares
        self.rows = np.arange(order.size) if rows is None else rows

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        batch, permutation = self.start, self.order.epoch(self.start)
        while True:
            indices = self.rows[permutation[self.order.within(batch)]]
            yield from (indices[share] for share in self.shares)
            batch += 1
            if batch % self.order.batches_per_epoch == 0:
                permutation = self.order.epoch(batch)


class _Gather(Dataset[Tensor]):
    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values.view(np.ndarray)  # a memmap's own way of taking rows takes twice as long

    def __getitem__(self, indices: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.asarray(self.values[indices]))


def _begin_worker(number: int) -> None:
    signals.ignore()


def micro_batches(values: NDArray[Any], sampler: ShareSampler, workers: int, pin_memory: bool) -> Iterator[Tensor]:
    """Rows of `values` [micro-batch / processes, …], in the sampler's order, without end."""
    loader = DataLoader(
        _Gather(values),
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_begin_worker,
    )
    return iter(loader)


def as_inputs(values: Tensor, dtype: torch.dtype) -> Tensor:
    """What a critic is given: pixels in [−1, 1], points as they are."""
    return from_uint8(values, dtype) if values.dtype == torch.uint8 else values.to(dtype)


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Images [n, c, h, w], those of `which` [n] with left and right exchanged."""
    return torch.where(which.view(-1, 1, 1, 1), images.flip(-1), images)
