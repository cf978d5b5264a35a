"""The table of a session: a row for each thing that is checked or measured, written as soon as it is known."""

import textwrap
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

COLUMNS = ("item", "what", "outcome", "found", "s")
ERROR_CHARACTERS = 300


class Outcome(StrEnum):
    """The outcome of a check or measurement."""

    HELD = "held"
    MEASURED = "measured"
    NOT_TRIED = "not tried"
    NOT_HELD = "NOT HELD"
    TIMED_OUT = "TIMED OUT"
    ERROR = "ERROR"


FAILURES = (Outcome.NOT_HELD, Outcome.TIMED_OUT, Outcome.ERROR)


@dataclass(frozen=True)
class Row:
    """What was checked or measured, what became of it, and the figures or the reason."""

    what: str
    outcome: Outcome
    found: str


def holds(what: str, condition: bool, found: str) -> Row:
    """Return the row of a promise that is kept if `condition` is true."""
    return Row(what, Outcome.HELD if condition else Outcome.NOT_HELD, found)


def at_most(what: str, found: float, limit: float) -> Row:
    """Return the row of a figure with an upper limit, which NaN does not keep."""
    return holds(what, found <= limit, f"{found:.2g} (at most {limit:g})")


def measured(what: str, found: str) -> Row:
    """Return the row of figures that nothing is promised about."""
    return Row(what, Outcome.MEASURED, found)


def attempted(what: str, measure: Callable[[], str]) -> Row:
    """Measure something and return its row; an error becomes a row too, since the next measurement may succeed."""
    try:
        return measured(what, measure())
    except Exception as error:
        return failed(what, error)


def failed(what: str, error: Exception) -> Row:
    """Return the row of an error, and print its traceback to standard error."""
    traceback.print_exception(error)
    return Row(what, Outcome.ERROR, textwrap.shorten(f"{type(error).__name__}: {error}", ERROR_CHARACTERS))


def not_tried(what: str, reason: str) -> Row:
    """Return the row of something that this machine cannot do."""
    return Row(what, Outcome.NOT_TRIED, reason)


def _line(cells: list[str]) -> str:
    """Return a line of a Markdown table."""
    texts = [" ".join(cell.split()).replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(texts)} |"


class Table:
    """A Markdown table that is appended to a file and printed, line by line.

    Attributes:
        failures: The rows so far whose outcome is a failure.
    """

    def __init__(self, path: Path, heading: str) -> None:
        """Append a heading, in Markdown, and the first lines of a table to a file, which need not exist."""
        self.path, self.failures = path, 0
        self._last = time.monotonic()
        before = "\n" if path.exists() and path.stat().st_size else ""
        self._write(f"{before}{heading}\n\n{_line(list(COLUMNS))}\n|{'---|' * len(COLUMNS)}")

    def add(self, item: str, row: Row) -> None:
        """Write a row, with the seconds since the row before it."""
        now = time.monotonic()
        self._write(_line([item, row.what, row.outcome, row.found, f"{now - self._last:.1f}"]))
        self._last = now
        self.failures += row.outcome in FAILURES

    def _write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        print(text, flush=True)
