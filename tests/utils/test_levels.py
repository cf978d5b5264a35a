"""Tests of the values of images in their source and in [−1, 1]."""

import numpy as np
import pytest
import torch

from export.sampler import ImageValues, to_uint8
from wgan_dist.utils.images import from_uint8
from wgan_dist.utils.levels import EIGHT_BITS, Levels, full_range

NARROW = Levels("uint16", (0.0,), (3315.0,))
FIELD = Levels("float32", (-2.0, 0.5), (6.0, 1.5))


def test_eight_bits_are_scaled_as_training_scales_them() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_allclose(EIGHT_BITS.scale(pixels), from_uint8(torch.from_numpy(pixels), torch.float32), atol=1e-7)
    assert np.array_equal(EIGHT_BITS.restore(EIGHT_BITS.scale(pixels)), pixels)


def test_every_level_of_sixteen_bits_comes_back() -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(1, 1, 256, 256)
    for levels in (full_range("uint16"), NARROW):
        kept = values if levels is not NARROW else values.clip(0, 3315)
        assert np.array_equal(levels.restore(levels.scale(values)), kept)


def test_levels_become_minus_one_and_one_in_each_channel() -> None:
    values = np.array([[-2.0, 2.0, 6.0], [0.5, 1.0, 1.5]], np.float32).reshape(1, 2, 1, 3)
    np.testing.assert_allclose(FIELD.scale(values), [[[[-1, 0, 1]], [[-1, 0, 1]]]], atol=1e-7)
    np.testing.assert_allclose(FIELD.restore(FIELD.scale(values)), values, rtol=1e-6)
    beyond = np.array([[-9.0], [9.0]], np.float32).reshape(1, 2, 1, 1)
    assert FIELD.scale(beyond).ravel().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("levels", [EIGHT_BITS, NARROW, full_range("uint16"), Levels("uint8", (10.0,), (90.0,)), FIELD])
def test_the_sampler_restores_the_same_values(levels: Levels) -> None:
    images = np.random.default_rng(0).uniform(-1.2, 1.2, (3, 2, 5, 4)).astype(np.float32)
    values = ImageValues(levels.dtype, levels.low, levels.high)
    assert values.is_eight_bit == levels.is_eight_bit
    found, expected = values.restore(images), levels.restore(images).transpose(0, 2, 3, 1)
    assert (found.dtype, found.shape) == (expected.dtype, (3, 5, 4, 2))
    np.testing.assert_allclose(found.astype(float), expected, atol=0 if levels.dtype == "uint16" else 1)
    picture = values.picture(found)
    assert picture.shape == (3, 5, 4, 1)
    assert np.abs(picture.astype(int) - to_uint8(images)[..., :1]).max() <= 1 + 255 // int(
        levels.high[0] - levels.low[0]
    )


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 4), (5, 3), (12, 3)])
def test_a_picture_shows_the_first_channels(channels: int, shown: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 3, channels), dtype=np.uint8)
    assert np.array_equal(ImageValues().picture(images), images[..., :shown])


@pytest.mark.parametrize(
    "levels",
    [
        Levels("int8", (0.0,), (1.0,)),
        Levels("uint16", (-1.0,), (5.0,)),
        Levels("uint16", (0.0,), (70_000.0,)),
        Levels("float32", (1.0,), (1.0,)),
        Levels("float32", (float("nan"),), (1.0,)),
        Levels("float32", (0.0,), (float("inf"),)),
        Levels("float32", (0.0, 0.0), (1.0, 1.0)),
        Levels("float32", (0.0,), (1.0, 1.0, 1.0)),
    ],
)
def test_levels_that_no_data_have_are_refused(levels: Levels) -> None:
    with pytest.raises(ValueError, match="levels="):
        levels.check(3)
    Levels("float32", (0.0, 0.0, 0.0), (1.0, 1.0, 2.0)).check(3)
