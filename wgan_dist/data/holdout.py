"""The split of a data set into training samples and samples held out from training."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils.errors import UserError

# The samples that are read at a time, so that memory stays bounded.
CHUNK = 1024
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The row numbers of the training samples and of the samples held out, both in the order of the data set."""

    training: Rows
    held_out: Rows


def _hash_to_unit(sample: NDArray[Any]) -> float:
    """Return a number in [0, 1) that depends on the sample's content only."""
    return int.from_bytes(hashlib.sha256(sample.tobytes()).digest()[:8], "little") / 2**64


def split_holdout(values: NDArray[Any], share: float) -> Split:
    """Hold out about `share` of `values` [n, …], chosen by their content and not by order, name or seed.

    Equal samples stay together, and samples keep their side when the data set grows.

    Raises:
        UserError: If all samples are held out, or none although `share` is positive.
    """
    rows = np.arange(len(values))
    if not share:
        return Split(rows, rows[:0])
    chunks = (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
    is_held_out = np.array([_hash_to_unit(sample) < share for chunk in chunks for sample in chunk])
    if is_held_out.all() or not is_held_out.any():
        count = "all" if is_held_out.all() else "none"
        raise UserError(f"holdout={share:g}: holds out {count} of {len(values)} samples; expected some of them")
    return Split(rows[~is_held_out], rows[is_held_out])
