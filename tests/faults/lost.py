"""One of two processes is killed or stopped: the other reports it and ends, and the run resumes."""

import os
import random
import signal
import time
from pathlib import Path

from tests.faults import Row
from tests.faults.kills import complete
from tests.faults.server import HANG_SECONDS, Server
from tests.faults.signals import start_two
from tests.faults.tiny import SETTINGS, differences, flags
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config.command_line import EXIT_LOST
from wgan_dist.utils.errors import UserError

TIMEOUT = 3
# What a process may need, beyond the time-out, to end on a busy machine.
GRACE = 10
KILLED, STOPPED, WHILE_SAVING = 6, 4, 2
ENDLESS = SETTINGS | {"max_steps": "1000000", "checkpoint_every": "5", "sample_every": "20", "timeout": str(TIMEOUT)}
STEPS = 60


def _await(there: Path, pattern: str) -> bool:
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        if any(there.glob(pattern)):
            return True
        time.sleep(0.002)
    return False


def _end(server: Server, processes: list[int], victim: int, number: signal.Signals) -> tuple[list[int | None], float]:
    """Lose one of two processes; return both statuses and the seconds until the other ended. Continue a stopped one."""
    os.kill(processes[victim], number)
    began = time.monotonic()
    other = server.wait(processes[1 - victim], TIMEOUT + GRACE)
    seconds = time.monotonic() - began
    os.kill(processes[victim], signal.SIGCONT)
    lost = server.wait(processes[victim], TIMEOUT + GRACE)
    statuses = [other, lost] if victim else [lost, other]
    for process, status in zip(processes, statuses, strict=True):
        if status is None:
            os.kill(process, signal.SIGKILL)
            server.wait(process)
    return statuses, seconds


def _wrong_after(run_dir: Path, log: Path, statuses: list[int | None], victim: int, number: signal.Signals) -> str:
    expected = [EXIT_LOST, EXIT_LOST]
    if number == signal.SIGKILL:
        expected[victim] = -number
    said = f"error: rank {1 - victim} of 2 lost the others in "
    if statuses != expected:
        return f"ended with {statuses}"
    if said not in Path(f"{log}-{1 - victim}").read_text():
        return f"said {Path(f'{log}-{1 - victim}').read_text()[-300:]}"
    # The first process writes: killed, it may leave a folder without a name, which the next start removes.
    left = [path.name for path in (run_dir / CHECKPOINTS).glob(".*")]
    if victim == 1 and left:
        return f"left {left}"
    try:
        complete(run_dir)
    except UserError as error:
        return str(error)
    return ""


def _finish(server: Server, arguments: list[str], run_dir: Path, log: Path) -> str:
    """Train to the last step with two processes; return what went wrong."""
    both = start_two(server, [*arguments, f"--run_dir={run_dir}", f"--max_steps={STEPS}"], log, {})
    statuses = [server.wait(process) for process in both]
    return "" if statuses == [0, 0] else f"cannot be resumed: {statuses} {Path(f'{log}-0').read_text()[-300:]}"


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Lose either process in each way at random times; the result equals that of an uninterrupted run."""
    row = Row(f"one of two processes killed or stopped, time-out {TIMEOUT} s: the other says so and ends; resumed")
    chance, slowest = random.Random(0), 0.0
    settings = flags(ENDLESS | {"cache_dir": str(cache_dir)})
    kinds = [("killed", signal.SIGKILL)] * KILLED + [("stopped", signal.SIGSTOP)] * STOPPED
    with Server(scratch) as server:
        straight = scratch / "straight"
        assert _finish(server, settings, straight, scratch / "log") == ""
        kinds += [("killed while the first saves", signal.SIGKILL)] * WHILE_SAVING
        for turn, (kind, number) in enumerate(kinds):
            run_dir, log = scratch / f"run-{turn}", scratch / f"log-{turn}"
            saves = "saves" in kind
            slow = {"FAULT_BELOW": str(run_dir / CHECKPOINTS), "FAULT_SLOW": "50"} if saves else {}
            processes = start_two(server, [*settings, f"--run_dir={run_dir}"], log, slow)
            begun = _await(run_dir / CHECKPOINTS, ".*" if saves else f"step-{5 * chance.randint(1, 6):08d}")
            victim = 1 if saves else turn % 2
            statuses, seconds = _end(server, processes, victim, number)
            slowest = max(slowest, seconds)
            wrong = _wrong_after(run_dir, log, statuses, victim, number)
            if not wrong:
                wrong = _finish(server, ["--resume"], run_dir, log) or ", ".join(differences(run_dir, straight))
            row.expect(begun and not wrong, f"rank {victim} {kind}: {wrong}")
    row.note = f"the slowest took {slowest:.1f} s"
    return row
