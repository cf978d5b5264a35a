"""The sliced Wasserstein distance between sets of images over a Laplacian pyramid (Karras et al. 2018, section 5)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wgan_dist.utils import rng

PATCH = 7
PATCHES_PER_IMAGE = 32
DIRECTIONS = 256
SMALLEST_LEVEL = 16
# Karras et al. report distances × 10³.
SCALE = 1e3
# The generating kernel of the pyramid (Burt and Adelson 1983).
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)


def _kernel(channels: int, like: Tensor) -> Tensor:
    row = torch.tensor(BINOMIAL, dtype=like.dtype, device=like.device) / sum(BINOMIAL)
    return torch.outer(row, row).expand(channels, 1, 5, 5)


def _blur(images: Tensor) -> Tensor:
    channels = images.shape[1]
    return F.conv2d(F.pad(images, (2, 2, 2, 2), "reflect"), _kernel(channels, images), groups=channels)


def _down(images: Tensor) -> Tensor:
    return _blur(images)[:, :, ::2, ::2]


def _up(images: Tensor, size: tuple[int, int]) -> Tensor:
    spread = images.new_zeros(*images.shape[:2], *size)
    spread[:, :, ::2, ::2] = images
    return _blur(spread) * 4.0


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Split images [n, c, s, s] into a band an octave, from size s down to 16 or just above, the last a low pass."""
    bands = []
    while images.shape[-1] // 2 >= SMALLEST_LEVEL:
        smaller = _down(images)
        bands.append(images - _up(smaller, (images.shape[-2], images.shape[-1])))
        images = smaller
    return [*bands, images]


def _descriptors(band: Tensor, level: int) -> Tensor:
    """Return random 7×7 patches, normalised per channel over the set: [n · patches, c · 49]."""
    count, channels, size, _ = band.shape
    corners = rng.uniform(0, "swd.corners", level, (count, PATCHES_PER_IMAGE, 2)) * (size - PATCH + 1)
    rows, columns = torch.as_tensor(corners.astype(np.int64)).to(band.device).unbind(-1)
    offsets = torch.arange(PATCH, device=band.device)
    images = torch.arange(count, device=band.device)[:, None, None, None]
    y = (rows[:, :, None] + offsets)[:, :, :, None]
    x = (columns[:, :, None] + offsets)[:, :, None, :]
    patches = band[images, :, y, x].flatten(0, 1).movedim(-1, 1)  # [n · patches, c, 7, 7]
    std, mean = torch.std_mean(patches, (0, 2, 3), keepdim=True)
    return ((patches - mean) / std.clamp_min(1e-8)).flatten(1)


def _directions(length: int, level: int, like: Tensor) -> Tensor:
    directions = torch.as_tensor(rng.normal(0, "swd.directions", level, (length, DIRECTIONS)), dtype=like.dtype)
    return (directions / directions.norm(dim=0)).to(like.device)


def _projections(images: Tensor) -> list[Tensor]:
    """Project the patches of each level on random directions and sort them: [n · patches, directions] a level."""
    projections = []
    for level, band in enumerate(laplacian_pyramid(images)):
        patches = _descriptors(band, level)
        projections.append((patches @ _directions(patches.shape[1], level, patches)).sort(0).values)
    return projections


@dataclass(frozen=True)
class Reference:
    """Real images, prepared once for any number of comparisons."""

    projections: list[Tensor]
    count: int

    @classmethod
    def of(cls, images: Tensor) -> "Reference":
        """Prepare images [n, c, s, s] in [−1, 1]; s ≥ 7."""
        return cls(_projections(images), len(images))

    def distance(self, images: Tensor) -> float:
        """Return the mean over levels of the sliced Wasserstein-1 distance × 10³ to images [n, c, s, s] in [−1, 1].

        The distance of equal sets is 0. Every call uses the same random patches and directions.

        Raises:
            ValueError: For another number of images than the reference has.
        """
        if len(images) != self.count:
            raise ValueError(f"{len(images)} images and {self.count} reference images: expected equally many")
        levels = zip(self.projections, _projections(images), strict=True)
        return SCALE * float(torch.stack([(first - second).abs().mean() for first, second in levels]).mean())
