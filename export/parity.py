"""Check that an exported file computes what its network computes, and write it only if it does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.network import Export
from export.settings import FP32, ExportSettings
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.utils import rng
from wgan_dist.utils.class_draws import draw_classes
from wgan_dist.utils.console import print_lines
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file

BATCH_SIZES = (1, 2, 5, 64)
# Rounding to uint8 turns the smallest difference into one level, but in few values.
UINT8_TOLERANCE = 1.0
UINT8_SHARE = 1e-3
# The peak of the signal-to-noise ratio: the range of float images in [−1, 1], and of uint8 images.
PEAK, UINT8_PEAK = 2.0, 255.0
# What people see of a difference, by the least peak signal-to-noise ratio in dB: at 40 dB the root of the mean squared
# difference is 2.6 of 255 levels, at 30 dB it is 8.1.
VISIBILITY = {40.0: "most people see no difference", 30.0: "a difference is visible side by side"}
CLEARLY_VISIBLE = "the difference is clearly visible"
# The distribution of a file's images counts as kept if their distance to other images is at most this multiple of that
# of the network's own images.
KEPT_DISTRIBUTION = 1.1
# The number of images of each side whose distributions are compared, and the batch size that computes them.
COMPARED_IMAGES, COMPARED_BATCH_SIZE = 256, 64

Samples = NDArray[np.generic]
# The inputs of a network by their names: z float32 [n, latent_dim] and, with classes, label int64 [n].
Inputs = dict[str, NDArray[Any]]
# Computes samples from inputs.
Runner = Callable[[Inputs], Samples]


@dataclass(frozen=True)
class Comparison:
    """The difference between a file and its network.

    Attributes: difference (maximum absolute difference), share (largest share of differing values in a batch), mean
    (mean absolute difference), squared (mean squared difference), of_points. NaN, a wrong shape or a wrong type count
    as an infinite difference. The differences of points, which are unbounded, are relative to the greatest absolute
    value of the batch where that is more than 1.
    """

    difference: float
    share: float
    mean: float
    squared: float
    of_points: bool = False

    def text(self, uint8: bool) -> str:
        """Return the maximum difference in words."""
        unit = f"levels of 255, in {self.share:.3%} of the values," if uint8 else "in images of [-1, 1]"
        if self.of_points:
            unit = "in points, relative to the greatest value if that is more than 1,"
        return f"maximum difference {self.difference:.3g} {unit} at batch sizes {', '.join(map(str, BATCH_SIZES))}"


def drawn_inputs(description: Description, stream: str, counter: int, count: int) -> Inputs:
    """Return inputs for `count` samples: latents of a stream and, with classes, labels by the shares of the classes."""
    shape = (count, description.latent_dim)
    z = rng.latent(description.latent_distribution, 0, f"{stream}.z", counter, shape).astype(np.float32)
    if not description.classes:
        return {"z": z}
    uniform = rng.uniform(0, f"{stream}.label", counter, (count,))
    return {"z": z, "label": draw_classes(uniform, np.array(description.class_shares))}


def _inputs_of_every_class(description: Description, counter: int, batch_size: int) -> Iterator[Inputs]:
    """Yield batches of one size in which every class occurs; without classes, one batch."""
    classes = len(description.classes)
    for start in range(0, max(1, classes), batch_size):
        inputs = drawn_inputs(description, "parity", counter + start, batch_size)
        yield inputs | ({"label": np.arange(start, start + batch_size) % classes} if classes else {})


def torch_runner(network: Callable[..., torch.Tensor]) -> Runner:
    """Return the runner of a function of tensors, which takes the inputs in their order."""
    return lambda inputs: torch.no_grad()(network)(*map(torch.from_numpy, inputs.values())).numpy()


def compare(export: Export, run: Runner) -> Comparison:
    """Compare `run` with the network at batches of 1, 2, 5 and 64 latents, and at each with every class."""
    difference, share, total, squared, count = 0.0, 0.0, 0.0, 0.0, 0
    description = export.source.description
    for counter, batch_size in enumerate(BATCH_SIZES):
        for inputs in _inputs_of_every_class(description, counter, batch_size):
            expected, found = torch_runner(export.original)(inputs), run(inputs)
            if found.shape != expected.shape or found.dtype != expected.dtype:
                return Comparison(float("inf"), 1.0, float("inf"), float("inf"))
            differences = np.nan_to_num(np.abs(found.astype(np.float64) - expected.astype(np.float64)), nan=np.inf)
            if description.makes_points:
                differences /= max(1.0, float(np.abs(expected).max()))
            difference, share = max(difference, float(differences.max())), max(share, float((differences > 0).mean()))
            total, squared = total + float(differences.sum()), squared + float(np.square(differences).sum())
            count += differences.size
    return Comparison(difference, share, total / count, squared / count, description.makes_points)


def check_difference(export: Export, run: Runner, tolerance: float, uint8: bool) -> str:
    """Return the maximum difference in words; raise UserError if it exceeds `tolerance`.

    uint8 images may differ by one level instead, in at most 0.1 % of the values.
    """
    found, allowed = compare(export, run), UINT8_TOLERANCE if uint8 else tolerance
    if found.difference > allowed or (uint8 and found.share > UINT8_SHARE):
        raise UserError(f"{export.out} not written: {found.text(uint8)}; tolerance={allowed:g}")
    return found.text(uint8)


def _float_images(images: Samples) -> torch.Tensor:
    """Return images of any layout as float32 [n, c, h, w] in [−1, 1]."""
    if images.dtype != np.uint8:
        return torch.from_numpy(images)
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / (UINT8_PEAK / 2) - 1.0)


def _compare_distributions(export: Export, run: Runner) -> tuple[float, float] | None:
    """Return how far the distribution of the file's images is from that of the network's, and the value to expect.

    The sliced Wasserstein distance needs no pretrained weights. It is measured to a set of other images of the network,
    for the file's images and, as the value to expect, for the network's images of the same latents.
    """
    count = COMPARED_IMAGES // COMPARED_BATCH_SIZE

    def images(runner: Runner, batches: range) -> torch.Tensor:
        about = export.source.description
        inputs = (drawn_inputs(about, "likeness", number, COMPARED_BATCH_SIZE) for number in batches)
        return torch.cat([_float_images(runner(each)) for each in inputs])

    network = torch_runner(export.original)
    reference = Reference.of(images(network, range(count)))
    of_network, of_file = (reference.distance(images(each, range(count, 2 * count))) for each in (network, run))
    return of_file, of_network


def verdict(psnr: float, levels: float, distances: tuple[float, float] | None) -> str:
    """Return in a sentence what a difference from the network means to a person who looks at the images.

    Args:
        psnr: The peak signal-to-noise ratio in dB.
        levels: The mean absolute difference in levels of 255.
        distances: The distance of the file's images to other images of the network, and that of the network's own.
    """
    seen = next((words for least, words in VISIBILITY.items() if psnr >= least), CLEARLY_VISIBLE)
    shown = f"{levels:.2g}" if levels < 10 else f"{levels:.0f}"
    text = f"verdict: the images differ from the network's by {shown} of 255 levels on average: {seen}"
    if distances is None:
        return text
    of_file, of_network = distances
    kept = "keep" if of_file <= KEPT_DISTRIBUTION * of_network else "do not keep"
    return f"{text}; as a set they {kept} the distribution of the network's images"


def _distances_text(distances: tuple[float, float] | None) -> str:
    name = f"sliced Wasserstein distance × 10³ to {COMPARED_IMAGES} other images of the network"
    return "; {}: {:.3g}, of the network's own images: {:.3g}".format(name, *distances) if distances else ""


def check_psnr(export: Export, run: Runner, minimum: float, uint8: bool) -> str:
    """Return in words how near a file of lower precision is to the network.

    The words are the peak signal-to-noise ratio 10 log₁₀(peak² / mean squared difference) in dB, the maximum
    difference, the change in distribution and, on a line of its own, a verdict that needs no knowledge of these.

    Raises UserError if the ratio is below `minimum`.
    """
    found = compare(export, run)
    with np.errstate(divide="ignore"):
        psnr = 10.0 * float(np.log10(np.divide((UINT8_PEAK if uint8 else PEAK) ** 2, found.squared)))
    text = f"PSNR {psnr:.1f} dB, {found.text(uint8)}"
    if not psnr >= minimum:
        raise UserError(f"{export.out} not written: {text}; psnr={minimum:g}")
    distances = _compare_distributions(export, run)
    levels = found.mean * (1.0 if uint8 else UINT8_PEAK / PEAK)
    return f"{text}{_distances_text(distances)}\n{verdict(psnr, levels, distances)}"


def check_parity(export: Export, run: Runner, settings: ExportSettings) -> str:
    """Return in words how near a file is to its network; raise UserError if it is not as near as the settings ask."""
    if settings.precision == FP32:
        return check_difference(export, run, settings.tolerance, settings.uint8)
    return check_psnr(export, run, settings.psnr, settings.uint8)


def print_written(out: Path | str, text: str) -> None:
    """Print the name of what was written, then the text of `check_parity`, which may have a second line."""
    first, *others = text.split("\n")
    print_lines([f"{out}: {first}", *others])


def write_checked(export: Export, content: bytes, open_file: Callable[[Path], Runner], settings: ExportSettings) -> str:
    """Write a file, open it again with `open_file`, and return in words how near it is to its network.

    Raises UserError, and leaves no file, if it is not as near as the settings ask.
    """
    with atomic_file(export.out) as partial:
        partial.write_bytes(content)
        return check_parity(export, open_file(partial), settings)
