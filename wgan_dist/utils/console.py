"""Standard output and standard error, on which every module prints through this one, and when the command began.

Names and messages that come from files may hold anything. No text that is printed here moves the cursor, reaches the
clipboard of a terminal, reverses the order of letters or begins a line of its own.
"""

import os
import sys
import time
from collections.abc import Iterable

# The start of the command as its user sees it: commands import this module before torch.
STARTED = time.monotonic()
# Moves to the start of the line and clears it.
CLEAR_LINE = "\r\x1b[K"


def escape_unprintable(text: str) -> str:
    """Return `text` with every unprintable character, line breaks among them, written as an escape sequence."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8, as the name of a file in another encoding cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _print_now(text: str) -> None:
    """Print a text as it is; if nobody reads standard output any more, discard this and all further output."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_now(line: str) -> None:
    """Print a line at once."""
    print_lines([line])


def print_lines(lines: Iterable[str]) -> None:
    """Print several lines at once."""
    _print_now("".join(f"{escape_unprintable(line)}\n" for line in lines))


def rewrite_line(line: str) -> None:
    """Print a line of a terminal in place of the one that was printed so before, without ending it."""
    _print_now(f"{CLEAR_LINE}{escape_unprintable(line)}")


def can_rewrite_lines() -> bool:
    """Return whether standard output is a terminal that can rewrite a line."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def print_to_stderr(line: str) -> None:
    """Print a line to standard error at once."""
    print(escape_unprintable(line), file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Print a line to standard error about something that the user should know and that is no error."""
    print_to_stderr(f"note: {text}")
