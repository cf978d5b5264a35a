"""The random numbers of each critic iteration and generator step: this process's rows of the global batch's noise."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.losses.augment import DRAWS, Augmentation
from wgan_dist.losses.gradient_penalty import Penalty
from wgan_dist.losses.modules import CriticMasks
from wgan_dist.training.augmentation_strength import AugmentationStrength
from wgan_dist.training.prefetcher import Prefetcher
from wgan_dist.utils import rng, table_draws
from wgan_dist.utils.class_draws import draw_classes
from wgan_dist.utils.console import print_to_stderr

# Rate and shape of one sample's values, for each dropout layer of a network.
Dropouts = Sequence[tuple[float, tuple[int, ...]]]
# The augmentation of each micro-batch, or None for all.
Augmentations = list[Augmentation] | list[None]


@dataclass(frozen=True)
class NoiseSource:
    """Draw this process's rows of a global batch's noise, for each of its micro-batches, in memory of the host.

    A draw is a function of (seed, stream, counter, row), so that the noise that meets a sample does not depend on the
    number of processes. For a CUDA device it is in pinned memory, whose upload nothing waits for.
    """

    seed: int
    latent_dim: int
    distribution: str
    slices: list[slice]
    device: torch.device
    dtype: torch.dtype

    @property
    def rows(self) -> int:
        """Return the number of samples in a micro-batch of this process."""
        return self.slices[0].stop - self.slices[0].start

    def latents(self, stream: str, counter: int) -> Tensor:
        """Draw z [micro-batches, rows, latent_dim]."""
        draw = functools.partial(
            rng.latent, self.distribution, self.seed, stream, counter, (self.rows, self.latent_dim)
        )
        return self.stage(self._draw(draw), self.dtype)

    def alphas(self, stream: str, counter: int) -> Tensor:
        """Draw α ~ U[0, 1) [micro-batches, rows]."""
        return self.stage(self._uniform(stream, counter), self.dtype)

    def labels(self, stream: str, counter: int, shares: NDArray[np.float64]) -> Tensor:
        """Draw classes by their shares [classes], which add up to 1: int64 [micro-batches, rows]."""
        return self.stage(draw_classes(self._uniform(stream, counter), shares), torch.int64)

    def flips(self, stream: str, counter: int) -> Tensor:
        """Draw which images to mirror, True for one in two: [micro-batches, rows]."""
        return self.stage(self._uniform(stream, counter) < 0.5, torch.bool)

    def uniform(self, stream: str, counter: int, width: int) -> Tensor:
        """Draw U[0, 1) [micro-batches, rows, width]."""
        return self.stage(self._uniform(stream, counter, width), self.dtype)

    def _uniform(self, stream: str, counter: int, *width: int) -> NDArray[np.float64]:
        return self._draw(functools.partial(rng.uniform, self.seed, stream, counter, (self.rows, *width)))

    def _draw(self, draw: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.stack([draw(first_row=rows.start) for rows in self.slices])

    def stage(self, values: NDArray[Any] | Tensor, dtype: torch.dtype) -> Tensor:
        """Return values as a tensor on the host that `upload` sends to the device without waiting."""
        tensor = torch.as_tensor(values, dtype=dtype)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def upload(self, staged: Tensor) -> Tensor:
        """Return a staged tensor on the device, without waiting for it."""
        return staged.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class TableNoise:
    """Noise that the device makes from a table [65536]: values [rows, *shape] for each micro-batch and stream.

    The host only says where the draws start, which it can do ahead of time.
    """

    source: NoiseSource
    streams: list[str]
    shape: tuple[int, ...]
    table: Tensor
    lookup: table_draws.Lookup

    def _positions(self) -> list[tuple[int, int]]:
        """Return for each micro-batch the block in which its values start, and the number of values before them."""
        width = math.prod(self.shape)
        return [divmod(rows.start * width, table_draws.VALUES_PER_BLOCK) for rows in self.source.slices]

    def starts(self, counter: int) -> NDArray[np.int64]:
        """Return the starts of the draws of an iteration, [micro-batches, streams, 4]."""
        seed = self.source.seed
        starts = [
            [table_draws.start(seed, stream, counter, block) for stream in self.streams]
            for block, _ in self._positions()
        ]
        return np.array(starts)

    def values(self, starts: Tensor) -> list[list[Tensor]]:
        """Return the values [rows, *shape] for each micro-batch and stream, from `starts` on the device."""
        shape = (self.source.rows, *self.shape)
        return [
            list(self.lookup(start, self.table, skip, math.prod(shape)).unflatten(1, shape))
            for start, (_, skip) in zip(starts, self._positions(), strict=True)
        ]


@dataclass(frozen=True)
class DropoutNoise:
    """The masks of all dropout layers for each of `inputs` inputs: factors 0 or 1 / (1 − rate), made on the device."""

    source: NoiseSource
    inputs: int
    layers: list[TableNoise]

    def starts(self, counter: int) -> Tensor:
        """Return the staged starts of the draws of an iteration, [layers, micro-batches, inputs, 4]."""
        return self.source.stage(np.array([layer.starts(counter) for layer in self.layers]), torch.int64)

    def masks(self, starts: Tensor) -> list[list[list[Tensor]]]:
        """Return for each micro-batch and input the masks of all layers, from staged `starts`."""
        uploaded = self.source.upload(starts)
        values = [layer.values(start) for layer, start in zip(self.layers, uploaded, strict=True)]
        return [
            [[of_layer[micro][number] for of_layer in values] for number in range(self.inputs)]
            for micro in range(len(self.source.slices))
        ]


@dataclass(frozen=True)
class CriticNoise:
    """The noise of a critic iteration for each micro-batch: z, the penalty's α or δ, dropout masks, augmentations."""

    latents: list[Tensor]
    penalty: list[Tensor]
    masks: list[CriticMasks]
    augmentations: Augmentations


