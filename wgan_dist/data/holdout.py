"""The split of a data set into training samples and samples held out from training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wgan_dist.data.content import Hashes
from wgan_dist.data.datasets import Dataset
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The row numbers of the training samples and of the samples held out, both in the order of the data set."""

    training: Rows
    held_out: Rows


def split_holdout(data: Dataset, share: float) -> Split:
    """Hold out about `share` of a data set, chosen by the samples' content and not by order, name or seed.

    Equal samples stay together, and samples keep their side when the data set grows.

    Raises:
        UserError: If all samples are held out, or none although `share` is positive.
    """
    rows = np.arange(len(data))
    if not share:
        return Split(rows, rows[:0])
    is_held_out = data.hashes / 2**64 < share
    if is_held_out.all() or not is_held_out.any():
        count = "all" if is_held_out.all() else "none"
        raise UserError(f"holdout={share:g}: holds out {count} of {len(data)} samples; expected some of them")
    return Split(rows[~is_held_out], rows[is_held_out])


def _mixed(hashes: Hashes, seed: int) -> Hashes:
    """Return other hashes for each seed, by the mixing function of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = hashes ^ rng.philox_key(seed, "choice", 0)[0]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def choose_rows(data: Dataset, rows: Rows, count: int, seed: int) -> Rows:
    """Choose `count` of the rows of a data set at random, or all of them in random order if there are fewer.

    The choice depends on the seed and on the samples' content, not on their order or names: of two copies of a data
    set in different orders the same samples are chosen. Fewer rows of the same seed are the first of more.
    """
    return rows[np.argsort(_mixed(data.hashes[rows], seed), kind="stable")[:count]]
