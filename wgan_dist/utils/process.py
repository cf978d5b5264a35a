"""The process of a command: whether others of its machine do the same, and its end."""

import atexit
import os
import sys
from typing import NoReturn

_exit_status: int | None = None


def _is_one_of_several() -> bool:
    """Return whether a launcher started this process; one of its variables may be left over, but it sets all three."""
    return {"LOCAL_RANK", "RANK", "WORLD_SIZE"} <= os.environ.keys()


def is_first_on_machine() -> bool:
    """Return whether this is the first process on its machine, as one without a launcher is.

    If SLURM binds one GPU to each task, LOCAL_RANK is 0 in all of them and SLURM_LOCALID counts them.
    """
    local = {os.environ.get(name, "0") for name in ("LOCAL_RANK", "SLURM_LOCALID")}
    return local == {"0"} or not _is_one_of_several()


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
