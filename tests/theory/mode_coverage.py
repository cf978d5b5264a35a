"""`python -m tests.theory.mode_coverage`: modes that WGAN-GP and the BCE GAN cover on the papers' toy sets, by step.

Trains the toy recipes (the papers' networks, batch size and λ) on a schedule faster than the papers' 100,000 steps of
five critic iterations. Prints the schedule, the values of real data and a table; writes sample grids and curves of the
critic's estimate beside the exact distance to the output folder.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.data.synthetic import DRAWS, MIXTURES
from wgan_dist.evaluation.metrics.points import exact_wasserstein, good_points_per_mode

STEPS = {"25gaussians": 3000, "8gaussians": 1000, "swissroll": 1600}
# The last one has no averaged generator, so that the exact distance is measured on samples the critic is trained on.
METHODS = {"WGAN-GP": [], "BCE": ["--loss=bce", "--penalty=none"], "WGAN-GP-last-weights": ["--ema_decay=0"]}
ESTIMATED = "WGAN-GP-last-weights"
SCHEDULE = ["--n_critic=2", "--critic_lr=1e-3", "--generator_lr=1e-3", "--lr_decay=linear", "--ema_decay=0.995"]
RECORDS = 8
MATCHED, COUNTED = 1000, 10_000


@dataclass(frozen=True)
class Run:
    """A training run, whose folder is below `out`."""

    data: str
    method: str
    seed: int
    steps: int
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / f"{self.data}-{self.method}-{self.seed}-{self.steps}"

    def train(self) -> None:
        """Train in a process of one thread, or keep a finished run of the same name."""
        every = max(1, self.steps // RECORDS)
        command = [sys.executable, "-m", "wgan_dist.train", f"--recipe=toy_{self.data}", f"--run_dir={self.folder}"]
        cadences = [f"--{name}_every={every}" for name in ("log", "sample", "evaluate", "checkpoint")]
        command += [f"--seed={self.seed}", f"--max_steps={self.steps}", "--threads=1", "--resume=auto"]
        subprocess.run([*command, *cadences, *SCHEDULE, *METHODS[self.method]], check=True, stdout=subprocess.DEVNULL)
        print(f"trained {self.folder}", file=sys.stderr, flush=True)

    def records(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / METRICS_FILE).read_text().splitlines()]


def real_distance(data: str) -> float:
    """Return the exact W₁ between two sets of real points, of as many points as evaluation matches."""
    real, other = (DRAWS[data](MATCHED, seed) for seed in (1, 2))
    return exact_wasserstein(real, other)


def of_real(data: str) -> str:
    """Describe real data in the metrics of generated points, in a line."""
    line = f"{data}: real data: exact W₁ {real_distance(data):.3f}"
    if data in MIXTURES:
        counts = good_points_per_mode(DRAWS[data](COUNTED, 1), MIXTURES[data])
        line += f", modes {np.count_nonzero(counts)} of {len(counts)}, good {counts.sum() / COUNTED:.1%}"
    return line


def row(run: Run, record: dict[str, float]) -> str:
    """Format a line of the table."""
    cells = [run.data, run.method, str(run.seed), str(int(record["step"])), f"{record['exact_wasserstein']:.3f}"]
    if "modes_covered" in record:
        cells += [f"{record['modes_covered']:.0f}", f"{record['good_share']:.1%}", f"{record['rarest_mode_share']:.2f}"]
    return " | ".join(cells)


def draw_estimates(runs: list[Run], path: Path) -> None:
    """Draw the critic's estimate and the exact distance between the same samples through training.

    The estimate is divided by the mean norm of the critic's gradient: with λ = 0.1 the norm exceeds 1 by W / 2λ at the
    optimum. A grey line shows the exact distance between two sets of real points, about the best possible value.
    """
    from matplotlib.figure import Figure

    figure = Figure((9, 3), 120, layout="constrained")
    for axes, run in zip(np.atleast_1d(figure.subplots(1, len(runs))), runs, strict=True):
        records = run.records()
        steps = [record["step"] for record in records]
        estimates = [record["critic_wasserstein"] / record["gradient_norm"] for record in records]
        axes.plot(
            steps, [record["exact_wasserstein"] for record in records], "s-", color="tab:orange", label="exact W₁"
        )
        axes.plot(steps, estimates, "o-", color="tab:blue", label="critic's estimate / mean |∇D|")
        axes.axhline(real_distance(run.data), color="grey", linestyle=":", label="exact, real against real")
        axes.set(title=run.data, xlabel="generator steps", ylim=(0, None))
    axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Train the missing runs, print the table and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mode_coverage"))
    parser.add_argument("--data", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="generator steps (default: those of each data set)")
    parser.add_argument("--processes", type=int, default=2, help="runs to train at a time")
    arguments = parser.parse_args()
    runs = [
        Run(data, method, seed, arguments.steps or STEPS[data], arguments.out)
        for data in arguments.data
        for seed in arguments.seeds
        for method in METHODS
        if method != ESTIMATED or seed == arguments.seeds[0]
    ]
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(Run.train, runs))
    print("schedule:", " ".join(SCHEDULE), "steps:", {run.data: run.steps for run in runs})
    for data in arguments.data:
        print(of_real(data))
    print("data | method | seed | step | exact W₁ | modes | good | rarest mode, part of its fair share")
    for run in runs:
        for record in run.records():
            print(row(run, record))
    draw_estimates([run for run in runs if run.method == ESTIMATED], arguments.out / "estimates.png")
    print(arguments.out / "estimates.png")


if __name__ == "__main__":
    main()
