"""Which samples are kept from training, to tell what was learnt from what was learnt by heart."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils.errors import UserError

# Samples read at a time, whatever the size of the set.
CHUNK = 1024
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The rows of a set that are trained on, and those that never are; both in the order of the set."""

    training: Rows
    held_out: Rows


def _place(sample: NDArray[Any]) -> float:
    """Of a sample's content, in [0, 1): equal samples have the same."""
    return int.from_bytes(hashlib.sha256(sample.tobytes()).digest()[:8], "little") / 2**64


def split(values: NDArray[Any], share: float) -> Split:
    """Hold out about `share` of `values` [n, …], chosen by their content alone: not by order, name or seed.

    Equal samples stay together, and a set that grows keeps its choice. Raises UserError when nothing is held out
    though something was to be, or when everything is.
    """
    everything = np.arange(len(values))
    if not share:
        return Split(everything, everything[:0])
    parts = (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
    out = np.array([_place(sample) < share for part in parts for sample in part])
    if out.all() or not out.any():
        held = "all" if out.all() else "none"
        raise UserError(f"holdout={share:g}: holds out {held} of {len(values)} samples; expected some of them")
    return Split(everything[~out], everything[out])
