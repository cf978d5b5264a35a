"""The items of a session one after the other, each within its own time.

An alarm interrupts an item whose time is over and the next item begins. Code that waits in C, as for a kernel that does
not return, is not interrupted: a thread then writes what happened and ends the process. Should that code also hold the
interpreter's lock, so that no thread runs, faulthandler ends the process with a traceback; the table then ends with the
row before.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tests.gpu_session.table import Outcome, Row, Table, failed, not_tried

# Between the alarm and the end of the process.
GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Item:
    """Something to check or measure: its rows as they come, and the seconds that it may take."""

    name: str
    seconds: float
    check: Callable[[], Iterable[Row]]


class TimeLimitReached(BaseException):
    """The time of an item is over. No Exception, which libraries handle or replace by their own."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise TimeLimitReached in the block after `seconds`; for the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeLimitReached

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def last_resort(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` in a thread if the block takes longer than `seconds`; end the process if no thread can run."""
    thread = threading.Timer(seconds, end)
    thread.daemon = True
    thread.start()
    faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        thread.cancel()


def _run(item: Item, table: Table, seconds: float, following: list[Item]) -> None:
    def end() -> None:
        table.add(item.name, Row("", Outcome.TIMED_OUT, f"after {seconds:.0f} s; not interruptible: the session ends"))
        for other in following:
            table.add(other.name, not_tried("", f"the session ended in {item.name}"))
        os._exit(1)

    try:
        with last_resort(seconds + GRACE_SECONDS, end), alarm(seconds):
            for row in item.check():
                table.add(item.name, row)
    except TimeLimitReached:
        table.add(item.name, Row("", Outcome.TIMED_OUT, f"after {seconds:.0f} s"))
    except Exception as error:  # the other items still tell something
        table.add(item.name, failed("", error))


def run_items(items: list[Item], table: Table, seconds: float) -> None:
    """Run the items in their order and write their rows; those for which no time is left are not tried."""
    deadline = time.monotonic() + seconds
    for number, item in enumerate(items):
        left = deadline - time.monotonic()
        if left > 0:
            _run(item, table, min(item.seconds, left), items[number + 1 :])
        else:
            table.add(item.name, not_tried("", f"the {seconds / 60:.3g} minutes of the session are over"))
