"""How long a save holds up training: `python -m tests.benchmarks.save_stall [--setting=value …]`.

Trains with the default networks and cadences (64 × 64, 64 features; WGAN-GP's), so many steps that one save is written
while others follow, and compares with the time between two records of metrics at the default cadence.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from wgan_dist import distributed
from wgan_dist.config import Config, command_line, in_steps, load_config
from wgan_dist.data import open_images
from wgan_dist.training.trainer import Trainer

STEPS_BEFORE, STEPS_AFTER = 3, 3


class Stopwatch(Trainer):
    """A trainer that notes how long each step took, and each save held it up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.steps: list[float] = []
        self.stalls: list[float] = []
        self.busy: list[bool] = []

    def _train_step(self, *arguments: Any) -> Any:
        began, busy = time.perf_counter(), self.behind.busy
        result = super()._train_step(*arguments)
        self.steps.append(time.perf_counter() - began)
        self.busy.append(busy)
        return result

    def _save(self, run_dir: Path) -> None:
        began = time.perf_counter()
        super()._save(run_dir)
        self.stalls.append(time.perf_counter() - began)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def measure(flags: dict[str, str]) -> None:
    """Print the stall of a save, alone and as a share of a logging interval."""
    with tempfile.TemporaryDirectory() as scratch:
        steps = str(STEPS_BEFORE + STEPS_AFTER)
        config = load_config({"data": "digits", "cache_dir": scratch} | flags | {"max_steps": steps})
        short = load_config(
            {"data": "digits", "cache_dir": scratch}
            | flags
            | {"max_steps": steps, "checkpoint_every": str(STEPS_BEFORE), "log_every": "1", "sample_every": "0"}
        )
        accelerator = distributed.start(config.threads)
        images = open_images(config.data, config.image_size, config.channels, config.background, False, scratch)
        trainer = Stopwatch(short, accelerator, images)
        trainer.run(Path(scratch) / "run")
        size = sum(path.stat().st_size for path in next(Path(scratch).glob("run/checkpoints/*")).iterdir())
    _say(trainer, in_steps(config.log_every, 1), size)


def _say(trainer: Stopwatch, interval_steps: int, size: int) -> None:
    quiet = _median([each for each, busy in zip(trainer.steps[1:], trainer.busy[1:], strict=True) if not busy])
    slowed = [each - quiet for each, busy in zip(trainer.steps, trainer.busy, strict=True) if busy]
    stall, interval = trainer.stalls[0], quiet * interval_steps
    whole = stall + max(0.0, sum(slowed))
    print(
        f"a checkpoint of {size / 2**20:.0f} MiB; a generator step takes {quiet:.3g} s, "
        f"from one record to the next, {interval_steps} of them, {interval:.3g} s\n"
        f"training waits {1000 * stall:.0f} ms for a save: {100 * stall / interval:.2f} % of that\n"
        f"with {len(slowed)} steps slowed while it is written: {1000 * whole:.0f} ms, {100 * whole / interval:.2f} %"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.save_stall:measure", Config, __doc__ or "", dict)
