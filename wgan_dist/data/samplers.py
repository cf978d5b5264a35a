"""The order of the data: which samples make a global batch, and which of them each rank loads."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wgan_dist.utils import rng, signals
from wgan_dist.utils.images import from_uint8
from wgan_dist.utils.levels import Levels

Indices = NDArray[np.int64]


class BatchOrder(Protocol):
    """An endless sequence of global batches of `size` samples.

    It is a pure function of the seed and the batch number, so that every rank can compute any batch, also after a
    resume and with another number of ranks.
    """

    @property
    def size(self) -> int:
        """Return the number of samples."""

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of complete batches in an epoch."""

    def rows(self, batch: int) -> Indices:
        """Return which samples make global batch number `batch`, [batch_size]; fast if numbers go forward."""


@dataclass(frozen=True)
class GlobalBatchOrder:
    """The order of a new permutation in each epoch, without the incomplete last batch."""

    seed: int
    size: int
    batch_size: int
    _epochs: dict[int, Indices] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of complete batches in an epoch."""
        return self.size // self.batch_size

    def rows(self, batch: int) -> Indices:
        """Return which samples make global batch number `batch`, [batch_size]; fast within an epoch."""
        epoch, place = divmod(batch, self.batches_per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = rng.permutation(self.seed, "order", epoch, self.size)
        return self._epochs[epoch][place * self.batch_size : (place + 1) * self.batch_size]


class ClassBalancedOrder:
    """The order in which every class is drawn equally often, and every sample of a class equally often.

    The draws of all batches are numbered: the i-th of batch b is draw b · batch_size + i. Of C classes, each C draws
    are a round, which takes every class once, in a new order. The r-th draw of a class of n samples is number r mod n
    of a permutation of them, which is new after every n draws. An epoch is as many batches as without balance.

    Args:
        seed: The seed of the run.
        labels: The class of each sample [size]: 0, 1, …, C − 1, each at least once.
        batch_size: The samples of a global batch.
    """

    def __init__(self, seed: int, labels: Indices, batch_size: int) -> None:
        self.seed, self.size, self.batch_size = seed, len(labels), batch_size
        counts = np.bincount(labels)
        self._members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
        # The permutation of each class that was used last, and its number.
        self._permutations: dict[int, tuple[int, Indices]] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches in an epoch, in which as many samples are drawn as there are."""
        return self.size // self.batch_size

    def rows(self, batch: int) -> Indices:
        """Return which samples make global batch number `batch`, [batch_size]; fast if numbers go forward."""
        classes = len(self._members)
        draws = range(batch * self.batch_size, (batch + 1) * self.batch_size)
        rounds = {
            number: rng.permutation(self.seed, "order.classes", number, classes)
            for number in range(draws[0] // classes, draws[-1] // classes + 1)
        }
        return np.array([self._draw(int(rounds[draw // classes][draw % classes]), draw // classes) for draw in draws])

    def _draw(self, number: int, turn: int) -> int:
        """Return the sample that is draw number `turn` of class `number`."""
        members = self._members[number]
        epoch, place = divmod(turn, len(members))
        if self._permutations.get(number, (-1,))[0] != epoch:
            permutation = rng.permutation(self.seed, f"order.class.{number}", epoch, len(members))
            self._permutations[number] = epoch, members[permutation]
        return int(self._permutations[number][1][place])


class RankSampler(Sampler[Indices]):
    """A sampler of this rank's share of each global batch, one micro-batch at a time, without end.

    Args:
        order: The order of the global batches.
        start: The number of the first global batch.
        rank_slices: This rank's part of each micro-batch, as slices of a global batch.
        rows: The samples [order.size] that are put in order, by default all.
    """

    def __init__(self, order: BatchOrder, start: int, rank_slices: list[slice], rows: Indices | None = None) -> None:
        self.order, self.start, self.rank_slices = order, start, rank_slices
        self.rows = np.arange(order.size) if rows is None else rows

    def __iter__(self) -> Iterator[Indices]:
        for batch in itertools.count(self.start):
            global_batch = self.rows[self.order.rows(batch)]
            yield from (global_batch[rank_slice] for rank_slice in self.rank_slices)


# The samples of a micro-batch, and their classes [n], int64, or None without classes.
Batch = tuple[Tensor, Tensor | None]


class _Rows(Dataset[Batch]):
    """Samples and their classes as a data set that is indexed by a whole micro-batch."""

    def __init__(self, values: Any, labels: Indices | None) -> None:
        # Indexing a memmap takes twice as long.
        self.values = values.view(np.ndarray) if isinstance(values, np.ndarray) else values
        self.labels = labels

    def __getitem__(self, indices: Indices) -> Batch:
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return torch.from_numpy(np.asarray(self.values[indices])), labels


def _start_worker(worker: int) -> None:
    signals.ignore()


def micro_batches(
    values: Any, sampler: RankSampler, workers: int, pin_memory: bool, labels: Indices | None = None
) -> Iterator[Batch]:
    """Yield the rows that the sampler chooses without end: those of `values`, and those of `labels` or None.

    Args:
        values: All samples [n, …].
        sampler: Chooses the rows of each micro-batch.
        workers: Processes that prepare micro-batches; 0 prepares them in this process.
        pin_memory: Whether the tensors lie in pinned memory.
        labels: The class of each sample, int64 [n], or None without classes.
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
