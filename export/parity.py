"""The proof that a graph file computes what the network computes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from export.graph import Export
from wgan_dist import noise
from wgan_dist.errors import UserError

BATCHES = (1, 2, 5, 64)
# Rounding to whole levels turns the smallest difference into one level, and does so to few values.
UINT8_TOLERANCE = 1.0
UINT8_SHARE = 1e-3

Runner = Callable[[NDArray[np.float32]], NDArray[np.generic]]


def compare(export: Export, run: Runner) -> tuple[float, float]:
    """`run` against the network at batches of 1, 2, 5 and 64 latents: the greatest absolute difference, and the
    greatest share of values in a batch that differ.

    NaN anywhere counts as infinite, a wrong shape or type too.
    """
    about, worst, share = export.source.description, 0.0, 0.0
    for counter, batch in enumerate(BATCHES):
        drawn = noise.latent(about.latent_distribution, 0, "parity.z", counter, (batch, about.latent_dim))
        z = drawn.astype(np.float32)
        with torch.no_grad():
            expected = export.original(torch.from_numpy(z)).numpy()
        found = run(z)
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return float("inf"), 1.0
        differences = np.nan_to_num(np.abs(found.astype(np.float64) - expected.astype(np.float64)), nan=np.inf)
        worst, share = max(worst, float(differences.max())), max(share, float((differences > 0).mean()))
    return worst, share


def prove(export: Export, run: Runner, tolerance: float, uint8: bool) -> str:
    """The words for how equal they are; raises UserError if they are not within `tolerance`.

    uint8 images may differ by one level, in at most 0.1 % of the values.
    """
    difference, share = compare(export, run)
    allowed, unit = tolerance, "in images of [-1, 1]"
    if uint8:
        allowed, unit = UINT8_TOLERANCE, f"levels of 255, in {share:.3%} of the values,"
    words = f"greatest difference {difference:.3g} {unit} at batches {', '.join(map(str, BATCHES))}"
    if difference > allowed or (uint8 and share > UINT8_SHARE):
        raise UserError(f"{export.out} not written: {words}; tolerance={allowed:g}")
    return words
