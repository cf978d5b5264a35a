"""How long a save holds up training: `python -m tests.benchmarks.save_stall [--setting=value …]`.

Trains with the default networks and cadences (64 × 64, 64 features; WGAN-GP's) so many steps that one save is written
while others follow, and compares with the time between two records of metrics at the default cadence.
"""

import tempfile
import time
from pathlib import Path

from wgan_dist.checkpoints.manager import CheckpointManager
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, command_line, in_steps, load_config
from wgan_dist.train import train
from wgan_dist.training.callbacks import Callbacks, StepResult

STEPS_BEFORE, STEPS_AFTER = 3, 3


class Stopwatch:
    """The times at which steps end, and how long each save holds up training."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.stalls: list[float] = []

    def watch(self) -> None:
        """Note them from now on."""
        save, on_step_end = CheckpointManager.save, Callbacks.on_step_end

        def timed_save(manager: CheckpointManager, state: TrainState) -> None:
            began = time.perf_counter()
            save(manager, state)
            self.stalls.append(time.perf_counter() - began)

        def timed_end(callbacks: Callbacks, state: TrainState, result: StepResult) -> None:
            on_step_end(callbacks, state, result)
            self.ends.append(time.perf_counter())

        CheckpointManager.save, Callbacks.on_step_end = timed_save, timed_end  # type: ignore


def measure(flags: dict[str, str]) -> None:
    """Print the stall of a save, alone and as a share of a logging interval."""
    stopwatch = Stopwatch()
    stopwatch.watch()
    with tempfile.TemporaryDirectory() as scratch:
        steps = str(STEPS_BEFORE + STEPS_AFTER)
        usual = load_config({"data": "digits", "cache_dir": scratch} | flags)
        short = {"max_steps": steps, "checkpoint_every": str(STEPS_BEFORE), "log_every": "1", "sample_every": "0"}
        train({"data": "digits", "cache_dir": scratch} | flags | short | {"run_dir": f"{scratch}/run"})
        size = sum(path.stat().st_size for path in next(Path(scratch).glob("run/checkpoints/*")).iterdir())
    seconds = [after - before for before, after in zip(stopwatch.ends[:-1], stopwatch.ends[1:], strict=True)]
    quiet, steps_between = sorted(seconds)[0], in_steps(usual.log_every, 1)
    stall = stopwatch.stalls[0]
    print(
        f"a checkpoint of {size / 2**20:.0f} MiB; a generator step takes {quiet:.3g} s, "
        f"{steps_between} of them between two records {quiet * steps_between:.3g} s\n"
        f"training waits {1000 * stall:.0f} ms for a save: {100 * stall / (quiet * steps_between):.2f} % of that"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.save_stall:measure", Config, __doc__ or "", dict)
