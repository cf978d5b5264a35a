"""Signals that ask a run to stop: before it trains they end it at once, while it trains they only set a flag."""

import ctypes
import os
import signal
import sys
from types import FrameType

from wgan_dist.utils.errors import Stopped

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Linux's prctl: the signal to receive when the parent dies.
_PR_SET_PDEATHSIG = 1


class _Request:
    """What this process was told, and whether there is something to bring to an end first."""

    number = 0
    waits = False


_request = _Request()


def _receive(number: int, frame: FrameType | None) -> None:
    _request.number = number
    if not _request.waits:
        raise Stopped(f"stopped by {name(number)} before training began; there was nothing to save")


def _end_with_launcher() -> None:
    """A launcher that is killed must not leave workers behind that nobody can see; they save and stop."""
    launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def listen() -> None:
    """From now to the end of the process SIGTERM, SIGINT and SIGUSR1 stop it, by raising Stopped."""
    _request.number, _request.waits = 0, False
    _end_with_launcher()
    for each in STOPPING:
        signal.signal(each, _receive)


def wait_for_boundary() -> None:
    """From now on a signal only sets a flag: see `requested`. What an earlier run in this process was told is past."""
    _request.number, _request.waits = 0, True


def requested() -> int:
    """The number of the last signal that asked to stop, 0 if there was none."""
    return _request.number


def ignore() -> None:
    """Leave the decision to the parent: a terminal and a batch system signal every process of a group."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)


def name(number: int) -> str:
    """SIGTERM for 15."""
    return signal.Signals(number).name
