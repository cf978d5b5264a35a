"""The proof that a graph file computes what the network computes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.network import FP32, Export, ExportSettings
from wgan_dist.evaluation.metrics.sliced_wasserstein import PATCH, Reference
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

BATCHES = (1, 2, 5, 64)
# Rounding to whole levels turns the smallest difference into one level, and does so to few values.
UINT8_TOLERANCE = 1.0
UINT8_SHARE = 1e-3
# The distance between the least and the greatest value of an image, in [−1, 1] and as levels.
PEAK, UINT8_PEAK = 2.0, 255.0
# Images of each side whose distributions are compared, in batches.
COMPARED, COMPARED_BATCH = 256, 64

Runner = Callable[[NDArray[np.float32]], NDArray[np.generic]]
ImageDataset = NDArray[np.generic]


@dataclass(frozen=True)
class Comparison:
    """A file against the network: the greatest difference, the greatest share of values in a batch that differ, and
    the mean of all squared differences; infinite where there are NaN, a wrong shape or a wrong type."""

    difference: float
    share: float
    squared: float


WRONG = Comparison(float("inf"), 1.0, float("inf"))


def _latents(export: Export, stream: str, counter: int, count: int) -> NDArray[np.float32]:
    about = export.source.description
    return rng.latent(about.latent_distribution, 0, stream, counter, (count, about.latent_dim)).astype(np.float32)


def _network_images(export: Export, z: NDArray[np.float32]) -> ImageDataset:
    with torch.no_grad():
        images: ImageDataset = export.original(torch.from_numpy(z)).numpy()
    return images


def _batches() -> str:
    return ", ".join(map(str, BATCHES))


def _compare(export: Export, run: Runner) -> Comparison:
    worst, share, squares = 0.0, 0.0, []
    for counter, batch in enumerate(BATCHES):
        z = _latents(export, "parity.z", counter, batch)
        expected, found = _network_images(export, z), run(z)
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return WRONG
        differences = np.nan_to_num(np.abs(found.astype(np.float64) - expected.astype(np.float64)), nan=np.inf)
        worst, share = max(worst, float(differences.max())), max(share, float((differences > 0).mean()))
        squares.append(np.square(differences).ravel())
    return Comparison(worst, share, float(np.concatenate(squares).mean()))


def compare(export: Export, run: Runner) -> tuple[float, float]:
    """`run` against the network at batches of 1, 2, 5 and 64 latents: the greatest absolute difference, and the
    greatest share of values in a batch that differ.

    NaN anywhere counts as infinite, a wrong shape or type too.
    """
    found = _compare(export, run)
    return found.difference, found.share


def prove(export: Export, run: Runner, tolerance: float, uint8: bool) -> str:
    """The words for how equal they are; raises UserError if they are not within `tolerance`.

    uint8 images may differ by one level, in at most 0.1 % of the values.
    """
    difference, share = compare(export, run)
    allowed, unit = tolerance, "in images of [-1, 1]"
    if uint8:
        allowed, unit = UINT8_TOLERANCE, f"levels of 255, in {share:.3%} of the values,"
    words = f"greatest difference {difference:.3g} {unit} at batches {_batches()}"
    if difference > allowed or (uint8 and share > UINT8_SHARE):
        raise UserError(f"{export.out} not written: {words}; tolerance={allowed:g}")
    return words


def _as_images(images: ImageDataset) -> torch.Tensor:
    """Whatever the form, float32 [n, c, h, w] in [−1, 1]."""
    if images.dtype != np.uint8:
        return torch.from_numpy(images)
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / (UINT8_PEAK / 2) - 1.0)


def _drawn(export: Export, run: Runner, counters: range) -> torch.Tensor:
    batches: Iterator[ImageDataset] = (run(_latents(export, "likeness.z", each, COMPARED_BATCH)) for each in counters)
    return torch.cat([_as_images(images) for images in batches])


def _likeness(export: Export, run: Runner) -> str:
    """How much the distribution of the file's images differs from the network's, in words.

    By the sliced Wasserstein distance, which needs no trained weights, to other images of the network: of the file's
    images and, of the same latents, of the network's.
    """
    if export.source.description.image_size < PATCH:
        return ""
    count = COMPARED // COMPARED_BATCH

    def original(z: NDArray[np.float32]) -> ImageDataset:
        return _network_images(export, z)

    reference = Reference.of(_drawn(export, original, range(count)))
    theirs, ours = (_drawn(export, each, range(count, 2 * count)) for each in (original, run))
    before, after = reference.distance(theirs), reference.distance(ours)
    name = f"sliced Wasserstein distance × 10³ to {COMPARED} other images of the network"
    return f"; {name} {after:.3g}, of its own {before:.3g}"


def prove_near(export: Export, run: Runner, least: float, uint8: bool) -> str:
    """The words for how near a file of lower precision is: the peak signal-to-noise ratio 10 log₁₀(peak² / mean
    squared difference) in dB, the greatest difference, and what it does to the distribution of images.

    Raises UserError if the ratio is below `least`.
    """
    found, peak = _compare(export, run), UINT8_PEAK if uint8 else PEAK
    with np.errstate(divide="ignore"):
        ratio = 10.0 * float(np.log10(np.divide(peak**2, found.squared)))
    unit = "levels of 255" if uint8 else "in images of [-1, 1]"
    words = f"PSNR {ratio:.1f} dB, greatest difference {found.difference:.3g} {unit} at batches {_batches()}"
    if not ratio >= least:
        raise UserError(f"{export.out} not written: {words}; psnr={least:g}")
    return words + _likeness(export, run)


def proof_of(export: Export, run: Runner, settings: ExportSettings) -> str:
    """The words for how a file keeps to its network, as the settings ask; raises UserError if it does not."""
    if settings.precision == FP32:
        return prove(export, run, settings.tolerance, settings.uint8)
    return prove_near(export, run, settings.psnr, settings.uint8)
