"""Values of successive numbers, each computed in the background while the one before it is used."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Compute the value of the next number in a background thread, while the caller uses the value of this one.

    Where the networks are computed on the CPU, nothing is computed ahead, because they need all of its cores.

    Args:
        compute: Computes the value of a number, as a function of the number alone. It always runs in the same thread.
        device: Where the networks are computed. The thread makes it its current device.
    """

    def __init__(self, compute: Callable[[int], T], device: torch.device) -> None:
        self._compute, self._device = compute, device
        self._thread: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[T]] | None = None

    def get(self, number: int) -> T:
        """Return the value of `number` and begin to compute that of number + 1. Raises what computing it raised."""
        if self._device.type == "cpu":
            return self._compute(number)
        if self._next is None or self._next[0] != number:
            self._next = self._begin(number)
        value = self._next[1].result()
        self._next = self._begin(number + 1)
        return value

    def _begin(self, number: int) -> tuple[int, Future[T]]:
        if self._thread is None:
            self._thread = _start_thread(self._device)
        return number, self._thread.submit(self._compute, number)

    def close(self) -> None:
        """End the thread as soon as the value that it computes is finished; `get` starts another one."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread = self._next = None


def _start_thread(device: torch.device) -> ThreadPoolExecutor:
    """Return an executor with one thread, which allocates pinned memory for the current device."""
    if device.type != "cuda":
        return ThreadPoolExecutor(1, "wgan_dist.prefetcher")
    return ThreadPoolExecutor(1, "wgan_dist.prefetcher", torch.cuda.set_device, (torch.cuda.current_device(),))
