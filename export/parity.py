"""The proof that a graph file computes what the network computes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from export.graph import Export
from wgan_dist import noise
from wgan_dist.errors import UserError

BATCHES = (1, 2, 5, 64)
# Rounding to whole levels can turn the smallest difference into one level.
UINT8_TOLERANCE = 1.0

Runner = Callable[[NDArray[np.float32]], NDArray[np.generic]]


def greatest_difference(export: Export, run: Runner) -> float:
    """The greatest absolute difference between `run` and the network, over batches of 1, 2, 5 and 64 latents.

    NaN anywhere counts as infinite, a wrong shape or type too.
    """
    about, worst = export.source.description, 0.0
    for counter, batch in enumerate(BATCHES):
        drawn = noise.latent(about.latent_distribution, 0, "parity.z", counter, (batch, about.latent_dim))
        z = drawn.astype(np.float32)
        with torch.no_grad():
            expected = export.network(torch.from_numpy(z)).numpy()
        found = run(z)
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return float("inf")
        difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def prove(export: Export, run: Runner, tolerance: float, uint8: bool) -> str:
    """The words for how equal they are; raises UserError if they are not within `tolerance`."""
    allowed = UINT8_TOLERANCE if uint8 else tolerance
    unit = "levels of 255" if uint8 else "in images of [-1, 1]"
    difference = greatest_difference(export, run)
    words = f"greatest difference {difference:.3g} {unit} at batches {', '.join(map(str, BATCHES))}"
    if not difference <= allowed:
        raise UserError(f"{export.out} not written: {words}; tolerance={allowed:g}")
    return words
