"""Standard output, and the time at which the command began to run."""

import os
import sys
import time

# The start of the command as its user sees it: commands import this module before torch.
STARTED = time.monotonic()


def print_now(text: str, end: str = "\n") -> None:
    """Print a text at once; if nobody reads standard output any more, discard this and all further output."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print a line to standard error about something that the user should know and that is no error."""
    print(f"note: {text}", file=sys.stderr, flush=True)
