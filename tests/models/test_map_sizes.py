"""Tests of the sizes of feature maps."""

import math

import pytest
import torch

from wgan_dist.models.map_sizes import MapSizes, doublings


@pytest.mark.parametrize("height", range(8, 200, 7))
def test_the_smallest_map_has_an_area_of_about_16_pixels(height: int) -> None:
    for width in range(8, 200, 5):
        exact = math.log2(math.sqrt(height * width) / 4)
        assert abs(doublings((height, width)) - exact) <= 0.5 or (doublings((height, width)), exact < 1) == (1, True)


@pytest.mark.parametrize(
    ("size", "factor", "smallest", "margins"),
    [
        ((64, 64), 16, (4, 4), (0, 0, 0, 0)),
        ((28, 28), 16, (2, 2), (2, 2, 2, 2)),  # as the published networks for MNIST that compute at 32×32
        ((100, 20), 8, (13, 3), (2, 2, 2, 2)),
        ((17, 23), 4, (5, 6), (0, 1, 1, 2)),
    ],
)
def test_an_image_is_in_the_middle_of_the_size_at_which_a_network_computes(
    size: tuple[int, int], factor: int, smallest: tuple[int, int], margins: tuple[int, int, int, int]
) -> None:
    sizes = MapSizes(size, factor)
    assert (sizes.smallest, sizes.margins) == (smallest, margins)
    images = torch.rand(2, 3, *size)
    padded = sizes.pad(images)
    assert padded.shape == (2, 3, factor * smallest[0], factor * smallest[1])
    assert torch.equal(sizes.crop(padded), images)
    assert float(padded.sum()) == pytest.approx(float(images.sum()))  # nothing but zeros around it
