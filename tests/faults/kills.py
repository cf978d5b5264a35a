"""SIGKILL at every change on the disk, and at random times: the run resumes from a complete checkpoint."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from tests.faults import Row
from tests.faults.server import Server
from tests.faults.tiny import SETTINGS, differences, flags
from wgan_dist.checkpoints import manifest
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_position
from wgan_dist.utils.errors import UserError

RANDOM_KILLS = 100
SECONDS_ALIVE = (0.05, 0.9)
# A run that has saved at step 2 and, continued, saves at step 3, prunes, and ends.
BEGUN = SETTINGS | {"max_steps": "2", "sample_every": "0", "checkpoint_every": "0", "keep_checkpoints": "1"}
GO_ON = ["--resume", "--max_steps=3"]


def complete(run_dir: Path) -> list[tuple[int, int]]:
    """Verify all checkpoints and return their positions; raises UserError if one is damaged or none exists."""
    positions = []
    for folder in (run_dir / CHECKPOINTS).glob("*"):
        if position := checkpoint_position(folder.name):
            manifest.read_folder(folder)
            positions.append(position)
    if not positions:
        raise UserError("no checkpoint is left")
    return sorted(positions)


def begin(server: Server, scratch: Path, cache_dir: Path) -> tuple[Path, Path, list[str]]:
    """Return a run at step 2, its continuation to step 3, and the changes on the disk as 'operation path'."""
    run_dir, straight, trace = scratch / "begun", scratch / "straight", scratch / "trace"
    settings = flags(BEGUN | {"cache_dir": str(cache_dir), "run_dir": str(run_dir)})
    assert server.run(settings, scratch / "log") == 0
    shutil.copytree(run_dir, straight)
    watched = {"FAULT_BELOW": str(straight), "FAULT_LOG": str(trace)}
    assert server.run([f"--run_dir={straight}", *GO_ON], scratch / "log", **watched) == 0
    return run_dir, straight, [line.split(" ", 1)[1] for line in trace.read_text().splitlines()]


def _after_kill(server: Server, run_dir: Path, straight: Path, log: Path) -> str:
    """Return what is wrong with a killed run, or with its result when it is resumed."""
    try:
        places = complete(run_dir)
    except UserError as error:
        return str(error)
    if places[-1] not in ((2, 0), (3, 0)):
        return f"checkpoints {places}"
    if server.run([f"--run_dir={run_dir}", *GO_ON], log) != 0:
        return f"cannot be resumed: {log.read_text()[-300:]}"
    return ", ".join(differences(run_dir, straight))


def boundaries(scratch: Path, cache_dir: Path) -> Row:
    """Kill a run that resumes and saves before each call that changes the disk."""
    row = Row("SIGKILL before each system call that changes the disk, in a run that saves")
    with Server(scratch) as server:
        begun, straight, trace = begin(server, scratch, cache_dir)
        for number, point in enumerate(trace, 1):
            run_dir = scratch / str(number)
            shutil.copytree(begun, run_dir)
            fault = {"FAULT_BELOW": str(run_dir), "FAULT_AT": str(number), "FAULT_SIGNAL": str(int(signal.SIGKILL))}
            status = server.run([f"--run_dir={run_dir}", *GO_ON], scratch / f"log-{number}", **fault)
            wrong = _after_kill(server, run_dir, straight, scratch / f"log-{number}")
            row.expect(status == -signal.SIGKILL and not wrong, f"{number} {point}: status {status}, {wrong}")
            shutil.rmtree(run_dir)
    inside = sum("/checkpoints" in point or "generator" in point for point in trace)
    row.note = f"{inside} of them within the save itself"
    return row


def at_random(scratch: Path, cache_dir: Path) -> Row:
    """Kill one run again and again, resuming each time; the result equals that of an uninterrupted run."""
    row = Row("SIGKILL of a training process at random times, one run")
    chance, run_dir, straight = random.Random(0), scratch / "killed", scratch / "straight"
    settings = SETTINGS | {"cache_dir": str(cache_dir), "checkpoint_every": "1", "max_steps": "1000000"}
    newest = (0, 0)
    with Server(scratch) as server:
        for number in range(RANDOM_KILLS):
            log = scratch / f"log-{number}"
            process = server.start([*flags(settings), f"--run_dir={run_dir}", "--resume=auto"], log)
            time.sleep(chance.uniform(*SECONDS_ALIVE))
            os.kill(process, signal.SIGKILL)
            status = server.wait(process)
            try:
                place, wrong = complete(run_dir)[-1], ""
            except UserError as error:
                place, wrong = newest, str(error) if newest > (0, 0) else ""  # the first kills may come before any
            row.expect(
                status == -signal.SIGKILL and place >= newest and not wrong, f"{number}: {status} {place} {wrong}"
            )
            newest = place
        steps = newest[0] + 5
        server.run([f"--run_dir={run_dir}", "--resume", f"--max_steps={steps}"], scratch / "log")
        server.run([*flags(settings | {"max_steps": str(steps)}), f"--run_dir={straight}"], scratch / "log-straight")
    row.expect(not (differing := differences(run_dir, straight)), f"the end differs: {differing}")
    row.note = f"{steps} generator steps, a checkpoint each; the end equal in every byte to a run left alone"
    return row
