"""Two processes of one thread against one process of two, at the same global batch: seconds per generator step.

    python -m tests.benchmarks.processes

Whole runs as a user starts them, by turns, with settings of `wgan_dist.train` as flags.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.processes import PYTHON, run, torchrun
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config import Config, command_line

# DCGAN-64 as in the paper's comparison, on images made from the digits: what they show costs nothing.
SETTINGS = {"data": "digits", "image_size": "64", "channels": "3", "batch_size": "32", "latent_dim": "100"}
TURNS, STEPS = 3, 5
KINDS = {"one process, two threads": (PYTHON, "2"), "two processes, one thread": (torchrun(2), "1")}


def _steps(launcher: tuple[str, ...], threads: str, flags: dict[str, str], folder: Path) -> list[dict[str, float]]:
    """The records of a short run, one a step, without the first step."""
    own = {"max_steps": str(STEPS), "log_every": "1", "sample_every": "0", "checkpoint_every": "0", "threads": threads}
    settings = SETTINGS | flags | own | {"run_dir": str(folder), "cache_dir": str(folder.parent / "cache")}
    given = [f"--{name}={value}" for name, value in settings.items()]
    run(*launcher, "-m", "wgan_dist.train", *given, cwd=folder.parent)
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()][1:]


def measure(flags: dict[str, str]) -> None:
    """Print a table of both, and their ratio."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(TURNS):
            for kind, (launcher, threads) in KINDS.items():
                found[kind] += _steps(launcher, threads, flags, Path(scratch) / f"{turn}-{threads}")
                print(f"turn {turn + 1} of {TURNS}: {kind}", file=sys.stderr, flush=True)
    medians = {kind: statistics.median(record["seconds"] for record in records) for kind, records in found.items()}
    for kind, seconds in medians.items():
        every = [record["seconds"] for record in found[kind]]
        print(
            f"{kind}: {seconds:.3g} s per generator step (median of {len(every)}, {min(every):.3g} to {max(every):.3g})"
        )
    one, two = medians.values()
    print(f"throughput of two against one: {one / two:.2f}")
    last = found["two processes, one thread"]
    size, milliseconds, share = (
        statistics.median(record[f"communication_{name}"] for record in last) for name in ("bytes", "ms", "share")
    )
    print(
        f"gradients of {size / 2**20:.3g} MiB averaged per step, in {milliseconds:.3g} ms, waiting for the other "
        f"process included; {100 * share:.1f} % of the step is not hidden behind computing"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.processes:measure", Config, __doc__ or "", dict)
