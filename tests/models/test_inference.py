"""Samples for latent vectors equal those of the exported sampler, which has its own copy of these functions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from export import sampler
from wgan_dist.models.inference import BATCH_SIZE, generate, sample_latents


@given(st.integers(1, 30), st.integers(1, 9), st.sampled_from(["normal", "uniform"]), st.integers(0, 2**70))
def test_latents_equal_those_of_the_exported_sampler(count: int, dim: int, distribution: str, seed: int) -> None:
    ours = sample_latents(count, dim, distribution, seed)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, sampler.latents(count, dim, distribution, seed))


class Reshape(nn.Module):
    """Return z itself, as images of one pixel with two channels or as points."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self.shape)


@pytest.mark.parametrize("count", [1, BATCH_SIZE, BATCH_SIZE + 1])
def test_images_have_the_levels_of_the_exported_sampler(count: int) -> None:
    z = np.linspace(-1.2, 1.2, count * 6, dtype=np.float32).reshape(count, 6)
    images = generate(Reshape((2, 3, 1)), z)
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, sampler.to_uint8(z.reshape(count, 2, 3, 1)))


def test_points_are_returned_as_they_are() -> None:
    z = sample_latents(BATCH_SIZE + 1, 2, "normal", 3)
    np.testing.assert_array_equal(generate(Reshape((2,)), z), z)


def test_the_network_computes_in_float32() -> None:
    network = nn.Linear(2, 2).double()
    assert generate(network, sample_latents(3, 2, "normal", 0)).dtype == np.float32
    assert network.weight.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 1, 1), (2,)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(value: float, shape: tuple[int, ...]) -> None:
    z = sample_latents(BATCH_SIZE + 1, 2, "normal", 3)
    z[-1, 0] = value
    with pytest.raises(FloatingPointError, match="^its samples have values that are not finite$"):
        generate(Reshape(shape), z)
