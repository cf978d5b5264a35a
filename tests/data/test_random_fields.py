"""The drawn fields have the power spectrum that they are said to have, and are a data set like others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.random_fields import COUNT, SIDE, power_spectrum, random_fields
from wgan_dist.evaluation.metrics.power_spectrum import radial_spectrum, wave_numbers
from wgan_dist.utils.levels import Levels

# The smallest p-value of a hundred tests of true hypotheses is below this once in ten thousand.
RARE = 1e-6
FIELDS = 256


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    return random_fields(FIELDS).astype(np.float64)


def test_the_spectrum_falls_with_the_third_power_and_has_unit_variance() -> None:
    power = power_spectrum()
    assert power.shape == (SIDE, SIDE)
    assert (power[0, 0], power.mean()) == (0.0, pytest.approx(1.0))
    assert power[0, 1] == power[0, 2] == power[2, -3] == power[4, 0]
    assert power[0, 4] / power[0, 8] == pytest.approx(8.0)
    assert power[3, 4] / power[-6, 8] == pytest.approx(8.0)
    assert power[5, 0] / power[0, 32] == pytest.approx(6.4**3)


def test_the_power_of_every_wave_number_is_chi_square(fields: np.ndarray) -> None:
    """Each pair of opposite waves of a field adds two squares of Gaussians; lone waves, along the edges, add one."""
    power, expected = (np.abs(np.fft.fft2(fields)) ** 2).sum(0) / SIDE**2, power_spectrum()
    numbers = wave_numbers(SIDE, SIDE).numpy()
    waves = [(numbers == number) & (expected > 0) for number in range(1, SIDE // 2)]
    p_values = []
    for ring in waves:
        total, freedom = (power[ring] / expected[ring]).sum(), FIELDS * ring.sum()
        p_values += [chi2.cdf(total, freedom), chi2.sf(total, freedom)]
    assert min(p_values) > RARE


def test_the_radial_spectrum_is_the_known_one(fields: np.ndarray) -> None:
    found = radial_spectrum(torch.from_numpy(fields[:, None])).numpy()[0]
    numbers, expected = wave_numbers(SIDE, SIDE).numpy(), power_spectrum()
    for number in range(1, SIDE // 2 + 1):
        ring = expected[numbers == number]
        # An independent variable for each pair of waves; its variance is the square of its mean.
        deviation = np.sqrt(2.0 * (ring**2).sum() / FIELDS) / len(ring)
        assert found[number - 1] == pytest.approx(ring.mean(), abs=5 * deviation)


def test_pixels_are_gaussian_of_mean_0_and_variance_1(fields: np.ndarray) -> None:
    assert np.abs(fields.mean(axis=(1, 2))).max() < 1e-6
    assert kstest(fields[:, 0, 0], "norm").pvalue > RARE
    assert kstest(fields[:, 40, 17], "norm").pvalue > RARE


def test_fields_are_the_same_at_every_call_and_differ_from_one_another(fields: np.ndarray) -> None:
    assert random_fields(2, 1).dtype == np.float32
    assert (random_fields(2, 1) == fields[1:3]).all()
    assert len(np.unique(fields[:, 0, 0])) == FIELDS


def test_they_are_a_data_set_of_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgan_dist.data.sources.random_field.COUNT", 20)
    (tmp_path / "random_field").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of the same name does not replace the built-in data
    images = open_images(("random_field",), ImageSettings(square(SIDE)), str(tmp_path / "cache"))
    assert isinstance(images, ImageDataset)
    assert (images.name, images.shape, len(images)) == ("random_field", (1, SIDE, SIDE), 20)
    assert (np.asarray(images.pixels) == random_fields(20)[:, None]).all()
    fields = random_fields(20)
    assert images.levels == Levels("float32", (float(fields.min()),), (float(fields.max()),))
    assert COUNT == 4096
