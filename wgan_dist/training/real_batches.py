"""The real samples of each critic iteration: this process's rows of the global batch, on its device."""

from collections.abc import Generator
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data.samplers import GlobalBatchOrder, RankSampler, flip_horizontally, micro_batches, to_network_inputs
from wgan_dist.training.noise import NoiseSource
from wgan_dist.utils.profiler import phase


class RealBatches:
    """Iterate over the global batches of a run, from where it is."""

    def __init__(
        self,
        values: NDArray[Any],
        order: GlobalBatchOrder,
        rows: NDArray[Any],
        noise: NoiseSource,
        fresh_per_critic_iteration: bool,
        flip: bool,
        workers: int,
    ) -> None:
        """Read micro-batches of `values`.

        Args:
            values: All samples [n, …], memory-mapped.
            order: The order in which the global batches take the training samples.
            rows: The rows of `values` that are trained on.
            noise: Draws which images are mirrored, and says how this process's share of a batch is cut.
            fresh_per_critic_iteration: Whether every critic iteration takes a new batch, or every generator step.
            flip: Whether images are mirrored at random.
            workers: Processes that prepare batches; 0 prepares them in this process.
        """
        self.values, self.order, self.rows, self.noise = values, order, rows, noise
        self.fresh, self.flip, self.workers = fresh_per_critic_iteration, flip, workers
        self._batches: Generator[list[Tensor]] | None = None
        self._number = -1
        self._batch: list[Tensor] = []

    def batch(self, step: int, total_critic_iterations: int) -> list[Tensor]:
        """Return the micro-batches of a critic iteration, as the critic takes them; iterations only go forward."""
        number = total_critic_iterations if self.fresh else step
        if number != self._number:
            if self._batches is None:
                self._batches = self._read_from(number)
            with phase("data"):
                self._batch, self._number = next(self._batches), number
        return self._batch

    def _read_from(self, first: int) -> Generator[list[Tensor]]:
        slices, device = self.noise.slices, self.noise.device
        sampler = RankSampler(self.order, first, slices, self.rows)
        loader = micro_batches(self.values, sampler, self.workers, pin_memory=device.type == "cuda")
        number = first
        while True:
            parts = [next(loader).to(device, non_blocking=True) for _ in slices]
            if self.flip:
                flips = self.noise.flips("critic.flip", number)
                parts = [flip_horizontally(part, which) for part, which in zip(parts, flips, strict=True)]
            yield [to_network_inputs(part, self.noise.dtype) for part in parts]
            number += 1

    def close(self) -> None:
        """Stop the worker processes."""
        if self._batches is not None:
            self._batches.close()
            self._batches, self._number = None, -1