@dataclass(frozen=True)
class GeneratorNoise:
    """The noise of a generator step for each micro-batch: z, masks for the critic's dropout, labels or None.

    `real_masks` are the masks for the real samples with which a relativistic loss compares. `augmentations` are those
    of the generated and of these real samples, or None without augmentation.
    """

    latents: list[Tensor]
    masks: list[list[Tensor]]
    real_masks: list[list[Tensor]]
    labels: list[Tensor] | list[None]
    augmentations: Augmentations


@dataclass(frozen=True)
class _HostCriticNoise:
    """The draws of the host for a critic iteration, staged for the device.

    Attributes:
        latents: z [micro-batches, rows, latent_dim].
        penalty: α [micro-batches, rows], or where δ starts [micro-batches, 1, 4], or nothing [micro-batches, 0].
        mask_starts: Where the dropout masks start.
        augmentations: The draws of the augmentation [micro-batches, rows, DRAWS], or None.
    """

    latents: Tensor
    penalty: Tensor
    mask_starts: Tensor
    augmentations: Tensor | None


@dataclass(frozen=True)
class _HostGeneratorNoise:
    """The draws of the host for a generator step, staged for the device.

    Attributes:
        latents: z [micro-batches, rows, latent_dim], or None where those of the critic are taken again.
        mask_starts: Where the dropout masks start.
        labels: The classes to generate int64 [micro-batches, rows], or None.
        augmentations: The draws of the augmentation [micro-batches, rows, DRAWS], or None.
    """

    latents: Tensor | None
    mask_starts: Tensor
    labels: Tensor | None
    augmentations: Tensor | None


