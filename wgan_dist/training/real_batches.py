"""The real samples of each critic iteration: this process's rows of the global batch, on its device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data.samplers import (
    Batch,
    BatchOrder,
    RankSampler,
    flip_horizontally,
    micro_batches,
    scale_to_inputs,
)
from wgan_dist.training.noise import NoiseSource
from wgan_dist.training.prefetcher import Prefetcher
from wgan_dist.utils.levels import Levels
from wgan_dist.utils.profiler import phase


@dataclass(frozen=True)
class RealBatch:
    """Real samples [n, …] as the critic takes them, and their labels int64 [n] or None, for each micro-batch."""

    samples: list[Tensor]
    labels: list[Tensor | None]


@dataclass(frozen=True)
class _HostBatch:
    """The micro-batches of a global batch in memory of the host, and which samples to mirror [micro-batches, rows]."""

    micro_batches: list[Batch]
    flips: Tensor | None


class RealBatches:
    """Return the global batches of a run by their numbers.

    The next batch is read in the background, into pinned memory for a CUDA device, while this one is used.
    """

    def __init__(
        self,
        values: NDArray[Any],
        levels: Levels | None,
        order: BatchOrder,
        rows: NDArray[Any],
        noise: NoiseSource,
        fresh_per_critic_iteration: bool,
        flip: bool,
        workers: int,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Read micro-batches of `values`.

        Args:
            values: All samples: pixels [n, channels, height, width] as their source has them, or points [n, d].
            levels: The levels of pixels, or None for points, which are taken as they are.
            order: The order in which the global batches take the training samples.
            rows: The rows of `values` that are trained on.
            noise: Draws which images are mirrored, and says how this process's share of a batch is cut.
            fresh_per_critic_iteration: Whether every critic iteration takes a new batch, or every generator step.
            flip: Whether images are mirrored at random.
            workers: Processes that prepare batches; 0 prepares them in this process.
            labels: The class of each sample, int64 [n], or None without classes.
        """
        self.values, self.order, self.rows, self.noise = values, order, rows, noise
        self.fresh, self.flip, self.workers, self.labels = fresh_per_critic_iteration, flip, workers, labels
        self._to_inputs = (
            (lambda points: points.to(noise.dtype))
            if levels is None
            else scale_to_inputs(levels, noise.device, noise.dtype)
        )
        self._batches = Prefetcher(self._read, noise.device)
        self._loader: Iterator[Batch] | None = None
        self._number = -1
        self._batch = RealBatch([], [])

    def batch(self, step: int, total_critic_iterations: int) -> RealBatch:
        """Return the micro-batches of a critic iteration; fast if iterations go forward."""
        number = total_critic_iterations if self.fresh else step
        if number != self._number:
            with phase("data"):
                self._go_to(number)
                self._batch, self._number = self._to_device(self._batches.get(number)), number
        return self._batch

    def of_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the samples of some rows of all values, as the critic takes them, on the device."""
        values = torch.from_numpy(np.asarray(self.values[rows]))
        return self._to_inputs(self.noise.upload(self.noise.stage(values, values.dtype)))

    def _go_to(self, number: int) -> None:
        """Let the next batch to be read be `number`. Worker processes start here, in the thread of the caller."""
        if self._loader is None or number != self._number + 1:
            self.close()
            self._loader = self._load_from(number)

    def _read(self, number: int) -> _HostBatch:
        assert self._loader is not None
        parts = [next(self._loader) for _ in self.noise.slices]
        return _HostBatch(parts, self.noise.flips("critic.flip", number) if self.flip else None)

    def _load_from(self, number: int) -> Iterator[Batch]:
        sampler = RankSampler(self.order, number, self.noise.slices, self.rows)
        return micro_batches(self.values, sampler, self.workers, self.noise.device.type == "cuda", self.labels)

    def _to_device(self, batch: _HostBatch) -> RealBatch:
        upload = self.noise.upload
        samples = [self._to_inputs(upload(part)) for part, _ in batch.micro_batches]
        labels = [None if part is None else upload(part) for _, part in batch.micro_batches]
        if batch.flips is not None:
            flips = upload(batch.flips)
            samples = [flip_horizontally(part, flip) for part, flip in zip(samples, flips, strict=True)]
        return RealBatch(samples, labels)

    def close(self) -> None:
        """End the thread that reads, and the worker processes."""
        self._batches.close()
        self._loader, self._number = None, -1
