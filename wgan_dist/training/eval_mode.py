"""The networks of a run in evaluation mode: samples for grids and metrics, and the critic's scores."""

import torch
from torch import Tensor, nn

# Samples computed at a time: few, so that sampling needs little memory beside a training step's, and enough that a GPU
# is busy.
CPU_BATCH, GPU_BATCH = 16, 128


@torch.no_grad()
def sample(generator: nn.Module, z: Tensor) -> Tensor:
    """Return G(z) for latents [n, latent_dim] in evaluation mode; the generator's own mode is kept."""
    was_training = generator.training
    generator.eval()
    parts = z.split(CPU_BATCH if z.device.type == "cpu" else GPU_BATCH)
    samples = torch.cat([generator(part) for part in parts])
    generator.train(was_training)
    return samples


@torch.no_grad()
def score(critic: nn.Module, samples: Tensor) -> Tensor:
    """Return the scores [n] of samples in evaluation mode, on the device and in the data type of the critic."""
    was_training = critic.training
    parameter = next(critic.parameters())
    scores: Tensor = critic.eval()(samples.to(parameter.device, parameter.dtype))
    critic.train(was_training)
    return scores