class TrainingNoise:
    """The noise of every iteration of a run.

    The host's part of an iteration's noise is drawn in the background, while the iteration before it runs.
    """

    def __init__(
        self,
        critic_source: NoiseSource,
        generator_source: NoiseSource,
        penalty: Penalty | None,
        sample_shape: tuple[int, ...],
        delta_std: float,
        dropouts: Dropouts,
        reuse_latents: bool,
        class_shares: NDArray[np.float64] | None = None,
        is_relativistic: bool = False,
        augmentation: AugmentationStrength | None = None,
    ) -> None:
        """Prepare the draws of both networks.

        Args:
            critic_source, generator_source: Draw for the batch size of each network.
            penalty: The gradient penalty, which says whether it draws α or δ.
            sample_shape: The shape of one real sample.
            delta_std: The standard deviation of δ.
            dropouts: The critic's dropout layers.
            reuse_latents: Whether a generator step takes the latents of the last critic iteration.
            class_shares: The probability of each class in a generator step, or None without classes.
            is_relativistic: Whether a generator step also needs masks for real samples.
            augmentation: The strength of augmentations, or None without them.
        """
        self.critic_source, self.generator_source = critic_source, generator_source
        self.draws = penalty.draws if penalty else "nothing"
        self.reuse_latents, self.class_shares = reuse_latents, class_shares
        self.augmentation = augmentation
        parts = ("real", "fake", "penalty") if penalty else ("real", "fake")
        self._critic_dropout = self._dropout(critic_source, [f"critic.dropout.{part}" for part in parts], dropouts)
        streams = ["generator.dropout", *(["generator.dropout.real"] if is_relativistic else [])]
        self._generator_dropout = self._dropout(generator_source, streams, dropouts)
        self._delta = self._delta_noise(sample_shape, delta_std) if self.draws == "noise" else None
        self._critic_draws = Prefetcher(self._draw_for_critic, critic_source.device)
        self._generator_draws = Prefetcher(self._draw_for_generator, generator_source.device)

    @functools.cached_property
    def _lookup(self) -> table_draws.Lookup:
        return table_draws.lookup_for(self.critic_source.device, self.critic_source.dtype, _warn)

    def _dropout(self, source: NoiseSource, streams: list[str], dropouts: Dropouts) -> DropoutNoise:
        layers = [
            TableNoise(
                source,
                [f"{stream}.{number}" for stream in streams],
                shape,
                table_draws.dropout_table(rate, source.dtype).to(source.device),
                self._lookup,
            )
            for number, (rate, shape) in enumerate(dropouts)
        ]
        return DropoutNoise(source, len(streams), layers)

    def _delta_noise(self, shape: tuple[int, ...], std: float) -> TableNoise:
        source = self.critic_source
        table = table_draws.normal_table(std, source.dtype).to(source.device)
        return TableNoise(source, ["critic.delta"], shape, table, self._lookup)

    def critic(self, iteration: int) -> CriticNoise:
        """Return the noise of critic iteration number `iteration`, counted over the whole run."""
        drawn = self._critic_draws.get(iteration)
        return CriticNoise(
            latents=list(self.critic_source.upload(drawn.latents)),
            penalty=self._penalty_noise(drawn.penalty),
            masks=[CriticMasks(*parts) for parts in self._critic_dropout.masks(drawn.mask_starts)],
            augmentations=self._augmentations(drawn.augmentations, self.critic_source),
        )

    def _augmentations(self, staged: Tensor | None, source: NoiseSource) -> Augmentations:
        """Return the augmentation of each micro-batch from its staged draws, or None."""
        if staged is None or self.augmentation is None or not self.augmentation.is_active:
            return [None] * len(source.slices)
        probabilities = self.augmentation.probabilities
        return [Augmentation(draws, probabilities) for draws in source.upload(staged)]

    def _draw_augmentations(self, source: NoiseSource, network: str, counter: int) -> Tensor | None:
        return source.uniform(f"{network}.augment.all", counter, DRAWS) if self.augmentation else None

    def _penalty_noise(self, staged: Tensor) -> list[Tensor]:
        uploaded = self.critic_source.upload(staged)
        if self._delta is None:
            return list(uploaded)
        return [delta for (delta,) in self._delta.values(uploaded)]

    def _draw_for_critic(self, iteration: int) -> _HostCriticNoise:
        return _HostCriticNoise(
            latents=self.critic_source.latents("critic.z", iteration),
            penalty=self._draw_for_penalty(iteration),
            mask_starts=self._critic_dropout.starts(iteration),
            augmentations=self._draw_augmentations(self.critic_source, "critic", iteration),
        )

    def _draw_for_penalty(self, iteration: int) -> Tensor:
        source = self.critic_source
        if self._delta is not None:
            return source.stage(self._delta.starts(iteration), torch.int64)
        if self.draws == "alpha":
            return source.alphas("critic.alpha", iteration)
        return source.stage(np.empty((len(source.slices), 0)), source.dtype)

    def generator(self, step: int, critic_noise: CriticNoise) -> GeneratorNoise:
        """Return the noise of generator step number `step`."""
        drawn, source = self._generator_draws.get(step), self.generator_source
        masks = self._generator_dropout.masks(drawn.mask_starts)
        return GeneratorNoise(
            latents=critic_noise.latents if drawn.latents is None else list(source.upload(drawn.latents)),
            masks=[of_inputs[0] for of_inputs in masks],
            real_masks=[of_inputs[-1] for of_inputs in masks],
            labels=[None] * len(source.slices) if drawn.labels is None else list(source.upload(drawn.labels)),
            augmentations=self._augmentations(drawn.augmentations, source),
        )

    def _draw_for_generator(self, step: int) -> _HostGeneratorNoise:
        source, shares = self.generator_source, self.class_shares
        return _HostGeneratorNoise(
            latents=None if self.reuse_latents else source.latents("generator.z", step),
            mask_starts=self._generator_dropout.starts(step),
            labels=None if shares is None else source.labels("generator.label", step, shares),
            augmentations=self._draw_augmentations(source, "generator", step),
        )

    def close(self) -> None:
        """End the threads that draw."""
        self._critic_draws.close()
        self._generator_draws.close()


def _warn(text: str) -> None:
    if distributed.world().is_main:
        print_to_stderr(text)
