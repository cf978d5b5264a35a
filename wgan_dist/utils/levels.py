"""The values of images in their source, and the values in [−1, 1] that networks compute with."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The types of values, narrowest first, and the greatest value of integers.
UINT8, UINT16, FLOAT32 = "uint8", "uint16", "float32"
DTYPES = (UINT8, UINT16, FLOAT32)
FULL_RANGES = {UINT8: 255.0, UINT16: 65535.0}


@dataclass(frozen=True)
class Levels:
    """The type of the values in the source of images, and those that become −1 and 1.

    Attributes:
        dtype: uint8, uint16 or float32.
        low: The value that becomes −1, one for all channels or one for each.
        high: The value that becomes 1, above that of `low`.
    """

    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def is_eight_bit(self) -> bool:
        """Return whether images are kept in 8 bits, of which 0 is −1 and 255 is 1."""
        return self == EIGHT_BITS

    def check(self, channels: int) -> None:
        """Raise ValueError unless the levels are those of a supported type, in so many channels."""
        counts = {len(self.low), len(self.high)}
        values = (*self.low, *self.high)
        if self.dtype not in DTYPES or counts not in ({1}, {channels}) or not all(map(math.isfinite, values)):
            raise ValueError(f"levels={self.dtype}: expected {', '.join(DTYPES)} and finite numbers for each channel")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"levels={self}: expected the lower one first")
        most = FULL_RANGES.get(self.dtype)
        if most is not None and not all(0 <= value <= most for value in values):
            raise ValueError(f"levels={self}: expected 0 to {most:g}")

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = (np.array(values).reshape(-1, 1, 1) for values in (self.low, self.high))
        return low, high

    def scale(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Map values [..., c, h, w] of the source to [−1, 1]; values beyond the levels become −1 or 1."""
        low, high = self._bounds()
        scaled = (values.astype(np.float64) - low) * (2.0 / (high - low)) - 1.0
        return scaled.clip(-1.0, 1.0).astype(np.float32)

    def restore(self, images: NDArray[Any]) -> NDArray[Any]:
        """Map images [..., c, h, w] in [−1, 1] to values of the source's type; integers are rounded to nearest."""
        low, high = self._bounds()
        values = low + (images.astype(np.float64).clip(-1.0, 1.0) + 1.0) * ((high - low) / 2.0)
        return (values if self.dtype == FLOAT32 else np.rint(values)).astype(self.dtype)

    def __str__(self) -> str:
        pairs = zip(self.low, self.high, strict=True)
        return f"{self.dtype}, " + "; ".join(f"{low:g} to {high:g}" for low, high in pairs)


def common_levels(first: Levels, second: Levels) -> Levels:
    """Return levels of the same type that contain those of both, of each channel or, where channels differ, of all.

    Raises:
        ValueError: If the types differ.
    """
    if first.dtype != second.dtype:
        raise ValueError(f"values of {first.dtype} and of {second.dtype}: expected one type")
    if len(first.low) != len(second.low):
        return Levels(first.dtype, (min(*first.low, *second.low),), (max(*first.high, *second.high),))
    return Levels(first.dtype, tuple(map(min, first.low, second.low)), tuple(map(max, first.high, second.high)))


def full_range(dtype: str) -> Levels:
    """Return the levels of integers at which the whole range of their type becomes [−1, 1]."""
    return Levels(dtype, (0.0,), (FULL_RANGES[dtype],))


EIGHT_BITS = full_range(UINT8)
