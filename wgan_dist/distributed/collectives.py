"""Exchanges between all processes, and each process's share of a batch. Alone, a process exchanges nothing."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from wgan_dist.distributed.process_group import World, host_group, world
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import make_folder
from wgan_dist.utils.process import is_first_on_machine


def micro_batch_slices(batch_size: int, accumulation: int, world: World, setting: str = "batch_size") -> list[slice]:
    """Return this process's rows of each of the `accumulation` micro-batches of a global batch.

    The slices of all processes tile a micro-batch, and the micro-batches tile the batch, in order. Raises UserError,
    naming `setting`, if they would differ in length.
    """
    count = accumulation * world.size
    if batch_size % count:
        expected = f"a multiple of {count} ({world.size} processes × accumulation {accumulation})"
        raise UserError(f"{setting}={batch_size}: expected {expected}")
    length = batch_size // count
    starts = [(micro_batch * world.size + world.rank) * length for micro_batch in range(accumulation)]
    return [slice(start, start + length) for start in starts]


def rank_slice(count: int, multiple: int = 1) -> slice:
    """Return this process's part of `count` items; all parts tile them in the order of ranks, as equal as can be.

    Each part begins at a multiple of `multiple`.
    """
    rank, size = world().rank, world().size
    units = -(-count // multiple)
    first, last = (min(count, multiple * (units * number // size)) for number in (rank, rank + 1))
    return slice(first, last)


def all_reduce_mean(values: Tensor) -> Tensor:
    """Return the mean over all processes of tensors of one shape."""
    if world().size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world().size


class AsyncMax:
    """The greatest of all processes' values, known one call later, so that no process waits for another.

    Every process must make the same calls in the same order.
    """

    def __init__(self) -> None:
        self._exchange: tuple[Tensor, dist.Work] | None = None

    def exchange(self, value: int) -> int:
        """Send `value` and return the greatest of the values of the previous call, 0 if there was none.

        Alone, a process gets its own value at once. After a value other than 0 was returned, nothing is under way.
        """
        if world().size == 1:
            return value
        if greatest := self.finish():
            return greatest
        values = torch.tensor(value)
        self._exchange = values, dist.all_reduce(values, dist.ReduceOp.MAX, host_group(), async_op=True)
        return 0

    def finish(self) -> int:
        """Wait for the exchange that is under way, and return the greatest of its values, 0 if there is none."""
        if self._exchange is None:
            return 0
        (values, work), self._exchange = self._exchange, None
        work.wait()
        return int(values)


def all_gather_objects(value: Any) -> list[Any]:
    """Return the values of all processes in the order of ranks; they are pickled."""
    values = [value] * world().size
    if world().size > 1:
        dist.all_gather_object(values, value, host_group())
    return values


def run_on_all_ranks(function: Callable[[], Any]) -> Any:
    """Call `function` on every process and return its own result.

    An exception on any process is raised there, and on the others as a UserError with the same message, so that no
    process waits for one that has failed.
    """
    if world().size == 1:
        return function()
    result, failure = None, None
    try:
        result = function()
    except Exception as error:
        failure = error
    messages = all_gather_objects(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for message in messages:
        if message is not None:
            raise UserError(message)
    return result


def broadcast_from_main(function: Callable[[], Any]) -> Any:
    """Call `function` on the main process and return its result on every process; errors as in `run_on_all_ranks`."""
    result = [run_on_all_ranks(function if world().is_main else lambda: None)]
    if world().size > 1:
        dist.broadcast_object_list(result, src=0, group=host_group())
    return result[0]


def _mark(folder: Path) -> str:
    """Make an empty file in `folder` and return its name, or an empty text if the folder cannot be written."""
    try:
        make_folder(folder)
        descriptor, path = tempfile.mkstemp(prefix=".wgan_dist-folder-of-the-main-process-", dir=folder)
        os.close(descriptor)
        return Path(path).name
    except OSError:
        return ""


def fill_folder(folder: Path, fill: Callable[[], Any]) -> Any:
    """Call `fill` on one process for each folder that has this name on any machine, and wait for all of them.

    The main process fills its folder, and at the same time the first process of each machine that does not see it fills
    one of its own. They find out by a file, since locks between machines depend on the file system. Returns the main
    process's result; errors as in `run_on_all_ranks`.
    """
    if world().size == 1:
        return fill()
    mark = broadcast_from_main(lambda: _mark(folder))
    is_shared = bool(mark) and (folder / mark).exists()
    fills = world().is_main or (is_first_on_machine() and not is_shared)
    try:
        result = run_on_all_ranks(fill if fills else lambda: None)
    finally:
        if mark and world().is_main:
            (folder / mark).unlink(missing_ok=True)
    return broadcast_from_main(lambda: result)


def gather(rows: Tensor) -> Tensor:
    """Return the rows [n, …] of all processes in the order of ranks, in host memory; no rows except on the main one."""
    rows = rows.cpu()
    if world().size == 1:
        return rows
    parts: list[Any] | None = [None] * world().size if world().is_main else None
    # A copy, because pickling a view writes all the memory that it is a view of.
    dist.gather_object(rows.clone(), parts, dst=0, group=host_group())
    return torch.cat(parts) if parts else rows[:0]
