"""Points: which data are points, the points of an array of the user, and their statistics."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.config.config import MAX_CHANNELS
from wgan_dist.config.output_paths import ARRAYS
from wgan_dist.data.sources.arrays import array_errors, array_shape, read_array
from wgan_dist.data.sources.paths import expand_home
from wgan_dist.data.synthetic import DIMENSIONS, DRAWS
from wgan_dist.utils.errors import UserError

# The points that are read at a time, so that memory stays bounded.
CHUNK = 1 << 14
# The standard deviations of a dimension with which training works well, and how many of them its mean may be from 0.
GOOD_DEVIATIONS, FAR_MEAN = (0.1, 10.0), 5.0
# Float32 may round values by at most this share of their standard deviation. A dimension whose deviation is below this
# share of its values is a constant, which float64 rounds as well.
MOST_ROUNDED, CONSTANT = 0.01, 1e-12
# The dimensions that a warning or a summary shows one by one.
DIMENSIONS_SHOWN = 8

Floats = NDArray[np.float64]


def _dimensions_of(data: str) -> int | None:
    """Return the dimension of the points that a value of `--data` names, or None if it does not name points."""
    if data in DRAWS:
        return DIMENSIONS
    if not data.lower().endswith(ARRAYS):
        return None
    path = expand_home(data, f"data={data}")
    if not os.path.isfile(path):  # noqa: PTH113 a Path raises for a long name
        return None
    with array_errors(data):
        shape = array_shape(path)
    return shape[1] if len(shape) == 2 else None


def point_dimensions(data: tuple[str, ...]) -> int | None:
    """Return the dimension of the points that `data` names, or None if it names images.

    Points are those of a named distribution, or of a .npy or .npz file of an array [n, d], of which only the header is
    read.

    Raises:
        UserError: If the points are to be merged with other data or have too many dimensions, and for a damaged file.
    """
    found = [(value, dimensions) for value in data if (dimensions := _dimensions_of(value)) is not None]
    if not found:
        return None
    name, dimensions = found[0]
    if len(data) > 1:
        raise UserError(f"data={','.join(data)}: {name} are points, which cannot be merged with other data")
    if dimensions > MAX_CHANNELS:
        raise UserError(f"data={name}: points of {dimensions:,} dimensions; expected at most {MAX_CHANNELS:,}")
    return dimensions


def are_points(data: tuple[str, ...]) -> bool:
    """Return whether `data` names points; raise UserError as `point_dimensions` does."""
    return point_dimensions(data) is not None


def _chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def _check_resolution(data: str, values: NDArray[Any], points: NDArray[np.float32]) -> None:
    """Raise UserError if float32 `points` have lost what tells `values` of another type apart."""
    if np.can_cast(values.dtype, np.float32):
        return
    found = PointStatistics.of(values)
    pairs = zip(_chunks(values), _chunks(points), strict=True)
    errors = [np.abs(exact - rounded.astype(np.float64)).max(axis=0) for exact, rounded in pairs]
    varies = found.std > CONSTANT * np.maximum(np.abs(found.low), np.abs(found.high))
    if len(lost := np.flatnonzero(varies & (np.max(errors, axis=0) > MOST_ROUNDED * found.std))):
        raise UserError(
            f"data={data}: float32 has too few digits for dimension {lost[0]}, with values of {found.low[lost[0]]:.9g} "
            f"to {found.high[lost[0]]:.9g}; expected values less their mean"
        )


def read_points(data: str) -> NDArray[np.float32]:
    """Return the points [n, d] of a .npy or .npz file; a .npy file of float32 is memory-mapped.

    Raises:
        UserError: If the file cannot be read, or if float32 does not hold its values or their differences.
    """
    with array_errors(data):
        values = read_array(expand_home(data, f"data={data}"))
    with np.errstate(over="ignore", invalid="ignore"):
        points = values.astype(np.float32, copy=False)
    if wrong := points.size - sum(int(np.count_nonzero(np.isfinite(chunk))) for chunk in _chunks(points)):
        raise UserError(f"data={data}: {wrong:,} of {points.size:,} values are NaN, infinite or too large for float32")
    _check_resolution(data, values, points)
    return points


@dataclass(frozen=True)
class PointStatistics:
    """The mean, standard deviation, least and greatest value of each dimension of points, each float64 [d]."""

    mean: Floats
    std: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, values: NDArray[Any]) -> "PointStatistics":
        """Return the statistics of points [n, d]."""
        mean = np.sum([chunk.sum(axis=0, dtype=np.float64) for chunk in _chunks(values)], axis=0) / len(values)
        squares = [((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(values)]
        low = np.min([chunk.min(axis=0) for chunk in _chunks(values)], axis=0)
        high = np.max([chunk.max(axis=0) for chunk in _chunks(values)], axis=0)
        return cls(mean, np.sqrt(np.sum(squares, axis=0) / len(values)), low, high)

    def warnings(self) -> list[str]:
        """Return a line if standard deviations are far from 1, and one if means are far from 0."""
        low, high = GOOD_DEVIATIONS
        lines = []
        if len(wide := np.flatnonzero((self.std < low) | (self.std > high))):
            lines.append(
                f"the standard deviation of {self._named(wide)} is not between {low:g} and {high:g}, where training "
                "works well; the values are used as they are: scale the array before"
            )
        if len(far := np.flatnonzero((self.std > 0) & (np.abs(self.mean) > FAR_MEAN * self.std))):
            lines.append(
                f"the mean of {self._named(far)} is more than {FAR_MEAN:g} standard deviations from 0; the values are "
                "used as they are: subtract the mean from the array before"
            )
        return lines

    def _named(self, dimensions: NDArray[np.int64]) -> str:
        shown = "; ".join(
            f"{index + 1}: mean {self.mean[index]:.4g}, standard deviation {self.std[index]:.4g}"
            for index in dimensions[:DIMENSIONS_SHOWN]
        )
        more = f"; and {len(dimensions) - DIMENSIONS_SHOWN:,} more" if len(dimensions) > DIMENSIONS_SHOWN else ""
        return f"{len(dimensions):,} of {len(self.mean):,} dimensions ({shown}{more})"
