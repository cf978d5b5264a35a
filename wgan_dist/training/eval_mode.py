"""The networks of a run in evaluation mode: samples for grids and metrics, and the critic's scores."""

import torch
from torch import Tensor, nn

from wgan_dist.models.conditional_critics import ClassifiedScores

# Samples computed at a time: few, so that sampling needs little memory beside a training step's, and enough that a GPU
# is busy.
CPU_BATCH, GPU_BATCH = 16, 128


@torch.no_grad()
def sample(generator: nn.Module, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return G(z), or G(z, labels), in evaluation mode; the generator's own mode is kept.

    z are latents [n, latent_dim], and labels int64 [n].
    """
    was_training = generator.training
    generator.eval()
    size = CPU_BATCH if z.device.type == "cpu" else GPU_BATCH
    parts = zip(*(each.split(size) for each in (z, labels) if each is not None), strict=True)
    samples = torch.cat([generator(*part) for part in parts])
    generator.train(was_training)
    return samples


@torch.no_grad()
def score(critic: nn.Module, samples: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the scores [n] of samples in evaluation mode, on the device and in the data type of the critic.

    `labels` int64 [n] are their classes, for a conditional critic.
    """
    was_training = critic.training
    parameter = next(critic.parameters())
    inputs = [samples.to(parameter.device, parameter.dtype)]
    inputs += [] if labels is None else [labels.to(parameter.device)]
    output = critic.eval()(*inputs)
    critic.train(was_training)
    scores: Tensor = output.scores if isinstance(output, ClassifiedScores) else output
    return scores
