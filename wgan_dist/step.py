"""One critic iteration and one generator step, as if there were one device."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist import noise
from wgan_dist.objectives import CriticMasks, Terms

# Rate and shape, of one sample's values, of each dropout layer of a network.
Dropouts = Sequence[tuple[float, tuple[int, ...]]]


@dataclass(frozen=True)
class Player:
    """One of the two networks, the objective that trains it (as wrapped for distribution), and its optimizer."""

    network: nn.Module
    objective: nn.Module
    optimizer: Optimizer


@dataclass(frozen=True)
class Engine:
    """What running on many devices or in low precision changes about a step.

    `no_sync` holds back the averaging of gradients; `scale` is fp16's loss scale, None elsewhere.
    """

    backward: Callable[[Tensor], None]
    no_sync: Callable[[nn.Module], AbstractContextManager[None]]
    autocast: Callable[[], AbstractContextManager[None]]
    scale: Callable[[], Tensor | None]


@dataclass(frozen=True)
class Draws:
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
        whole = torch.as_tensor(values, dtype=self.dtype).to(self.device)
        return [whole[share] for share in self.shares]

    def latents(self, stream: str, counter: int) -> list[Tensor]:
        """z [micro-batch / processes, latent_dim] for each micro-batch."""
        shape = (self.batch_size, self.latent_dim)
        return self._mine(noise.latent(self.distribution, self.seed, stream, counter, shape))

    def alphas(self, stream: str, counter: int) -> list[Tensor]:
        """α ~ U[0, 1) [micro-batch / processes] for each micro-batch."""
        return self._mine(noise.uniform(self.seed, stream, counter, (self.batch_size,)))

    def deltas(self, stream: str, counter: int, shape: tuple[int, ...], deviation: float) -> list[Tensor]:
        """Noise N(0, deviation²) [micro-batch / processes, *shape] for each micro-batch."""
        return self._mine(deviation * noise.normal(self.seed, stream, counter, (self.batch_size, *shape)))

    def masks(self, stream: str, counter: int, dropouts: Dropouts) -> list[list[Tensor]]:
        """What each dropout layer multiplies by, 0 or 1 / (1 − rate), for each micro-batch."""
        layers = [
            self._mine(noise.keep(self.seed, f"{stream}.{number}", counter, (self.batch_size, *shape), rate))
            for number, (rate, shape) in enumerate(dropouts)
        ]
        scales = [1.0 / (1.0 - rate) for rate, _ in dropouts]
        return [
            [layer[micro].mul_(scale) for layer, scale in zip(layers, scales, strict=True)]
            for micro in range(len(self.shares))
        ]


def _mean_terms(terms: list[Terms]) -> Terms:
    if len(terms) == 1:
        return terms[0]
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}


def update(player: Player, batches: Iterable[tuple[Any, ...]], count: int, engine: Engine) -> Terms:
    """One optimizer step on the mean gradient of `count` micro-batches; gradients are averaged on the last alone."""
    player.optimizer.zero_grad()
    terms = []
    for number, batch in enumerate(batches, 1):
        with nullcontext() if number == count else engine.no_sync(player.objective):
            loss, named = player.objective(*batch)
            engine.backward(loss / count)
        terms.append(named)
    player.optimizer.step()
    return _mean_terms(terms)


@dataclass(frozen=True)
class CriticDraws:
    """What one critic iteration takes at random, for each micro-batch: latents, what its penalty draws, masks."""

    latents: list[Tensor]
    penalty: list[Tensor]
    masks: list[CriticMasks]


def critic_draws(
    draws: Draws, iteration: int, noise_std: float | None, shape: tuple[int, ...], dropouts: Dropouts
) -> CriticDraws:
    """The draws of a critic iteration on samples of `shape`; `noise_std` is that of a penalty at noisy points."""
    if noise_std is None:
        penalty = draws.alphas("critic.alpha", iteration)
    else:
        penalty = draws.deltas("critic.delta", iteration, shape, noise_std)
    real, fake, points = (
        draws.masks(f"critic.dropout.{part}", iteration, dropouts) for part in ("real", "fake", "penalty")
    )
    masks = [CriticMasks(*each) for each in zip(real, fake, points, strict=True)]
    return CriticDraws(draws.latents("critic.z", iteration), penalty, masks)


def critic_iteration(
    critic: Player, generator: nn.Module, reals: list[Tensor], draws: CriticDraws, engine: Engine
) -> Terms:
    """Train the critic on real samples, images in [−1, 1], and as many generated ones."""

    def generate(z: Tensor) -> Tensor:
        with torch.no_grad(), engine.autocast():
            return generator(z).to(z.dtype)

    parts = zip(reals, draws.latents, draws.penalty, draws.masks, strict=True)
    batches = ((real, generate(z), drawn, masks, engine.scale()) for real, z, drawn, masks in parts)
    return update(critic, batches, len(reals), engine)


def generator_step(generator: Player, latents: list[Tensor], masks: list[list[Tensor]], engine: Engine) -> Terms:
    """Train the generator on latents, and on the critic with `masks` for its dropout, for each micro-batch."""
    return update(generator, zip(latents, masks, strict=True), len(latents), engine)
