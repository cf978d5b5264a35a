"""One step at a time of a run, without callbacks, for benchmarks and counts."""

from collections.abc import Callable
from dataclasses import replace

from accelerate import Accelerator

from wgan_dist import distributed
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config
from wgan_dist.training.build_run import TrainingRun
from wgan_dist.training.callbacks import Callbacks
from wgan_dist.training.trainer import Trainer
from wgan_dist.utils.device_settings import device_settings


def start(config: Config) -> Accelerator:
    """Join the processes and set the device up, as a run does."""
    accelerator = distributed.start(config.threads, config.timeout)
    settings = device_settings(
        accelerator.device, config.dtype, config.mixed_precision, config.tf32, config.deterministic
    )
    settings.apply()
    return accelerator


def steps_of(run: TrainingRun) -> Callable[[], None]:
    """Return a function that takes the next generator step of the run, with its critic iterations."""
    state = TrainState()

    def step() -> None:
        schedule = replace(run.schedule, max_steps=state.step + 1)
        Trainer(run.gan, run.real_batches, run.noise, schedule, state, Callbacks([])).train()

    return step
