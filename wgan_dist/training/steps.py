"""One critic iteration and one generator step, computed as if there were one device."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist.losses.gradient_penalty import clip_weights
from wgan_dist.losses.modules import CriticInputs, GeneratorInputs, Metrics
from wgan_dist.training.ema import EMAGenerator
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.training.noise import CriticNoise, GeneratorNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.utils.profiler import phase


@dataclass(frozen=True)
class TrainableNetwork:
    """A network, the module that computes its whole loss (as wrapped for distribution), its optimizer and scaler."""

    network: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    scaler: GradScaler


@dataclass(frozen=True)
class GAN:
    """Both networks and how their steps are computed.

    Attributes:
        ema: The moving average of the generator: what is sampled and exported.
        generate: The generator's forward, of latents and labels, without a gradient; compiled if the losses are.
        accelerator: Holds back the averaging of gradients while micro-batches accumulate.
        autocast_dtype: The half precision of the forward passes, or None.
        clip_value: The bound of the critic's weights under weight clipping, or None.
        is_relativistic: Whether the generator's loss compares with the real samples of the last critic iteration.
    """

    generator: TrainableNetwork
    critic: TrainableNetwork
    ema: EMAGenerator
    generate: Callable[..., Tensor]
    accelerator: Accelerator
    autocast_dtype: torch.dtype | None = None
    clip_value: float | None = None
    is_relativistic: bool = False

    def networks(self) -> dict[str, TrainableNetwork]:
        """Return both networks by name."""
        return {"critic": self.critic, "generator": self.generator}

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which forward passes are computed."""
        dtype = self.autocast_dtype
        return nullcontext() if dtype is None else torch.autocast(self.accelerator.device.type, dtype)


def critic_step(gan: GAN, real: RealBatch, noise: CriticNoise, with_penalty: bool = True) -> Metrics:
    """Train the critic on real samples [n, …], images in [−1, 1], and as many generated ones, for each micro-batch.

    The generated samples are of the classes of the real ones.
    """
    with phase("critic"):
        inputs = critic_inputs(gan, real, noise, with_penalty)
        metrics = update(gan, gan.critic, inputs, len(real.samples), is_whole_loss=with_penalty)
        if gan.clip_value is not None:
            clip_weights([weight for weight in gan.critic.network.parameters() if weight.requires_grad], gan.clip_value)
    return metrics


def critic_inputs(gan: GAN, real: RealBatch, noise: CriticNoise, with_penalty: bool = True) -> Iterator[CriticInputs]:
    """Yield the inputs of the critic's loss for each micro-batch.

    One micro-batch of G(z) is in memory at a time, computed when it is asked for.
    """
    # The penalty's inner gradient needs fp16's loss scale too.
    scale = gan.critic.scaler.loss_scale() if gan.critic.scaler.dynamic else None
    parts = zip(real.samples, real.labels, noise.latents, noise.penalty, noise.masks, noise.augmentations, strict=True)
    for x, labels, z, penalty_noise, masks, augmentation in parts:
        fake = generate(gan, z, labels)
        yield CriticInputs(x, fake, penalty_noise, masks, scale, labels, with_penalty, augmentation)


def generator_step(gan: GAN, noise: GeneratorNoise, real: RealBatch) -> Metrics:
    """Train the generator on latents [n, latent_dim], for each micro-batch.

    `real` is the batch of the last critic iteration, with which a relativistic loss compares.
    """
    with phase("generator"):
        return update(gan, gan.generator, generator_inputs(gan, noise, real), len(noise.latents))


def generator_inputs(gan: GAN, noise: GeneratorNoise, real: RealBatch) -> Iterator[GeneratorInputs]:
    """Return the inputs of the generator's loss for each micro-batch."""
    if gan.is_relativistic:  # within a class: the generated samples are of the classes of the real ones
        of_real = real.samples, noise.real_masks
        parts = zip(noise.latents, noise.masks, real.labels, noise.augmentations, *of_real, strict=True)
    else:
        parts = zip(noise.latents, noise.masks, noise.labels, noise.augmentations, strict=True)
    return itertools.starmap(GeneratorInputs, parts)


def generate(gan: GAN, z: Tensor, labels: Tensor | None) -> Tensor:
    """Return G(z), or G(z, labels), without a gradient, in the data type of z."""
    with phase("generated samples"), torch.no_grad(), gan.autocast():
        return (gan.generate(z) if labels is None else gan.generate(z, labels)).to(z.dtype)


def update(
    gan: GAN,
    trained: TrainableNetwork,
    micro_batches: Iterable[CriticInputs | GeneratorInputs],
    count: int,
    is_whole_loss: bool = True,
) -> Metrics:
    """Take one optimizer step on the mean gradient of `count` micro-batches; only the last one averages over ranks.

    `is_whole_loss` is False in an iteration without the lazy penalty.
    """
    for trainable in gan.networks().values():
        trainable.optimizer.zero_grad()  # also the other network's: this step can use their memory
    trained.scaler.buffers.save()
    all_metrics = []
    for number, micro_batch in enumerate(micro_batches, 1):
        with nullcontext() if number == count else gan.accelerator.no_sync(trained.loss):
            with phase("forward"), gan.autocast():
                loss, metrics = trained.loss(*micro_batch)
            with phase("backward"):
                trained.scaler.backward(loss, count)
        all_metrics.append(metrics)
    with phase("optimizer"):
        trained.scaler.step(is_whole_loss)
    return _mean(all_metrics)


def _mean(metrics: list[Metrics]) -> Metrics:
    if len(metrics) == 1:
        return metrics[0]
    return {name: torch.stack([values[name] for values in metrics]).mean() for name in metrics[0]}
