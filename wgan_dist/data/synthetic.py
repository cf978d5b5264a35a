"""The papers' two-dimensional toy distributions, as sets of points that training draws batches from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

COUNT = 100_000
DIMENSIONS = 2
# Of the sets themselves, whatever the seed of a run.
SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Gaussians of one `deviation` around `modes` [k, 2], all as likely."""

    modes: Floats
    deviation: float

    def draw(self, count: int, seed: int) -> Floats:
        """Points [count, 2]."""
        chosen = (rng.uniform(seed, "points.mode", 0, (count,)) * len(self.modes)).astype(np.int64)
        return self.modes[chosen] + self.deviation * rng.normal(seed, "points.noise", 0, (count, DIMENSIONS))


@dataclass(frozen=True)
class PointDataset:
    """A set of points in the plane: `values` float32 [n, 2]; the mixture they are of, if they are of one."""

    name: str
    values: NDArray[np.float32]
    mixture: Mixture | None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (DIMENSIONS,)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all values."""
        return hashlib.sha256(self.values.astype("<f4").tobytes()).hexdigest()


def _ring() -> Mixture:
    """Eight Gaussians of σ 0.02 on a circle of radius 2, divided by 1.414."""
    angles = 2.0 * np.pi * np.arange(8) / 8
    return Mixture(2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1) / 1.414, 0.02 / 1.414)


def _grid() -> Mixture:
    """25 Gaussians of σ 0.05 on the grid −4, −2, 0, 2, 4, divided by 2.828."""
    places = np.arange(-4.0, 5.0, 2.0)
    modes = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, DIMENSIONS)
    return Mixture(modes / 2.828, 0.05 / 2.828)


def swiss_roll(count: int, seed: int) -> Floats:
    """Two coordinates of scikit-learn's swiss roll, noise 0.25, divided by 7.5: points [count, 2].

    The spiral t·(cos t, sin t) with t = 1.5π (1 + 2u), u uniform (Marsland 2009, chapter 10).
    """
    t = 1.5 * np.pi * (1.0 + 2.0 * rng.uniform(seed, "points.place", 0, (count, 1)))
    spiral = t * np.concatenate([np.cos(t), np.sin(t)], axis=1)
    return (spiral + 0.25 * rng.normal(seed, "points.noise", 0, (count, DIMENSIONS))) / 7.5


MIXTURES = {"8gaussians": _ring(), "25gaussians": _grid()}
DRAWS: dict[str, Callable[[int, int], Floats]] = {
    **{name: mixture.draw for name, mixture in MIXTURES.items()},
    "swissroll": swiss_roll,
}


def are_points(data: tuple[str, ...]) -> bool:
    """Whether the named data are points; raises UserError where points are to be merged with anything."""
    named = [name for name in data if name in DRAWS]
    if named and len(data) > 1:
        raise UserError(f"data={','.join(data)}: {named[0]} are points, which cannot be merged with other data")
    return bool(named)


def open_points(name: str) -> PointDataset:
    """100,000 points of the toy distribution `name`, the same at every call."""
    return PointDataset(name, DRAWS[name](COUNT, SEED).astype(np.float32), MIXTURES.get(name))
