"""What a run does beside training, as a share of its time: averaging, records, TensorBoard, grids, checkpoints.

    python -m tests.benchmarks.overhead --recipe=digits --max_steps=1000

One run in this process, at the cadence of its settings; everything outside the steps of both networks counts.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Any

from wgan_dist.config import Config, command_line
from wgan_dist.train import train
from wgan_dist.training import trainer
from wgan_dist.training.ema import EMAGenerator


class Clock:
    """Adds up the seconds that functions take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def measure(flags: dict[str, str]) -> None:
    """Train, and print the shares."""
    training, averaging, whole = Clock(), Clock(), Clock()
    module: Any = trainer
    module.critic_step, module.generator_step = map(training.around, (module.critic_step, module.generator_step))
    EMAGenerator.update = averaging.around(EMAGenerator.update)  # type: ignore[method-assign]
    module.Trainer.train = whole.around(module.Trainer.train)
    with tempfile.TemporaryDirectory() as scratch:
        train(flags | {"run_dir": f"{scratch}/run"})
    beside = whole.seconds - training.seconds
    print(
        f"{whole.seconds:.1f} s in total; averaging weights {averaging.seconds / whole.seconds:.2%}, "
        f"records, pictures and checkpoints {beside / whole.seconds:.2%}"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.overhead:measure", Config, __doc__ or "", dict)
