"""The split of a data set into training samples and samples held out from training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wgan_dist.data.content import Hashes, tell_copies_apart
from wgan_dist.data.datasets import Dataset
from wgan_dist.data.labels import Labels
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

    Equal samples stay together. Without labels, samples keep their side when the data set grows. With labels, the share
    is that of each class, of which at least one sample is held out and at least one is kept.

    Raises:
        UserError: If all samples, or all of a class, are held out, or none although `share` is positive.
    """
    rows = np.arange(len(data))
    if not share:
        return Split(rows, rows[:0])
    if data.labels is None:
        is_held_out = data.hashes / 2**64 < share
        _check_parts(int(is_held_out.sum()), len(rows), share, "samples")
    else:
        is_held_out = _hold_out_of_classes(data.hashes, data.labels, share)
        held_out = data.labels.rows(np.flatnonzero(is_held_out)).counts()
        for name, some, of_class in zip(data.labels.classes, held_out, data.labels.counts(), strict=True):
            _check_parts(some, of_class, share, f"samples of the class {name!r}")
    return Split(rows[~is_held_out], rows[is_held_out])


def _check_parts(held_out: int, size: int, share: float, samples: str) -> None:
    """Raise UserError if all or none of `size` samples are held out."""
    if held_out in (0, size):
        count = "all" if held_out else "none"
        raise UserError(f"holdout={share:g}: holds out {count} of {size} {samples}; expected some of them")


def _hold_out_of_classes(hashes: Hashes, labels: Labels, share: float) -> NDArray[np.bool_]:
    """Return which samples are held out: those of the least hashes of each class, as many as the share of them.

    A sample is held out wherever one equal to it is, also in another class.
    """
    order = np.lexsort((hashes, labels.values))
    classes, sorted_hashes = labels.values[order], hashes[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(classes) != 0) | (sorted_hashes[1:] != sorted_hashes[:-1])
    classes, distinct = classes[is_first], sorted_hashes[is_first]
    sizes = np.bincount(classes, minlength=len(labels.classes))
    ranks = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held_out = np.clip(np.rint(share * sizes), 1, np.maximum(sizes - 1, 1))
    return np.isin(hashes, distinct[ranks < held_out[classes]])


def _mixed(hashes: Hashes, seed: int) -> Hashes:
    """Return other hashes for each seed, by the mixing function of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = hashes ^ rng.philox_key(seed, "choice", 0)[0]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def choose_rows(data: Dataset, rows: Rows, count: int, seed: int) -> Rows:
    """Choose `count` of the rows of a data set at random, or all of them in random order if there are fewer.

    The choice depends on the seed and on the samples' content, not on their order or names: of two copies of a data
    set in different orders the same samples are chosen. Fewer rows of the same seed are the first of more. Each copy of
    a sample is chosen by itself.
    """
    return rows[np.argsort(_mixed(tell_copies_apart(data.hashes[rows]), seed), kind="stable")[:count]]
