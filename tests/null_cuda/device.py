"""What the null CUDA device was asked for, in a process that runs on it."""

import ctypes
import os
from collections import Counter
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Event:
    """One thing that the device was asked for.

    Attributes:
        kind: "kernel", "memset", "device copy", "upload", "download", "host copy", "synchronize", "stream wait",
            "event", "allocate", "free" or "not supported".
        name: Of the kernel, or of the function that was called.
        size: The bytes of a copy, memset or allocation, the blocks of a kernel.
        pinned: Whether the host's side of a copy is page-locked: otherwise the host waits for the copy.
    """

    kind: str
    name: str
    size: int
    pinned: bool


class _CEvent(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("pinned", ctypes.c_bool),
    ]


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.null_cuda_events.restype = ctypes.POINTER(_CEvent)
    return library


def reset() -> None:
    """Forget all events."""
    _library().null_cuda_reset()


def count() -> int:
    """Return the number of events since the last reset."""
    return _library().null_cuda_count()


def events() -> list[Event]:
    """Return the events since the last reset, in order."""
    found = _library().null_cuda_events()[: count()]
    return [Event(event.kind.decode(), event.name.decode(), event.size, event.pinned) for event in found]


def counts() -> dict[str, int]:
    """Return how many events of each kind there were since the last reset."""
    return dict(Counter(event.kind for event in events()))


def launches(found: list[Event]) -> int:
    """Return how many of the events the host launches and the device executes: kernels, memsets and device copies."""
    return sum(event.kind in ("kernel", "memset", "device copy") for event in found)


def host_waits(found: list[Event]) -> list[Event]:
    """Return the events for which the host waits: synchronisations, downloads and uploads of pageable memory."""
    waits = {"synchronize", "download"}
    return [event for event in found if event.kind in waits or (event.kind == "upload" and not event.pinned)]
