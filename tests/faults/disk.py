"""A full, broken or read-only disk at every single call: a clear error, and what was saved stays."""

import errno
import os
import shutil
import time
from pathlib import Path

from tests.faults import Row
from tests.faults.kills import GO_ON, begin, complete
from tests.faults.server import HANG_SECONDS, Server
from tests.faults.signals import start_two
from wgan_dist.config.command_line import EXIT_USAGE
from wgan_dist.utils.errors import UserError

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
OPERATIONS = ("open", "write", "fsync", "rename", "mkdir")
TWO_PROCESSES = 12


def is_harmless(point: str) -> bool:
    """Return whether a call removes old files or creates existing folders, which may fail without harm."""
    return point.startswith("rename /checkpoints/.") or point in ("mkdir ", "mkdir /tensorboard")


def wrong_with(status: int | None, log: Path, run_dir: Path, error: int, harmless: bool) -> str:
    """Return what a run that met an error did wrong."""
    try:
        complete(run_dir)
    except UserError as damage:
        return str(damage)
    if harmless and status == 0:
        return ""
    last = log.read_text().splitlines()[-1]
    if status != EXIT_USAGE or not last.startswith("error: ") or os.strerror(error) not in last:
        return f"status {status}: {last}"
    return ""


def one_process(scratch: Path, cache_dir: Path) -> Row:
    """Inject each error at each call of a run that resumes and saves."""
    names = ", ".join(errno.errorcode[number] for number in ERRORS)
    row = Row(f"{names} at each open, write, fsync, rename, mkdir of a run that saves")
    with Server(scratch) as server:
        begun, _, trace = begin(server, scratch, cache_dir)
        for number, point in enumerate(trace, 1):
            for error in ERRORS if point.startswith(OPERATIONS) else ():
                run_dir, log = scratch / f"{number}-{error}", scratch / f"log-{number}-{error}"
                shutil.copytree(begun, run_dir)
                fault = {"FAULT_BELOW": str(run_dir), "FAULT_AT": str(number), "FAULT_ERRNO": str(error)}
                status = server.run([f"--run_dir={run_dir}", *GO_ON], log, **fault)
                wrong = wrong_with(status, log, run_dir, error, is_harmless(point))
                row.expect(not wrong, f"{number} {point} {errno.errorcode[error]}: {wrong}")
                shutil.rmtree(run_dir)
    return row


def two_processes(scratch: Path, cache_dir: Path) -> Row:
    """Inject an error into the first of two processes: both end soon."""
    row = Row(f"the same on the first of two processes: both end within {HANG_SECONDS} s")
    slowest = 0.0
    with Server(scratch) as server:
        begun, _, trace = begin(server, scratch, cache_dir)
        chosen = [number for number, point in enumerate(trace, 1) if point.startswith(("write", "fsync", "rename"))]
        for number in chosen[:: len(chosen) // TWO_PROCESSES]:
            point, run_dir, log = trace[number - 1], scratch / str(number), scratch / f"log-{number}"
            shutil.copytree(begun, run_dir)
            fault = {"FAULT_BELOW": str(run_dir), "FAULT_AT": str(number), "FAULT_ERRNO": str(errno.EIO)}
            pair = start_two(server, [f"--run_dir={run_dir}", *GO_ON], log, fault)
            began = time.monotonic()
            statuses = [server.wait(process) for process in pair]
            slowest = max(slowest, time.monotonic() - began)
            wrong = wrong_with(statuses[0], Path(f"{log}-0"), run_dir, errno.EIO, is_harmless(point))
            row.expect(not wrong and None not in statuses, f"{number} {point}: {wrong}, {statuses}")
    row.note = f"the slowest took {slowest:.0f} s from start to end"
    return row
