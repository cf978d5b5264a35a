"""The distance, held against scipy's one-dimensional one; an inverse of the pyramid; rising disturbances."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.datasets import load_digits
from torch import Tensor

from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference, laplacian_pyramid, patch_corners
from wgan_dist.utils import rng


@functools.cache
def digits() -> Tensor:
    """Return real handwritten digits, 64×64 in [−1, 1]."""
    pixels = torch.as_tensor(load_digits().images[:128] / 8.0 - 1.0, dtype=torch.float32)
    return F.interpolate(pixels[:, None], size=64, mode="bilinear")


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    x = torch.arange(-12, 13)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(images, (12, 12, 12, 12), "reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def upsample_axis(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Double an axis by Burt and Adelson's expansion: (1 6 1)/8 at even positions, (1 1)/2 at odd ones."""
    values = np.moveaxis(values, axis, 0)
    before = np.concatenate([values[1:2], values[:-1]])  # mirrored at the first value
    after = np.concatenate([values[1:], values[-1:]])  # and at the zero behind the last one
    result = np.empty((2 * len(values), *values.shape[1:]))
    result[0::2] = (before + 6 * values + after) / 8
    result[1::2] = (values + after) / 2
    return np.moveaxis(result, 0, axis)


def test_the_pyramid_can_be_put_together_again() -> None:
    images = draw(2, 3, 64, 64)
    *bands, rest = (band.numpy() for band in laplacian_pyramid(images))
    for band in reversed(bands):
        rest = band + upsample_axis(upsample_axis(rest, 2), 3)
    np.testing.assert_allclose(rest, images.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("size", "sizes"), [(16, [16]), (28, [28]), (32, [32, 16]), (128, [128, 64, 32, 16]), (7, [7]), (50, [50, 25])]
)
def test_the_pyramid_has_a_band_per_octave_down_to_16_pixels(size: int, sizes: list[int]) -> None:
    assert [band.shape[-1] for band in laplacian_pyramid(draw(1, 1, size, size))] == sizes


def test_an_even_surface_has_no_detail() -> None:
    *details, rest = laplacian_pyramid(torch.full((1, 1, 64, 64), 0.7))
    assert max(band.abs().max().item() for band in details) < 1e-6
    torch.testing.assert_close(rest, torch.full((1, 1, 16, 16), 0.7))


def test_each_band_holds_its_own_octave_of_frequencies() -> None:
    # A checkerboard of single pixels is all in the finest band, a slow wave all in what is left.
    position = torch.arange(64.0)
    finest = torch.outer((-1.0) ** position, (-1.0) ** position)[None, None]
    slow = torch.cos(2 * torch.pi * position / 64).expand(1, 1, 64, 64)
    energies = [[float(band.square().mean()) for band in laplacian_pyramid(images)] for images in (finest, slow)]
    assert energies[0][0] > 0.99 * sum(energies[0])
    assert energies[1][-1] > 0.99 * sum(energies[1])


def test_one_level_of_one_patch_is_scipys_distance_over_the_directions() -> None:
    # In 7×7 images there is one place for a 7×7 patch, and one level: no other random choice than the directions.
    real, fake = draw(20, 1, 7, 7, seed=1), draw(20, 1, 7, 7, seed=2) ** 3
    directions = rng.normal(0, "swd.directions", 0, (49, 256))
    directions /= np.linalg.norm(directions, axis=0)
    projected = []
    for images in (real.numpy(), fake.numpy()):
        flat = (images - images.mean()) / images.std()
        projected.append(flat.reshape(20, 49) @ directions)
    pairs = zip(projected[0].T, projected[1].T, strict=True)
    expected = np.mean([wasserstein_distance(ours, theirs) for ours, theirs in pairs])
    # 1e-4: the deviation there is of the sample, here of the population.
    assert Reference.of(real).distance(fake) == pytest.approx(1e3 * expected, rel=1e-4)


def test_the_distance_is_the_mean_over_levels_and_directions() -> None:
    real, fake = Reference.of(draw(4, 1, 32, 32, seed=1)), draw(4, 1, 32, 32, seed=2) ** 3
    levels = list(zip(real.projections, Reference.of(fake).projections, strict=True))
    columns = [pair for ours, theirs in levels for pair in zip(ours.numpy(), theirs.numpy(), strict=True)]
    assert len(columns) == 2 * 256
    expected = np.mean([wasserstein_distance(ours, theirs) for ours, theirs in columns])
    assert real.distance(fake) == pytest.approx(1e3 * expected, rel=1e-9)


def test_colour_channels_are_normalised_each_by_itself() -> None:
    images = draw(20, 3, 7, 7)
    scale, shift = torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1), torch.tensor([-5.0, 0.0, 5.0]).view(3, 1, 1)
    assert Reference.of(images).distance(scale * images + shift) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("column", [0, -1])
def test_patches_reach_every_corner_of_the_images(row: int, column: int) -> None:
    images = draw(20, 1, 16, 16)
    spotted = images.clone()
    spotted[:, :, row, column] = 5.0
    assert Reference.of(images).distance(spotted) > 1e-3


def test_equal_sets_are_at_distance_zero() -> None:
    assert Reference.of(digits()).distance(digits().clone()) == 0.0


def test_the_order_of_the_images_does_not_matter() -> None:
    images, other = digits(), draw(*digits().shape).float()
    assert Reference.of(images).distance(images.flip(0)) == 0.0
    assert Reference.of(images).distance(other.flip(0)) == Reference.of(images.flip(0)).distance(other)


def test_nearly_equal_sets_are_near() -> None:
    """One image of 128 is another one: the distance is a small part of that to other digits."""
    images = digits().clone()
    images[0] = images[1]
    assert 0.0 < Reference.of(digits()).distance(images) < 0.1 * Reference.of(digits()[:64]).distance(digits()[64:])


@pytest.mark.parametrize("size", [7, 16, 64])
def test_every_pixel_is_likely_to_be_in_a_patch(size: int) -> None:
    covered = np.zeros((size, size))
    for group in range(400):
        for row, column in patch_corners((size, size), 0, group).tolist():
            covered[row : row + 7, column : column + 7] += 1
    expected = 400 * 32 * (7 / (size + 6)) ** 2  # a patch in any of 7 rows of size + 6, and as many columns
    assert covered.min() > expected - 6 * expected**0.5


def test_the_distance_is_symmetric() -> None:
    real, fake = digits()[:64], digits()[64:]
    assert Reference.of(real).distance(fake) == pytest.approx(Reference.of(fake).distance(real), rel=1e-6)
    assert Reference.of(real).distance(fake) > 1.0


def test_the_distance_grows_with_blur() -> None:
    reference = Reference.of(digits())
    distances = [reference.distance(gaussian_blur(digits(), sigma)) for sigma in (0.5, 1.0, 2.0, 3.0)]
    assert distances[0] > 0.0
    assert distances == sorted(distances)


def test_the_distance_grows_with_noise() -> None:
    reference, disturbance = Reference.of(digits()), draw(*digits().shape).float()
    distances = [reference.distance(digits() + sigma * disturbance) for sigma in (0.01, 0.03, 0.1, 0.3, 1.0)]
    assert distances[0] > 0.0
    assert distances == sorted(distances)


def test_another_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="64 images and 128 reference images"):
        Reference.of(digits()).distance(digits()[:64])
