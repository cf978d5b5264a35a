"""The end of a command's process."""

import atexit
import os
import sys
from typing import NoReturn

_exit_status: int | None = None


def exit_without_teardown(status: int = 0) -> NoReturn:
    """End this process with `status` when threads and exit handlers are done, without tearing down the interpreter.

    For the main function of a command alone. The teardown of torch takes a second, and threads of gloo abort the
    process in it now and then (torch 2.14.1: "terminate called without an active exception"), so that a launcher would
    report a finished run as failed.
    """
    global _exit_status
    _exit_status = status
    sys.exit(status)


def _end_process() -> None:
    if _exit_status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_status)  # the interpreter has no other way to end without its teardown


# Exit handlers run in the reverse order of their registration, so this one runs last if it is imported first.
atexit.register(_end_process)
