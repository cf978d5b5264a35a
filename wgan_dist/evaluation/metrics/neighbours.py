"""Distances between images: to the nearest training image (memorisation), and between generated images (collapse)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.utils.errors import UserError

# The numbers of references that are compared at a time, which bounds memory for any size of the data set.
CHUNK_VALUES = 1 << 24


@dataclass(frozen=True)
class Neighbours:
    """The nearest reference of each sample: its Euclidean distance float64 [n] and its row int64 [n]."""

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]


def _flat(values: Tensor) -> Tensor:
    """Return float32 rows; pixels become values in [−1, 1]."""
    return to_network_inputs(values, torch.float32).flatten(1)


def _references(values: Any, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    return _flat(torch.from_numpy(np.asarray(values[rows])).to(device))


@torch.no_grad()
def nearest(samples: Tensor, values: Any, rows: NDArray[np.int64] | None = None) -> Neighbours:
    """Find the nearest of `values` [m, …], or of its `rows`, for each of `samples` [n, …] of the same shape.

    uint8 values are pixels, compared in [−1, 1]; floats, as features, are compared as they are. `values`, an array or
    a `ScaledPixels`, may be memory mapped: it is read in parts. Indices are rows of `values`; of equal distances the
    first row counts. The nearest is found in float32, and its distance is computed in float64.

    Raises:
        ValueError: If there are no values.
    """
    flat = _flat(samples)
    rows = np.arange(len(values)) if rows is None else rows
    if not len(rows):
        raise ValueError("no values to compare with")
    best = torch.full((len(flat),), torch.inf, device=flat.device)
    positions = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    size = max(1, CHUNK_VALUES // max(1, max(flat.shape[1], len(flat))))
    for start in range(0, len(rows), size):
        references = _references(values, rows[start : start + size], flat.device)
        # |a − b|² − |a|² has the same order as the distance.
        smallest = torch.addmm(references.square().sum(1), flat, references.T, alpha=-2.0).min(1)
        positions = torch.where(smallest.values < best, smallest.indices + start, positions)
        best = torch.minimum(best, smallest.values)
    indices = rows[positions.cpu().numpy()]
    differences = flat.double() - _references(values, indices, flat.device).double()
    return Neighbours(differences.norm(dim=1).cpu().numpy(), indices)


@torch.no_grad()
def mean_pairwise_distance(samples: Tensor) -> float:
    """Return the mean Euclidean distance between two of `samples` [n, …]; 0 if all are equal.

    uint8 samples are pixels, compared in [−1, 1].

    Raises:
        UserError: For fewer than two samples.
    """
    if len(samples) < 2:
        raise UserError(f"diversity: {len(samples)} images: expected at least 2")
    return float(F.pdist(_flat(samples).double()).mean())
