"""Memory that the processes of one machine share: who waits for the others on a core of its own hears them at once."""

import mmap
import os
import platform
import select
import time
from dataclasses import dataclass

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: a line of the processor's cache, which one process writes and the others watch
WATCHED = 0.001  # seconds: after this a process that waits sleeps between its looks,
NAP_SHARE, LONGEST_NAP = 0.05, 0.002  # for a share of what it has waited, in seconds
CHECKED = 0.1  # seconds between looks at whether the others are alive


class LostProcessError(RuntimeError):
    """Another process has ended, or did not come in time."""


def is_offered() -> bool:
    """Whether the system has what this takes; and whether what a processor writes is seen by others in that order,
    which there is no word for in Python elsewhere."""
    return hasattr(os, "memfd_create") and hasattr(os, "pidfd_open") and platform.machine() == "x86_64"


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def create(size: int, secret: bytes) -> int | None:
    """A descriptor of so many bytes, the first of them the secret: in no folder, gone with the last who has it open.

    None where the system refuses that, or has not so much memory: it is reserved at once.
    """
    try:
        descriptor = os.memfd_create("wgan_dist")
    except OSError:
        return None
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, secret, 0)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def open_of(process: int, descriptor: int | None, size: int, secret: bytes) -> mmap.mmap | None:
    """What another process created; None if it has not, where the system refuses it, or where that is something else:
    a container may number its processes by itself."""
    try:
        own = os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR)
    except OSError:
        return None
    try:
        memory = mmap.mmap(own, size)
    except (OSError, ValueError):
        return None
    finally:
        os.close(own)
    return memory if memory[: len(secret)] == secret else None


def watch(processes: list[int]) -> list[select.poll] | None:
    """For each process what tells that it has ended; None where the system refuses it."""
    watched = []
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            return None
        watched.append(select.poll())
        watched[-1].register(descriptor, select.POLLIN)
    return watched


@dataclass
class Meeting:
    """Where `size` processes, of which this is number `rank`, put things for each other to read, in rounds.

    The memory has two halves, for one round and the next: who writes in the second round after one has met all others
    in the round between, so they have read what is overwritten now. Raises LostProcessError once another process has
    ended, or has not come `patience` seconds after this one.
    """

    memory: mmap.mmap
    rank: int
    size: int
    patience: float
    watched: list[select.poll]  # of each rank
    round: int = 0
    start: int = 0

    @staticmethod
    def needs(size: int, each: int) -> int:
        """Bytes of memory for `size` processes that put `each` bytes a round, their parts aligned."""
        return ALIGNMENT * (1 + size) + 2 * size * aligned(each)

    def __post_init__(self) -> None:
        whole = torch.frombuffer(self.memory, dtype=torch.uint8)
        _, arrived, room = whole.split([ALIGNMENT, ALIGNMENT * self.size, len(whole) - ALIGNMENT * (1 + self.size)])
        # Of each process, the rounds it has come to, and the bytes it has put into the last even and odd one.
        self.arrived, *self.put = arrived.view(torch.int64).view(self.size, -1)[:, :3].numpy().T
        self.halves = room.view(2, self.size, -1)

    def places(self, like: Tensor) -> Tensor:
        """Room for a tensor of each process [size, length], to be read after the others have come."""
        end = self.start + like.numel() * like.element_size()
        if end > self.halves.shape[2]:
            raise ValueError(f"{end} bytes in a round of {self.halves.shape[2]}")
        found = self.halves[self.round % 2, :, self.start : end].view(like.dtype)
        self.start = aligned(end)
        return found

    def meet(self) -> None:
        """Wait until all have put what they have in this round."""
        put, mine = self.put[self.round % 2], self.start
        self.round, self.start = self.round + 1, 0
        put[self.rank] = mine
        self.arrived[self.rank] = self.round
        began = checked = time.monotonic()
        while self.arrived.min() < self.round:
            now = time.monotonic()
            if now - began < WATCHED:
                os.sched_yield()
                continue
            time.sleep(min(LONGEST_NAP, NAP_SHARE * (now - began)))
            if now - checked > CHECKED:
                self._check(now - began)
                checked = now
        if (put != mine).any():
            raise LostProcessError(f"rank {int((put != mine).argmax())} is at another place of the run")

    def _check(self, waited: float) -> None:
        for rank, arrived in enumerate(self.arrived):
            if arrived < self.round:
                # Looked at in this order, since it may have come and then ended.
                if self.watched[rank].poll(0) and self.arrived[rank] < self.round:
                    raise LostProcessError(f"rank {rank} has ended")
                if waited > self.patience:
                    raise LostProcessError(f"rank {rank} has not come for {self.patience:.4g} s")

    def has_room(self, values: Tensor) -> bool:
        """Whether a tensor is small enough to be gathered here, and in this machine's memory."""
        return values.device.type == "cpu" and values.numel() * values.element_size() <= self.halves.shape[2]

    def gather(self, values: Tensor) -> Tensor:
        """Equally shaped values of all processes [size, …]; they stay until this process is in its next round."""
        places = self.places(values)
        places[self.rank] = values.reshape(-1)
        self.meet()
        return places.view(self.size, *values.shape)
