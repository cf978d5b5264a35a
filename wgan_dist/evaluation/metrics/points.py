"""Metrics of generated points in the plane: their exact distance to real points, and how they cover the modes."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from wgan_dist.data.synthetic import Mixture

# A point is good if it lies within so many standard deviations of a mode.
GOOD_DEVIATIONS = 3.0

Floats = NDArray[np.floating]


def exact_wasserstein(first: Floats, second: Floats) -> float:
    """Return W₁ between two sets of equally many points [n, 2]: the mean distance of the optimal assignment.

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
