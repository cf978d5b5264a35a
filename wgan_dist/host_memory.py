"""Memory that the processes of one machine share: a word between them takes a tenth of what it takes by a socket."""

import mmap
import os
import platform
import select
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: a line of the processor's cache, which one process writes and the others watch
WATCHED = 0.001  # seconds: who comes later than this is looked for less often, by sleeping
NAP, ROUND = 5e-5, 0.1  # seconds: of a sleep, and between looks at whether the others are alive


class LostProcessError(RuntimeError):
    """Another process has ended, or did not come in time."""


def is_offered() -> bool:
    """Whether the system has what this takes; and whether what a processor writes is seen by others in that order,
    which there is no word for in Python elsewhere."""
    return hasattr(os, "memfd_create") and hasattr(os, "pidfd_open") and platform.machine() == "x86_64"


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def create(size: int, secret: bytes) -> int:
    """A descriptor of so many bytes, the first of them the secret: in no folder, gone with the last who has it open."""
    descriptor = os.memfd_create("wgan_dist")
    os.ftruncate(descriptor, size)
    os.pwrite(descriptor, secret, 0)
    return descriptor


def open_of(process: int, descriptor: int, size: int, secret: bytes) -> mmap.mmap | None:
    """What another process created; None where the system refuses it, or where that is something else: a container
    may number its processes by itself."""
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
    round: int = 0
    start: int = 0
    alive: dict[int, select.poll] = field(default_factory=dict)  # by rank, what tells that a process has ended

    @staticmethod
    def needs(size: int, each: int) -> int:
        """Bytes of memory for `size` processes that put `each` bytes a round, their parts aligned."""
        return ALIGNMENT * (1 + size) + 2 * size * aligned(each)

    def __post_init__(self) -> None:
        whole = torch.frombuffer(self.memory, dtype=torch.uint8)
        _, arrived, room = whole.split([ALIGNMENT, ALIGNMENT * self.size, len(whole) - ALIGNMENT * (1 + self.size)])
        self.arrived = arrived.view(torch.int64).view(self.size, -1)[:, 0].numpy()
        self.halves = room.view(2, self.size, -1)

    def know(self, processes: list[int]) -> None:
        """The ids of all processes, by rank: to be told before the first round."""
        for rank, process in enumerate(processes):
            self.alive[rank] = select.poll()
            self.alive[rank].register(os.pidfd_open(process), select.POLLIN)

    def places(self, like: Tensor) -> Tensor:
        """Room for a tensor of each process [size, length], to be read after the others have come."""
        end = self.start + like.numel() * like.element_size()
        found = self.halves[self.round % 2, :, self.start : end].view(like.dtype)
        self.start = aligned(end)
        return found

    def meet(self) -> None:
        """Wait until all have put what they have in this round."""
        self.round, self.start = self.round + 1, 0
        self.arrived[self.rank] = self.round
        began = time.monotonic()
        looked = began
        while self.arrived.min() < self.round:
            now = time.monotonic()
            if now - began < WATCHED:
                os.sched_yield()
                continue
            time.sleep(NAP)
            if now - looked > ROUND:
                self._look(now - began)
                looked = now

    def _look(self, waited: float) -> None:
        for rank, arrived in enumerate(self.arrived):
            if arrived < self.round:
                # Looked at in this order, since it may have come and then ended.
                if self.alive[rank].poll(0) and self.arrived[rank] < self.round:
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
