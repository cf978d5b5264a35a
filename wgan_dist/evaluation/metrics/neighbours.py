"""Nearest training images of generated ones (memorisation), and how far generated ones are apart (collapse)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data import as_inputs
from wgan_dist.utils.errors import UserError

# References compared at a time; bounds memory, whatever the size of the set.
CHUNK_VALUES = 1 << 24


@dataclass(frozen=True)
class Neighbours:
    """Of each sample, the nearest reference: Euclidean distance float64 [n], and its row int64 [n]."""

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]


def _rows(values: Tensor) -> Tensor:
    """Flat float32 rows; pixels as a critic sees them, in [−1, 1]."""
    return as_inputs(values, torch.float32).flatten(1)


def _chunk(values: NDArray[Any], indices: NDArray[np.int64] | slice, like: Tensor) -> Tensor:
    return _rows(torch.from_numpy(np.asarray(values[indices])).to(like.device))


def _distances(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    differences: Tensor = (first.double() - second.double()).norm(dim=1)
    return differences.cpu().numpy()


@torch.no_grad()
def nearest(samples: Tensor, values: NDArray[Any], rows: NDArray[np.int64] | None = None) -> Neighbours:
    """The nearest of `values` [m, …], or of those in `rows`, to each of `samples` [n, …] of the same shape.

    uint8 on either side is pixels and taken in [−1, 1]; floats, as features, are taken as they are. `values` may be
    mapped from a file: a part at a time is read. Indices are into `values`; of equal distances the first counts.
    Distances are exact in float64; which one is nearest is found in float32. Raises ValueError for no values.
    """
    ours = _rows(samples)
    rows = np.arange(len(values)) if rows is None else rows
    if not len(rows):
        raise ValueError("no values to be near to")
    best = torch.full((len(ours),), torch.inf, device=ours.device)
    place = torch.zeros(len(ours), dtype=torch.int64, device=ours.device)
    size = max(1, CHUNK_VALUES // max(1, max(ours.shape[1], len(ours))))
    for start in range(0, len(rows), size):
        theirs = _chunk(values, rows[start : start + size], ours)
        # |a − b|² − |a|², the same order as the distance.
        found = torch.addmm(theirs.square().sum(1), ours, theirs.T, alpha=-2.0).min(1)
        place = torch.where(found.values < best, found.indices + start, place)
        best = torch.minimum(best, found.values)
    indices = rows[place.cpu().numpy()]
    return Neighbours(_between(ours, values, indices), indices)


def _between(ours: Tensor, values: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distance of each of our rows to its own of `values`."""
    size = max(1, CHUNK_VALUES // max(1, ours.shape[1]))
    parts = [slice(start, start + size) for start in range(0, len(ours), size)]
    return np.concatenate(
        [np.zeros(0), *(_distances(ours[part], _chunk(values, indices[part], ours)) for part in parts)]
    )


@torch.no_grad()
def mean_pairwise_distance(samples: Tensor) -> float:
    """The mean Euclidean distance of two different ones of `samples` [n, …]; 0 where all are alike.

    uint8 is pixels and taken in [−1, 1]. Raises UserError for fewer than two samples.
    """
    rows = _rows(samples)
    if len(rows) < 2:
        raise UserError(f"diversity: {len(rows)} images: expected at least 2")
    return float(F.pdist(rows.double()).mean())
