"""Training loops to time and count: this package's and the textbook's, on samples that are in memory."""

import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.benchmarks import textbook
from tests.gpu_session.machine import Machine
from tests.gpu_session.small_runs import build, take_steps
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import load_config
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.training.callbacks import Callback, StepResult

N_CRITIC = textbook.N_CRITIC
IMAGES = 1024

Mark = Callable[[], None]
# Takes some generator steps; calls a function before each critic iteration and after each generator step.
Loop = Callable[[int, Mark], None]


def critic_and_generator(marks: Sequence[float]) -> tuple[float, float]:
    """Return the medians of a critic iteration and of a generator step, from a running value at each mark of a loop.

    The generator step begins without a mark: it is what follows the last critic iteration of a step.
    """
    length = N_CRITIC + 1
    steps = [marks[start : start + length] for start in range(0, len(marks), length)]
    critic = statistics.median(end - begin for step in steps for begin, end in itertools.pairwise(step[:-1]))
    return critic, statistics.median(step[-1] - step[-2] for step in steps) - critic


class _Marking(Callback):
    """Calls a function before each critic iteration and after each generator step."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark

    def on_critic_iteration_begin(self, state: TrainState) -> None:
        self.mark()

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        self.mark()


def our_loop(settings: dict[str, str], layout: torch.memory_format | None = None) -> Loop:
    """Return the loop of a run on random images, as a user starts it; `layout` replaces the layout of its weights."""
    config = load_config({"data": "random images"} | settings)
    shape = (IMAGES, 3, *config.image_size)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    run, state = build(config, ImageDataset("noise", pixels, "", ())), TrainState()
    if layout is not None:
        for network in run.gan.networks().values():
            network.network.to(memory_format=layout)
    return lambda steps, mark: take_steps(run, state, steps, _Marking(mark))


@dataclass(frozen=True)
class Textbook:
    """A pair of networks as tutorials have them, and how they are trained.

    Attributes:
        latent, image: The shapes of one of each.
        batch, generator_batch: The samples of a critic iteration and of a generator step.
        fused: Of Adam; None is torch's default.
        autocast: The half precision of the forward passes, or None.
    """

    critic: nn.Module
    generator: nn.Module
    latent: tuple[int, ...]
    image: tuple[int, ...]
    batch: int
    generator_batch: int
    fused: bool | None
    autocast: torch.dtype | None


def textbook_loop(machine: Machine, case: Textbook) -> Loop:
    """Return the loop of a tutorial: fakes detached, separate passes, everything drawn anew on the device."""
    device = machine.device
    critic, generator = case.critic.to(device), case.generator.to(device)
    adam = functools.partial(torch.optim.Adam, lr=1e-4, betas=(0.0, 0.9), fused=case.fused)
    optimizers = [adam(network.parameters()) for network in (critic, generator)]
    real = torch.rand(case.batch, *case.image, device=device) * 2 - 1

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, case.autocast) if case.autocast else nullcontext()

    def critic_iteration() -> None:
        with autocast():
            fake = generator(torch.randn(case.batch, *case.latent, device=device)).detach()
            penalty = textbook.gradient_penalty(critic, real, fake)
            loss = critic(fake).mean() - critic(real).mean() + textbook.WEIGHT * penalty
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()

    def generator_step() -> None:
        with autocast():
            loss = -critic(generator(torch.randn(case.generator_batch, *case.latent, device=device))).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()

    def loop(steps: int, mark: Mark) -> None:
        for _ in range(steps):
            for _ in range(N_CRITIC):
                mark()
                critic_iteration()
            generator_step()
            mark()

    return loop
