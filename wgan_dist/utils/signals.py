"""Signals that stop a run: before training they end it at once, during training they set a flag that the loop reads."""

import signal
from types import FrameType

from wgan_dist.utils.errors import Stopped

# Windows has no SIGUSR1.
STOPPING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class _StopRequest:
    """The last signal that this process received, and whether it only sets a flag."""

    number = 0
    is_deferred = False


_request = _StopRequest()


def _receive(number: int, frame: FrameType | None) -> None:
    _request.number = number
    if not _request.is_deferred:
        raise Stopped(f"stopped by {name(number)} before training began; there was nothing to save")


def install_handlers() -> None:
    """Let SIGTERM, SIGINT and SIGUSR1, where it exists, raise Stopped, from now on until `defer_stop_signals`."""
    _request.number, _request.is_deferred = 0, False
    for number in STOPPING:
        signal.signal(number, _receive)


def defer_stop_signals() -> None:
    """Let signals only set the flag that `requested_signal` reads, from now on; forget what an earlier run received."""
    _request.number, _request.is_deferred = 0, True


def requested_signal() -> int:
    """Return the number of the last signal that asked this process to stop, 0 if there was none."""
    return _request.number


def ignore() -> None:
    """Ignore these signals, which terminals and batch systems send to every process of a group."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def name(number: int) -> str:
    """Return the name of a signal: SIGTERM for 15."""
    return signal.Signals(number).name
