"""The networks of a run in evaluation mode: samples for grids and metrics, and the critic's scores."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wgan_dist.models.conditional_critics import ClassifiedScores

# Samples computed at a time: few, for little memory beside a training step's, and enough that a GPU is busy. They are
# whole groups of a critic that compares samples.
CPU_BATCH, GPU_BATCH = 16, 128


def _parts(samples: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
    """Split samples, with their labels if there are any, into batches."""
    size = CPU_BATCH if samples.device.type == "cpu" else GPU_BATCH
    return zip(*(each.split(size) for each in (samples, labels) if each is not None), strict=True)


@torch.no_grad()
def sample(generator: nn.Module, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return G(z), or G(z, labels), in evaluation mode; the generator's own mode is kept.

    z are latents [n, latent_dim], and labels int64 [n].
    """
    was_training = generator.training
    generator.eval()
    samples = torch.cat([generator(*part) for part in _parts(z, labels)])
    generator.train(was_training)
    return samples


@torch.no_grad()
def score(critic: nn.Module, samples: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the scores [n] of samples in evaluation mode, on the device and in the data type of the critic.

    `labels` int64 [n] are their classes, for a conditional critic.
    """
    was_training = critic.training
    parameter = next(critic.parameters())
    samples = samples.to(parameter.device, parameter.dtype)
    labels = None if labels is None else labels.to(parameter.device)
    critic.eval()
    outputs = [critic(*part) for part in _parts(samples, labels)]
    critic.train(was_training)
    return torch.cat([output.scores if isinstance(output, ClassifiedScores) else output for output in outputs])
