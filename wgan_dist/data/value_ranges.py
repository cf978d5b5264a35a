"""The ranges of the values of a data set, and the levels that are chosen by them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import FLOAT32, FULL_RANGES, Levels, full_range

# The images that are read at a time, so that memory stays bounded.
CHUNK = 256
# The values beyond these quantiles are outliers. They are computed of at most so many values of a channel.
OUTLIERS, COUNTED_VALUES = (0.001, 0.999), 1 << 22


@dataclass(frozen=True)
class ValueRanges:
    """The least and greatest value of each channel of a data set."""

    low: tuple[float, ...]
    high: tuple[float, ...]


def value_ranges(values: NDArray[Any]) -> ValueRanges:
    """Return the ranges of values [n, c, h, w]."""
    chunks = [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]
    low = np.min([chunk.min(axis=(0, 2, 3)) for chunk in chunks], axis=0)
    high = np.max([chunk.max(axis=(0, 2, 3)) for chunk in chunks], axis=0)
    return ValueRanges(tuple(map(float, low)), tuple(map(float, high)))


def robust_ranges(values: NDArray[Any]) -> ValueRanges:
    """Return the ranges of values [n, c, h, w] without outliers; of very many values, those of evenly spaced images."""
    rows = max(1, COUNTED_VALUES // max(1, values[0, 0].size))
    some = values[np.linspace(0, len(values) - 1, min(rows, len(values))).round().astype(np.int64)]
    low, high = np.quantile(some.transpose(1, 0, 2, 3).reshape(values.shape[1], -1), OUTLIERS, axis=1)
    return ValueRanges(tuple(map(float, low)), tuple(map(float, high)))


def _distinct(low: float, high: float, dtype: str) -> tuple[float, float]:
    """Return two levels, a distance of 1 apart if they are equal."""
    if low < high:
        return low, high
    return (low - 1.0, low) if low == FULL_RANGES.get(dtype) else (low, low + 1.0)


def choose_levels(chosen: str | tuple[float, float], dtype: str, ranges: ValueRanges) -> Levels:
    """Return the levels that a value of --levels stands for; for `robust`, `ranges` are those without outliers.

    A channel in which all values are equal has levels of a distance of 1.

    Raises:
        UserError: For levels in which values of the type cannot be restored.
    """
    if chosen == "default" and dtype != FLOAT32:
        return full_range(dtype)
    low, high = ranges.low, ranges.high
    if isinstance(chosen, tuple):
        low, high = ((level,) * len(low) for level in chosen)
        most = FULL_RANGES.get(dtype)
        if most is not None and not 0 <= chosen[0] < chosen[1] <= most:
            raise UserError(
                f"levels={chosen[0]:g},{chosen[1]:g}: expected levels from 0 to {most:g} for {dtype} values"
            )
    pairs = [_distinct(*pair, dtype) for pair in zip(low, high, strict=True)]
    return Levels(dtype, *(tuple(side) for side in zip(*pairs, strict=True)))
