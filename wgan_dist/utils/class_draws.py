"""Classes drawn by their shares, from uniform numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils import rng

LABEL_STREAM = "sample.label"


def draw_classes(uniform: NDArray[Any], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class that each number of U[0, 1) falls on, where classes [c] take up their shares in their order.

    `shares` add up to 1; rounding may leave a number beyond their sum, which is of the last class.
    """
    found = np.searchsorted(np.cumsum(shares), uniform, side="right")
    return np.minimum(found, len(shares) - 1).astype(np.int64)


def sample_classes(count: int, shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return the classes of the first `count` samples of a seed, int64 [count], as `export.sampler` draws them."""
    return draw_classes(rng.uniform(seed, LABEL_STREAM, 0, (count,)), shares)
