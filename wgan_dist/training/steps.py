"""One critic iteration and one generator step, as if there were one device."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist.losses.gradient_penalty import Penalty
from wgan_dist.losses.modules import CriticMasks, Metrics
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.utils import rng
from wgan_dist.utils.profiler import phase

# Rate and shape, of one sample's values, of each dropout layer of a network.
Dropouts = Sequence[tuple[float, tuple[int, ...]]]


@dataclass(frozen=True)
class TrainableNetwork:
    """One of the two networks, the objective that trains it (as wrapped for distribution), its optimizer and guard."""

    network: nn.Module
    objective: nn.Module
    optimizer: Optimizer
    guard: GradScaler


@dataclass(frozen=True)
class Engine:
    """What running on many devices or in low precision changes about a step; `no_sync` holds back the averaging."""

    backward: Callable[[Tensor], None]
    no_sync: Callable[[nn.Module], AbstractContextManager[None]]
    autocast: Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class NoiseSource:
    """The noise of every iteration, as tensors: this process's share of each micro-batch.

    Every process draws the noise of the whole global batch and keeps its part, so the noise that meets an image
    does not depend on how many processes there are.
    """

    seed: int
    batch_size: int
    latent_dim: int
    distribution: str
    shares: list[slice]
    device: torch.device
    dtype: torch.dtype

    def _mine(self, values: object) -> list[Tensor]:
        whole = torch.as_tensor(values)
        return [whole[share].to(self.device, self.dtype) for share in self.shares]

    def latents(self, stream: str, counter: int) -> list[Tensor]:
        """z [micro-batch / processes, latent_dim] for each micro-batch."""
        shape = (self.batch_size, self.latent_dim)
        return self._mine(rng.latent(self.distribution, self.seed, stream, counter, shape))

    def alphas(self, stream: str, counter: int) -> list[Tensor]:
        """α ~ U[0, 1) [micro-batch / processes] for each micro-batch."""
        return self._mine(rng.uniform(self.seed, stream, counter, (self.batch_size,)))

    def flips(self, stream: str, counter: int) -> list[Tensor]:
        """True for one image in two, [micro-batch / processes], for each micro-batch."""
        return [drawn < 0.5 for drawn in self._mine(rng.uniform(self.seed, stream, counter, (self.batch_size,)))]

    def deltas(self, stream: str, counter: int, shape: tuple[int, ...], deviation: float) -> list[Tensor]:
        """Noise N(0, deviation²) [micro-batch / processes, *shape] for each micro-batch."""
        return self._mine(deviation * rng.normal(self.seed, stream, counter, (self.batch_size, *shape)))

    def masks(self, stream: str, counter: int, dropouts: Dropouts) -> list[list[Tensor]]:
        """What each dropout layer multiplies by, 0 or 1 / (1 − rate), for each micro-batch."""
        layers = [
            self._mine(rng.keep(self.seed, f"{stream}.{number}", counter, (self.batch_size, *shape), rate))
            for number, (rate, shape) in enumerate(dropouts)
        ]
        scales = [1.0 / (1.0 - rate) for rate, _ in dropouts]
        return [
            [layer[micro].mul_(scale) for layer, scale in zip(layers, scales, strict=True)]
            for micro in range(len(self.shares))
        ]


def _mean_terms(terms: list[Metrics]) -> Metrics:
    if len(terms) == 1:
        return terms[0]
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}


def update(player: TrainableNetwork, batches: Iterable[tuple[Any, ...]], count: int, engine: Engine) -> Metrics:
    """One optimizer step on the mean gradient of `count` micro-batches; gradients are averaged on the last alone."""
    player.guard.begin()
    terms = []
    for number, batch in enumerate(batches, 1):
        with nullcontext() if number == count else engine.no_sync(player.objective):
            with phase("forward"), engine.autocast():
                loss, named = player.objective(*batch)
            with phase("backward"):
                engine.backward(loss / count * player.guard.factor(loss))
        terms.append(named)
    with phase("optimizer"):
        player.guard.step()
    return _mean_terms(terms)


@dataclass(frozen=True)
class CriticNoise:
    """What one critic iteration takes at random, for each micro-batch: latents, what its penalty draws, masks."""

    latents: list[Tensor]
    penalty: list[Tensor]
    masks: list[CriticMasks]


def _for_penalty(
    draws: NoiseSource, penalty: Penalty | None, iteration: int, shape: tuple[int, ...], noise_std: float
) -> list[Tensor]:
    if penalty is None or penalty.draws == "nothing":
        return [torch.empty(0, device=draws.device, dtype=draws.dtype) for _ in draws.shares]
    if penalty.draws == "noise":
        return draws.deltas("critic.delta", iteration, shape, noise_std)
    return draws.alphas("critic.alpha", iteration)


def critic_noise(
    draws: NoiseSource,
    penalty: Penalty | None,
    iteration: int,
    shape: tuple[int, ...],
    noise_std: float,
    dropouts: Dropouts,
) -> CriticNoise:
    """The draws of a critic iteration on samples of `shape`; `noise_std` is that of a penalty at noisy points."""
    real, fake, points = (
        draws.masks(f"critic.dropout.{part}", iteration, dropouts if used else ())
        for part, used in (("real", True), ("fake", True), ("penalty", penalty is not None))
    )
    return CriticNoise(
        latents=draws.latents("critic.z", iteration),
        penalty=_for_penalty(draws, penalty, iteration, shape, noise_std),
        masks=[CriticMasks(*each) for each in zip(real, fake, points, strict=True)],
    )


def critic_iteration(
    critic: TrainableNetwork, generator: nn.Module, reals: list[Tensor], draws: CriticNoise, engine: Engine
) -> Metrics:
    """Train the critic on real samples, images in [−1, 1], and as many generated ones."""

    def generate(z: Tensor) -> Tensor:
        with phase("generated images"), torch.no_grad(), engine.autocast():
            return generator(z).to(z.dtype)

    parts = zip(reals, draws.latents, draws.penalty, draws.masks, strict=True)
    scale = critic.guard.scale if critic.guard.dynamic else None
    batches = ((real, generate(z), drawn, masks, scale) for real, z, drawn, masks in parts)
    with phase("critic"):
        return update(critic, batches, len(reals), engine)


def generator_step(
    generator: TrainableNetwork, latents: list[Tensor], masks: list[list[Tensor]], engine: Engine
) -> Metrics:
    """Train the generator on latents, and on the critic with `masks` for its dropout, for each micro-batch."""
    with phase("generator"):
        return update(generator, zip(latents, masks, strict=True), len(latents), engine)
