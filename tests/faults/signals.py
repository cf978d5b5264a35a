"""Signals to one process, to all, to the launcher, and again while it saves: saved, the right status, no orphans."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.faults import Row
from tests.faults.kills import complete
from tests.faults.server import HANG_SECONDS, Server
from tests.faults.tiny import SETTINGS, flags
from tests.processes import ACCELERATE, ACCELERATE_2, REPOSITORY, TORCHRUN_2
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config.command_line import EXIT_STOPPED
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.signals import STOPPING

ALONE, ONE_OF_TWO, BOTH, AGAIN = 12, 12, 12, 8
ENVIRONMENT = {
    "PYTHONPATH": str(REPOSITORY),
    "OMP_NUM_THREADS": "1",
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGUSR1",
}
ACCELERATE_ALONE = "accelerate, one process"
LAUNCHERS = {
    "torchrun": (*TORCHRUN_2, "--signals-to-handle=SIGTERM,SIGINT,SIGUSR1"),
    ACCELERATE_ALONE: ACCELERATE,
    "accelerate, two": ACCELERATE_2,
}
TRAIN = "wgan_dist.train"


def start_two(server: Server, arguments: list[str], log: Path, first: dict[str, str]) -> list[int]:
    """Start two processes of one run without a launcher; `first` is added to the environment of the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = ({"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1"))
    extra: tuple[dict[str, str], dict[str, str]] = (first, {})
    return [
        server.start(arguments, Path(f"{log}-{number}"), **(world | rank | more))
        for number, (rank, more) in enumerate(zip(ranks, extra, strict=True))
    ]


def _await_training(log: Path) -> bool:
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        if log.exists() and "first step" in log.read_text():
            return True
        time.sleep(0.01)
    return False


def _saved_where_it_says(run_dir: Path, log: Path) -> str:
    """Return what is wrong with the newest checkpoint, which must have the position that the last line states."""
    match = re.search(
        r"stopped by SIG[A-Z0-9]+ after step (\d+)(?: and (\d+) critic iterations)?; everything is saved",
        log.read_text(),
    )
    if not match:
        return f"said {log.read_text().splitlines()[-1:]}"
    try:
        newest = complete(run_dir)[-1]
    except UserError as error:
        return str(error)
    return "" if newest == (int(match[1]), int(match[2] or 0)) else f"the newest checkpoint is {newest}"


def _repeat(
    server: Server, row: Row, scratch: Path, cache_dir: Path, processes: int, kind: str, chance: random.Random
) -> None:
    run_dir, log = scratch / f"run-{row.tried}", scratch / f"log-{row.tried}"
    arguments = [*flags(SETTINGS | {"max_steps": "1000000", "cache_dir": str(cache_dir)}), f"--run_dir={run_dir}"]
    slow = {"FAULT_BELOW": str(run_dir / CHECKPOINTS), "FAULT_SLOW": "50"} if kind == "again" else {}
    if processes == 1:
        pids, main_log = [server.start(arguments, log, **slow)], log
    else:
        pids, main_log = start_two(server, arguments, log, slow), Path(f"{log}-0")
    ready = _await_training(main_log)
    time.sleep(chance.uniform(0, 0.5))
    signalled = [chance.choice(pids)] if kind == "one" else pids
    number = chance.choice(STOPPING)
    for pid in signalled:
        os.kill(pid, number)
    if kind == "again":
        for _ in range(5):
            time.sleep(0.06)
            os.kill(chance.choice(pids), chance.choice(STOPPING))
    statuses = [server.wait(pid) for pid in pids]
    wrong = _saved_where_it_says(run_dir, main_log)
    fine = ready and set(statuses) == {EXIT_STOPPED} and not wrong
    row.expect(fine, f"{kind} of {processes}, {number.name}: {statuses} {wrong}")


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Signal processes directly, then real launchers."""
    row, chance = (
        Row("SIGTERM, SIGINT, SIGUSR1: one process, one of two, both, again while it saves, the launcher"),
        random.Random(0),
    )
    with Server(scratch) as server:
        for count, processes, kind in (
            (ALONE, 1, "all"),
            (ONE_OF_TWO, 2, "one"),
            (BOTH, 2, "all"),
            (AGAIN, 2, "again"),
        ):
            for _ in range(count):
                _repeat(server, row, scratch, cache_dir, processes, kind, chance)
    # accelerate starts one process without torchrun, and dies of SIGUSR1 itself.
    cases = [
        (name, number)
        for name in LAUNCHERS
        for number in STOPPING
        if (name, number) != (ACCELERATE_ALONE, signal.SIGUSR1)
    ]
    ends = [launcher(row, scratch, cache_dir, name, number) for name, number in sorted(cases)]
    row.note = "launchers ended with " + ", ".join(sorted(set(ends)))
    return row


def _workers(run_dir: Path) -> list[int]:
    """Return the processes whose command line names this run, without launchers."""
    workers = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if f"--run_dir={run_dir}" in words and not any("launch" in word or "distributed.run" in word for word in words):
            workers.append(int(folder.name))
    return workers


def launcher(row: Row, scratch: Path, cache_dir: Path, name: str, number: signal.Signals) -> str:
    """Signal the launcher alone, as a batch system does; return how the launcher ended."""
    run_dir, log = scratch / f"run-{row.tried}", scratch / f"log-{row.tried}"
    arguments = [*flags(SETTINGS | {"max_steps": "1000000", "cache_dir": str(cache_dir)}), f"--run_dir={run_dir}"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*LAUNCHERS[name], "-m", TRAIN, *arguments],
            stdout=out,
            stderr=out,
            env=os.environ
            | {
                "PYTHONPATH": str(REPOSITORY),
                "OMP_NUM_THREADS": "1",
                "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGUSR1",
            },
        )
    ready = _await_training(log)
    workers = _workers(run_dir)
    process.send_signal(number)
    status = process.wait(HANG_SECONDS)
    deadline = time.monotonic() + HANG_SECONDS
    while _workers(run_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    wrong = _saved_where_it_says(run_dir, log)
    orphans = _workers(run_dir)
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)
    row.expect(
        ready and bool(workers) and not orphans and not wrong,
        f"{name} {number.name}: {status}, orphans {orphans}, {wrong}",
    )
    return f"{status} ({name}, {number.name})"
