"""One critic iteration and one generator step, as if there were one device."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist import noise
from wgan_dist.objectives import Terms


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


def _mean_terms(terms: list[Terms]) -> Terms:
    if len(terms) == 1:
        return terms[0]
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}


def update(player: Player, batches: Iterable[tuple[Tensor | None, ...]], count: int, engine: Engine) -> Terms:
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


def critic_iteration(
    critic: Player, generator: nn.Module, reals: list[Tensor], draws: Draws, iteration: int, engine: Engine
) -> Terms:
    """Train the critic on real images in [−1, 1] and as many generated ones."""

    def generate(z: Tensor) -> Tensor:
        with torch.no_grad(), engine.autocast():
            return generator(z).to(z.dtype)

    latents, alphas = draws.latents("critic.z", iteration), draws.alphas("critic.alpha", iteration)
    parts = zip(reals, latents, alphas, strict=True)
    batches = ((real, generate(z), alpha, engine.scale()) for real, z, alpha in parts)
    return update(critic, batches, len(reals), engine)


def generator_step(generator: Player, draws: Draws, step: int, engine: Engine) -> Terms:
    """Train the generator on as many latents as a real batch has images."""
    latents = draws.latents("generator.z", step)
    return update(generator, ((z,) for z in latents), len(latents), engine)
