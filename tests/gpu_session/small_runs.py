"""Runs of seconds on the embedded digits, through the functions that a command calls."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.single_steps import start
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, load_config
from wgan_dist.data.datasets import Dataset
from wgan_dist.training.build_run import TrainingRun, build_run
from wgan_dist.training.callbacks import Callback, Callbacks, StepResult
from wgan_dist.training.resume import find_checkpoint, resume
from wgan_dist.training.run import open_data
from wgan_dist.training.trainer import Trainer

# BatchNorm in the generator, InstanceNorm and a penalty in the critic.
SETTINGS = {
    "data": "digits",
    "image_size": "16",
    "generator_features": "4",
    "critic_features": "4",
    "latent_dim": "8",
    "batch_size": "16",
    "n_critic": "2",
    "mixed_precision": "no",
    "sample_every": "0",
    "seed": "1",
    "threads": "1",
}
# Networks that a C++ compiler is done with in half a minute, as it is not with convolutions.
DENSE = {"generator": "mlp", "critic": "mlp"}


def settings_in(scratch: Path, **settings: str) -> dict[str, str]:
    """Return the settings of a small run whose images are decoded into a folder of the session."""
    return SETTINGS | {"cache_dir": str(scratch / "cache")} | settings


def build(config: Config, data: Dataset) -> TrainingRun:
    """Start this process as a run does, and build the run."""
    return build_run(config, start(config), data)


def small_run(settings: dict[str, str]) -> TrainingRun:
    """Build a run on images."""
    config = load_config(settings)
    data = open_data(config)
    return build(replace(config, channels=data.shape[0]), data)


def take_steps(run: TrainingRun, state: TrainState, steps: int, callback: Callback) -> None:
    """Take some more generator steps of a run, with their critic iterations."""
    schedule = replace(run.schedule, max_steps=state.step + steps)
    Trainer(run.gan, run.real_batches, run.noise, schedule, state, Callbacks([callback])).train()


class Recording(Callback):
    """Keeps the metrics of each step as they are on the device."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        self.steps.append({name: value.clone() for name, value in result.metrics.items()})

    def values(self) -> Tensor:
        """Return the metrics [steps, names] on the CPU."""
        return torch.stack([torch.stack(list(metrics.values())) for metrics in self.steps]).cpu()


def recorded(settings: dict[str, str], steps: int) -> tuple[TrainingRun, Tensor]:
    """Train a small run for some steps; return it and its metrics [steps, names]."""
    run, recording = small_run(settings), Recording()
    take_steps(run, TrainState(), steps, recording)
    return run, recording.values()


def weights(run: TrainingRun) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers of a run on the CPU."""
    gan = run.gan
    networks = {"critic": gan.critic.network, "generator": gan.generator.network, "average": gan.ema.network}
    return {
        f"{name}.{key}": value.detach().cpu().clone().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def trained_weights(settings: dict[str, Any]) -> dict[str, Tensor]:
    """Train a small run to its `max_steps`, from its last checkpoint if it resumes one; return its weights."""
    run = small_run(settings)
    folder = find_checkpoint(run.config)
    state = resume(folder, run.config, run.data.fingerprint, run.schedule, run.objects) if folder else TrainState()
    take_steps(run, state, run.schedule.max_steps - state.step, Callback())
    return weights(run)
