"""The two-dimensional distributions of the papers: 8 Gaussians, 25 Gaussians and a Swiss roll."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils import rng

DIMENSIONS = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """A mixture of equally likely isotropic Gaussians.

    Attributes:
        modes: The means of the Gaussians, of shape [k, 2].
        deviation: Their standard deviation.
    """

    modes: Floats
    deviation: float

    def draw(self, count: int, seed: int) -> Floats:
        """Return `count` points of shape [count, 2]."""
        modes = (rng.uniform(seed, "points.mode", 0, (count,)) * len(self.modes)).astype(np.int64)
        return self.modes[modes] + self.deviation * rng.normal(seed, "points.noise", 0, (count, DIMENSIONS))


def _ring() -> Mixture:
    """Return 8 Gaussians of σ 0.02 on a circle of radius 2, divided by 1.414."""
    angles = 2.0 * np.pi * np.arange(8) / 8
    return Mixture(2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1) / 1.414, 0.02 / 1.414)


def _grid() -> Mixture:
    """Return 25 Gaussians of σ 0.05 on the grid −4, −2, 0, 2, 4, divided by 2.828."""
    coordinates = np.arange(-4.0, 5.0, 2.0)
    modes = np.stack(np.meshgrid(coordinates, coordinates, indexing="ij"), axis=-1).reshape(-1, DIMENSIONS)
    return Mixture(modes / 2.828, 0.05 / 2.828)


def swiss_roll(count: int, seed: int) -> Floats:
    """Return `count` points [count, 2] of scikit-learn's Swiss roll, seen from the side, divided by 7.5.

    The points lie on the spiral t·(cos t, sin t) with t = 1.5π (1 + 2u) for uniform u (Marsland 2009, chapter 10), with
    Gaussian noise of σ 0.25 before the division.
    """
    t = 1.5 * np.pi * (1.0 + 2.0 * rng.uniform(seed, "points.place", 0, (count, 1)))
    spiral = t * np.concatenate([np.cos(t), np.sin(t)], axis=1)
    return (spiral + 0.25 * rng.normal(seed, "points.noise", 0, (count, DIMENSIONS))) / 7.5


MIXTURES = {"8gaussians": _ring(), "25gaussians": _grid()}
# Functions of a count and a seed to points [count, 2].
DRAWS: dict[str, Callable[[int, int], Floats]] = {
    **{name: mixture.draw for name, mixture in MIXTURES.items()},
    "swissroll": swiss_roll,
}
