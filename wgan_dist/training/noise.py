"""The random numbers of each critic iteration and generator step: this process's rows of the global batch's noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_dist.losses.gradient_penalty import Penalty
from wgan_dist.losses.modules import CriticMasks
from wgan_dist.utils import rng

# Rate and shape of one sample's values, for each dropout layer of a network.
Dropouts = Sequence[tuple[float, tuple[int, ...]]]


@dataclass(frozen=True)
class NoiseSource:
    """Draw the noise of a global batch, as one tensor for each micro-batch of this process.

    Every process draws the same numbers and keeps its rows, so that the noise that meets an image does not depend on
    the number of processes. A draw is a function of (seed, stream, counter).
    """

    seed: int
    batch_size: int
    latent_dim: int
    distribution: str
    slices: list[slice]
    device: torch.device
    dtype: torch.dtype

    def _local(self, values: object) -> list[Tensor]:
        whole = torch.as_tensor(values)
        return [whole[rows].to(self.device, self.dtype) for rows in self.slices]

    def latents(self, stream: str, counter: int) -> list[Tensor]:
        """Draw z [micro-batch / processes, latent_dim] for each micro-batch."""
        shape = (self.batch_size, self.latent_dim)
        return self._local(rng.latent(self.distribution, self.seed, stream, counter, shape))

    def alphas(self, stream: str, counter: int) -> list[Tensor]:
        """Draw α ~ U[0, 1) [micro-batch / processes] for each micro-batch."""
        return self._local(rng.uniform(self.seed, stream, counter, (self.batch_size,)))

    def flips(self, stream: str, counter: int) -> list[Tensor]:
        """Draw for each micro-batch which images to mirror, True for one in two: [micro-batch / processes]."""
        uniform = self._local(rng.uniform(self.seed, stream, counter, (self.batch_size,)))
        return [values < 0.5 for values in uniform]

    def deltas(self, stream: str, counter: int, shape: tuple[int, ...], std: float) -> list[Tensor]:
        """Draw δ ~ N(0, std²) [micro-batch / processes, *shape] for each micro-batch."""
        return self._local(std * rng.normal(self.seed, stream, counter, (self.batch_size, *shape)))

    def masks(self, stream: str, counter: int, dropouts: Dropouts) -> list[list[Tensor]]:
        """Draw for each micro-batch the factors of each dropout layer, 0 or 1 / (1 − rate)."""
        layers = [
            self._local(rng.keep(self.seed, f"{stream}.{number}", counter, (self.batch_size, *shape), rate))
            for number, (rate, shape) in enumerate(dropouts)
        ]
        scales = [1.0 / (1.0 - rate) for rate, _ in dropouts]
        return [
            [layer[micro].mul_(scale) for layer, scale in zip(layers, scales, strict=True)]
            for micro in range(len(self.slices))
        ]


@dataclass(frozen=True)
class CriticNoise:
    """The noise of a critic iteration for each micro-batch: z, what the penalty draws (α or δ), dropout masks."""

    latents: list[Tensor]
    penalty: list[Tensor]
    masks: list[CriticMasks]


@dataclass(frozen=True)
class GeneratorNoise:
    """The noise of a generator step for each micro-batch: z, and masks for the critic's dropout."""

    latents: list[Tensor]
    masks: list[list[Tensor]]


@dataclass(frozen=True)
class TrainingNoise:
    """The noise of every iteration of a run.

    Attributes:
        critic_source, generator_source: Draw for the batch size of each network.
        penalty: The gradient penalty, which says whether it draws α or δ.
        sample_shape: The shape of one real sample.
        delta_std: The standard deviation of δ.
        dropouts: The critic's dropout layers.
        reuse_latents: Whether a generator step takes the latents of the last critic iteration.
    """

    critic_source: NoiseSource
    generator_source: NoiseSource
    penalty: Penalty | None
    sample_shape: tuple[int, ...]
    delta_std: float
    dropouts: Dropouts
    reuse_latents: bool

    def critic(self, iteration: int) -> CriticNoise:
        """Draw the noise of critic iteration number `iteration`, counted over the whole run."""
        source = self.critic_source
        real, fake, interpolated = (
            source.masks(f"critic.dropout.{part}", iteration, self.dropouts if used else ())
            for part, used in (("real", True), ("fake", True), ("penalty", self.penalty is not None))
        )
        return CriticNoise(
            latents=source.latents("critic.z", iteration),
            penalty=self._penalty(iteration),
            masks=[CriticMasks(*masks) for masks in zip(real, fake, interpolated, strict=True)],
        )

    def _penalty(self, iteration: int) -> list[Tensor]:
        source = self.critic_source
        if self.penalty is None or self.penalty.draws == "nothing":
            return [torch.empty(0, device=source.device, dtype=source.dtype) for _ in source.slices]
        if self.penalty.draws == "noise":
            return source.deltas("critic.delta", iteration, self.sample_shape, self.delta_std)
        return source.alphas("critic.alpha", iteration)

    def generator(self, step: int, critic_noise: CriticNoise) -> GeneratorNoise:
        """Draw the noise of generator step number `step`."""
        source = self.generator_source
        latents = critic_noise.latents if self.reuse_latents else source.latents("generator.z", step)
        return GeneratorNoise(latents, source.masks("generator.dropout", step, self.dropouts))
