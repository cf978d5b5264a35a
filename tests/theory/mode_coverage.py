"""`python -m tests.theory.mode_coverage`: modes that WGAN-GP and the BCE GAN cover on the papers' toy sets, by step.

Trains the toy recipes (the papers' networks, batch and λ) on a schedule faster than the papers' 100,000 steps of five
critic iterations, printed with the table. Real data's own figures stand above it. Writes pictures and a curve of the
critic's estimate beside the exact distance into the output folder.
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
# The last has no averaged generator: its critic and the exact distance see the very samples that it is trained against.
METHODS = {"WGAN-GP": [], "BCE": ["--loss=bce", "--penalty=none"], "WGAN-GP-last-weights": ["--ema_decay=0"]}
ESTIMATED = "WGAN-GP-last-weights"
SCHEDULE = ["--n_critic=2", "--critic_lr=1e-3", "--generator_lr=1e-3", "--lr_decay=linear", "--ema_decay=0.995"]
RECORDS = 8
MATCHED, COUNTED = 1000, 10_000


@dataclass(frozen=True)
class Run:
    """One training: data, method, seed, steps, and its folder below `out`."""

    data: str
    method: str
    seed: int
    steps: int
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / f"{self.data}-{self.method}-{self.seed}-{self.steps}"

    def train(self) -> None:
        """In a process of one thread; a finished run of the same name is kept."""
        every = max(1, self.steps // RECORDS)
        command = [sys.executable, "-m", "wgan_dist.train", f"--recipe=toy_{self.data}", f"--run_dir={self.folder}"]
        cadences = [f"--{name}_every={every}" for name in ("log", "sample", "evaluate", "checkpoint")]
        command += [f"--seed={self.seed}", f"--max_steps={self.steps}", "--threads=1", "--resume=auto"]
        subprocess.run([*command, *cadences, *SCHEDULE, *METHODS[self.method]], check=True, stdout=subprocess.DEVNULL)
        print(f"trained {self.folder}", file=sys.stderr, flush=True)

    def records(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / METRICS_FILE).read_text().splitlines()]


def real_distance(data: str) -> float:
    """Exact W₁ between two sets of real points, as many as are matched in training."""
    real, other = (DRAWS[data](MATCHED, seed) for seed in (1, 2))
    return exact_wasserstein(real, other)


def of_real(data: str) -> str:
    """The line of real data against other real data."""
    line = f"{data}: real data: exact W₁ {real_distance(data):.3f}"
    if data in MIXTURES:
        counts = good_points_per_mode(DRAWS[data](COUNTED, 1), MIXTURES[data])
        line += f", modes {np.count_nonzero(counts)} of {len(counts)}, good {counts.sum() / COUNTED:.1%}"
    return line


def row(run: Run, record: dict[str, float]) -> str:
    """One line of the table."""
    cells = [run.data, run.method, str(run.seed), str(int(record["step"])), f"{record['exact_wasserstein']:.3f}"]
    if "modes_covered" in record:
        cells += [f"{record['modes_covered']:.0f}", f"{record['good_share']:.1%}", f"{record['rarest_mode_share']:.2f}"]
    return " | ".join(cells)


def draw_estimates(runs: list[Run], path: Path) -> None:
    """The critic's estimate and the exact distance between the same samples, through training.

    The estimate is divided by the mean norm of the critic's gradient: λ = 0.1 lets it be steeper than 1, by
    W / 2λ at the optimum. Grey is the exact distance between two sets of real points: about what the best could reach.
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
    """Train whatever is missing, then print the table and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mode_coverage"))
    parser.add_argument("--data", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="instead of those of each data set")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    given = parser.parse_args()
    runs = [
        Run(data, method, seed, given.steps or STEPS[data], given.out)
        for data in given.data
        for seed in given.seeds
        for method in METHODS
        if method != ESTIMATED or seed == given.seeds[0]
    ]
    with ThreadPoolExecutor(given.processes) as pool:
        list(pool.map(Run.train, runs))
    print("schedule:", " ".join(SCHEDULE), "steps:", {run.data: run.steps for run in runs})
    for data in given.data:
        print(of_real(data))
    print("data | method | seed | step | exact W₁ | modes | good | rarest mode, of its fair share")
    for run in runs:
        for record in run.records():
            print(row(run, record))
    draw_estimates([run for run in runs if run.method == ESTIMATED], given.out / "estimates.png")
    print(given.out / "estimates.png")


if __name__ == "__main__":
    main()
