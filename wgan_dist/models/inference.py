"""Samples of a trained generator for given latent vectors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wgan_dist.utils import rng
from wgan_dist.utils.finite import is_finite
from wgan_dist.utils.images import to_uint8
from wgan_dist.utils.levels import EIGHT_BITS, Levels

LATENT_STREAM = "sample.z"
BATCH_SIZE = 64


def sample_latents(count: int, latent_dim: int, distribution: str, seed: int) -> NDArray[np.float32]:
    """Return the first `count` latent vectors of a seed, [count, latent_dim], from N(0, 1) or U[−1, 1).

    `distribution` is `normal` or `uniform`. `export.sampler.latents` returns the same vectors.
    """
    return rng.latent(distribution, seed, LATENT_STREAM, 0, (count, latent_dim)).astype(np.float32)


@torch.no_grad()
def generate(
    network: nn.Module,
    z: NDArray[np.float32],
    levels: Levels = EIGHT_BITS,
    labels: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Return the samples of latent vectors z [n, latent_dim], of a conditional generator of the classes `labels` [n].

    Images are [n, height, width, channels] in the values that `levels` stand for, by default uint8 as pictures show
    them; points are float32 [n, d]. The network computes in float32, to which this function converts it in place, in
    batches on its own device. Raises FloatingPointError if the network computes values that are not finite.
    """
    network = network.float()
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    inputs = [torch.from_numpy(z), *([] if labels is None else [torch.from_numpy(labels)])]
    parts = zip(*(each.to(device).split(BATCH_SIZE) for each in inputs), strict=True)
    batches = [network(*part) for part in parts]
    if not all(map(is_finite, batches)):
        raise FloatingPointError("its samples have values that are not finite")
    samples = torch.cat(batches)
    if samples.dim() != 4:
        return samples.cpu().numpy()
    values = to_uint8(samples).cpu().numpy() if levels.is_eight_bit else levels.restore(samples.cpu().numpy())
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))
