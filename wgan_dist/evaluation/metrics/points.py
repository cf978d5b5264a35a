"""Metrics of generated points: their exact and sliced distances to real points, and how they cover the modes."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from wgan_dist.data.synthetic import Mixture
from wgan_dist.utils import rng

# A point is good if it lies within so many standard deviations of a mode.
GOOD_DEVIATIONS = 3.0
DIRECTIONS = 256

Floats = NDArray[np.floating]


def exact_wasserstein(first: Floats, second: Floats) -> float:
    """Return W₁ between two sets of equally many points [n, d]: the mean distance of the optimal assignment.

    The distance is in the unit of the points, and NaN where a point is not finite.

    Raises:
        ValueError: For sets of different sizes.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} points and {len(second)} points: expected equally many")
    distances = cdist(first, second)
    if not np.isfinite(distances).all():
        return float("nan")
    return float(distances[linear_sum_assignment(distances)].mean())


def sliced_wasserstein(first: Floats, second: Floats) -> float:
    """Return the mean W₁ between the projections of two sets of equally many points [n, d] on random directions.

    The directions are the same at every call. The distance is in the unit of the points, NaN where a point is not
    finite, and for one dimension exact.

    Raises:
        ValueError: For sets of different sizes.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} points and {len(second)} points: expected equally many")
    directions = rng.normal(0, "points.directions", 0, (first.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    distances = [np.abs(np.sort(first @ direction) - np.sort(second @ direction)).mean() for direction in directions.T]
    return float(np.mean(distances))


def good_points_per_mode(points: Floats, mixture: Mixture) -> NDArray[np.int64]:
    """Count the points within 3 σ of each mode, each for its nearest mode.

    Of real points 98.9 % are within 3 σ of a mode: 1 − exp(−3² / 2).
    """
    distances = cdist(points, mixture.modes)
    nearest = distances.argmin(axis=1)
    good = distances.min(axis=1) <= GOOD_DEVIATIONS * mixture.deviation
    return np.bincount(nearest[good], minlength=len(mixture.modes))


def mode_metrics(points: Floats, mixture: Mixture) -> dict[str, float]:
    """Return the modes with a good point, the share of good points, and the rarest mode's part of its fair share."""
    counts = good_points_per_mode(points, mixture)
    return {
        "modes_covered": float((counts > 0).sum()),
        "good_share": float(counts.sum() / len(points)),
        "rarest_mode_share": float(counts.min() * len(counts) / len(points)),
    }
