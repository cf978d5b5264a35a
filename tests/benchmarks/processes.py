"""Compare two processes of one thread with one process of two, at the same global batch: seconds per generator step.

    python -m tests.benchmarks.processes

Whole runs, in turn, started as a user starts them. Settings of `wgan_dist.train` may follow as flags.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.processes import PYTHON, run, torchrun
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config import Config, command_line

# DCGAN-64 as in the paper's comparison, on enlarged digits: the content of the images does not matter.
SETTINGS = {"data": "digits", "image_size": "64", "channels": "3", "batch_size": "32", "latent_dim": "100"}
TURNS, STEPS = 3, 5
KINDS = {"one process, two threads": (PYTHON, "2"), "two processes, one thread": (torchrun(2), "1")}


def _steps(launcher: tuple[str, ...], threads: str, flags: dict[str, str], folder: Path) -> list[dict[str, float]]:
    """Return the records of a short run, one per step, without the first step."""
    own = {"max_steps": str(STEPS), "log_every": "1", "sample_every": "0", "checkpoint_every": "0", "threads": threads}
    settings = SETTINGS | flags | own | {"run_dir": str(folder), "cache_dir": str(folder.parent / "cache")}
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    run(*launcher, "-m", "wgan_dist.train", *arguments, cwd=folder.parent)
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()][1:]


def measure(flags: dict[str, str]) -> None:
    """Print the times of both and their ratio."""
    records: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(TURNS):
            for kind, (launcher, threads) in KINDS.items():
                records[kind] += _steps(launcher, threads, flags, Path(scratch) / f"{turn}-{threads}")
                print(f"turn {turn + 1} of {TURNS}: {kind}", file=sys.stderr, flush=True)
    medians = {kind: statistics.median(record["seconds"] for record in records) for kind, records in records.items()}
    for kind, seconds in medians.items():
        samples = [record["seconds"] for record in records[kind]]
        spread = f"median of {len(samples)}, {min(samples):.3g} to {max(samples):.3g}"
        print(f"{kind}: {seconds:.3g} s per generator step ({spread})")
    one, two = medians.values()
    print(f"throughput of two processes relative to one: {one / two:.2f}")
    last = records["two processes, one thread"]
    size, milliseconds, share = (
        statistics.median(record[f"communication_{name}"] for record in last) for name in ("bytes", "ms", "share")
    )
    print(
        f"gradients of {size / 2**20:.3g} MiB averaged per step, in {milliseconds:.3g} ms; computation "
        f"does not hide {100 * share:.1f} % of the step"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.processes:measure", Config, __doc__ or "", dict)
