"""Twenty thousand steps with all cadences on: what eight hours of training do to a process, in minutes."""

import json
import os
import time
from pathlib import Path

from tests.faults import Row
from tests.faults.server import Server
from tests.faults.tiny import flags, records
from wgan_dist.checkpoints.run_dir import CHECKPOINTS

STEPS = 20_000
# Everything a long run does, hundreds of times. Pictures and measuring cost most, and memory that grows shows by then.
SETTINGS = {
    "data": "digits",
    "image_size": "8",
    "generator": "mlp_bn",
    "critic": "mlp",
    "generator_features": "2",
    "critic_features": "4",
    "latent_dim": "2",
    "batch_size": "8",
    "n_critic": "1",
    "seed": "1",
    "threads": "1",
    "max_steps": str(STEPS),
    "log_every": "10",
    "sample_every": "200",
    "evaluate_every": "500",
    "checkpoint_every": "50",
    "weight_histograms": "true",
}
DRIFT = 0.02
WARM = 0.25


def _memory(process: int) -> int:
    """Return the resident bytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _watch(server: Server, process: int) -> list[tuple[float, int, int]]:
    """Sample (seconds, bytes, open files) several times a second until the process has ended."""
    began, samples = time.monotonic(), []
    while server.wait(process, 0.25) is None:
        try:
            files = len(list(Path(f"/proc/{process}/fd").iterdir()))
            samples.append((time.monotonic() - began, _memory(process), files))
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return samples


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Compare memory and open files after the warm-up with those at the end."""
    row, run_dir = Row(f"{STEPS:,} generator steps, every cadence on"), scratch / "run"
    with Server(scratch) as server:
        arguments = [*flags(SETTINGS | {"cache_dir": str(cache_dir)}), f"--run_dir={run_dir}"]
        seen = _watch(server, server.start(arguments, scratch / "log"))
    warm = seen[int(len(seen) * WARM) :]
    tenth = max(1, len(warm) // 10)
    before, after = (_median([float(sample[1]) for sample in part]) for part in (warm[:tenth], warm[-tenth:]))
    handles = {_median([float(sample[2]) for sample in part]) for part in (warm[:tenth], warm[-tenth:])}
    row.expect((run_dir / CHECKPOINTS / f"step-{STEPS:08d}").is_dir(), "the run came to its end")
    row.expect(after <= before * (1 + DRIFT), f"memory grew from {before / 2**20:.1f} to {after / 2**20:.1f} MiB")
    row.expect(len(handles) == 1, f"open files {handles}")
    steps = [record["step"] for record in records(run_dir)]
    row.expect(steps == list(range(10, STEPS + 1, 10)), "every record is there once")
    row.note = (
        f"{before / 2**20:.1f} MiB after a quarter, {after / 2**20:.1f} at the end; {handles} open files; "
        f"{_speed(run_dir, 0.25, 0.5):.0f} steps/s in the second quarter, {_speed(run_dir, 0.75, 1.0):.0f} in the last"
    )
    return row


def _speed(run_dir: Path, start: float, end: float) -> float:
    """Return the generator steps per second between two points of the run, from its own records."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    part = lines[int(len(lines) * start) : int(len(lines) * end)]
    return 10 * len(part) / sum(line["seconds"] for line in part)
