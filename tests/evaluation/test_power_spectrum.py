"""The spectrum of sets whose power is known, and the error in the cases that have a closed form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.test_evaluator import Source, of_images
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.evaluation.metrics.power_spectrum import radial_spectrum, spectrum_error, wave_numbers
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import Levels

FLOATS = Levels("float32", (-4.0,), (4.0,))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plane_wave(height: int, width: int, rows: int, columns: int) -> Tensor:
    """Return one image of the cosine with so many cycles along its rows and columns, [1, 1, height, width]."""
    y, x = (torch.arange(side, dtype=torch.float64) / side for side in (height, width))
    return torch.cos(2 * np.pi * (rows * y[:, None] + columns * x[None]) + 0.4)[None, None]


def error(generated: Tensor, real: Tensor) -> float:
    return spectrum_error(radial_spectrum(generated), radial_spectrum(real))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20), (15, 9)])
def test_white_noise_has_its_variance_in_every_ring(height: int, width: int) -> None:
    """The m waves of a ring are pairs of equal, exponential power: its mean is one of 400 · m / 2 variables."""
    spectrum = radial_spectrum(3.0 * noise(400, 2, height, width)) / 9.0
    assert spectrum.shape == (2, min(height, width) // 2)
    numbers = wave_numbers(height, width)
    for ring, values in enumerate(spectrum.T, start=1):
        deviation = (400 * int((numbers == ring).sum()) / 2) ** -0.5
        assert values.tolist() == pytest.approx([1.0, 1.0], abs=5 * deviation)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns", "ring"),
    [(32, 32, 3, 4, 5), (32, 32, 1, 0, 1), (32, 32, -2, 2, 3), (16, 32, 2, 0, 2), (16, 32, 0, 6, 3), (32, 16, 6, 4, 5)],
)
def test_a_plane_wave_is_in_one_ring_with_its_mean_square(
    height: int, width: int, rows: int, columns: int, ring: int
) -> None:
    """The mean square of a cosine is one half; the mean over all waves is the mean square of a pixel (Parseval)."""
    spectrum = radial_spectrum(plane_wave(height, width, rows, columns))[0]
    waves = (wave_numbers(height, width) == ring).sum()
    assert float(spectrum[ring - 1] * waves) / (height * width) == pytest.approx(0.5)
    spectrum[ring - 1] = 0.0
    assert float(spectrum.max()) < 1e-20


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (0, 0)])
def test_the_mean_and_the_diagonals_beyond_the_highest_frequency_are_in_no_ring(rows: int, columns: int) -> None:
    assert float(radial_spectrum(plane_wave(32, 32, rows, columns)).max()) < 1e-20


def test_equal_sets_have_no_error_in_any_order() -> None:
    images = noise(50, 3, 16, 24)
    assert error(images, images.flip(0)) == 0.0


def test_the_power_of_a_set_is_a_mean_over_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(10, 2, 16, 16)
    mean = torch.stack([radial_spectrum(image[None]) for image in images]).mean(0)
    assert torch.allclose(radial_spectrum(images), mean, rtol=1e-12)
    monkeypatch.setattr("wgan_dist.evaluation.metrics.power_spectrum.CHUNK_PIXELS", 3 * 2 * 16 * 16)
    assert torch.allclose(radial_spectrum(images), mean, rtol=1e-12)


@pytest.mark.parametrize("factor", [10.0, 0.5])
def test_a_scaled_copy_has_the_error_of_its_factor_squared(factor: float) -> None:
    images = noise(20, 1, 16, 16).double()
    assert error(factor * images, images) == pytest.approx(abs(np.log10(factor**2)))


def test_the_error_is_symmetric_and_a_mean_over_channels() -> None:
    images = noise(20, 2, 16, 16).double()
    louder = images * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1)
    assert error(images, louder) == pytest.approx(error(louder, images)) == pytest.approx(1.0)
    other = noise(20, 2, 16, 16, seed=1)
    assert error(images, other) == pytest.approx(error(other, images))


def test_errors_of_both_signs_do_not_cancel() -> None:
    assert spectrum_error(torch.tensor([[10.0, 0.1]]), torch.tensor([[1.0, 1.0]])) == pytest.approx(1.0)


def test_a_pattern_that_all_images_share_is_an_error() -> None:
    checkerboard = 0.5 * plane_wave(16, 16, 8, 0)
    images = 0.1 * noise(200, 1, 16, 16)
    assert error(images + checkerboard, images) > 5 * error(0.1 * noise(200, 1, 16, 16, seed=1), images)


def test_empty_images_have_a_finite_error_and_equal_ones_none() -> None:
    empty = torch.full((4, 1, 8, 8), 0.25)
    assert error(empty, empty.clone()) == 0.0
    assert 5.0 < error(empty, noise(4, 1, 8, 8)) < 20.0


def images_of(values: np.ndarray, levels: Levels) -> ImageDataset:
    return ImageDataset("some", values, "", (), levels=levels)


def test_the_error_is_measured_by_default_except_for_images_of_8_bits(digits: ImageDataset, tmp_path: Path) -> None:
    floats = noise(120, 1, 8, 12).numpy()
    evaluator = of_images(images_of(floats, FLOATS), 40, str(tmp_path))
    assert "spectrum_error" in evaluator.names
    assert "spectrum_error" not in of_images(digits, 40, str(tmp_path)).names
    assert "spectrum_error" not in of_images(digits, 40, str(tmp_path)).metric_set.skipped
    assert of_images(digits, 40, str(tmp_path), metrics=("spectrum_error",)).names == ("spectrum_error",)


def test_an_evaluator_measures_the_images_that_its_protocol_names(tmp_path: Path) -> None:
    floats = noise(120, 1, 8, 12).numpy()
    evaluator = of_images(images_of(floats, FLOATS), 40, str(tmp_path), metrics=("spectrum_error",))
    fake = noise(1024, 1, 8, 12, seed=1) / 3.0
    values = evaluator.measure(Source(fake.numpy()))
    real = torch.from_numpy(FLOATS.scale(floats[evaluator.pool[:40]]))
    assert values == {"spectrum_error": pytest.approx(error(fake[:40].clamp(-1, 1), real))}
    assert evaluator.compared("spectrum_error") == (40, 40)
    assert evaluator.protocol("spectrum_error").startswith("40 generated, 40 real (some; ")
    assert evaluator.protocol("spectrum_error").endswith(
        "8×12 grey, " + ("rings of wave number 1 to half the shorter side, in decades")
    )


def test_the_spectra_are_those_whose_error_is_measured(tmp_path: Path) -> None:
    floats = noise(120, 2, 8, 12).numpy()
    evaluator = of_images(images_of(floats, FLOATS), 100, str(tmp_path), metrics=("spectrum_error",))
    source = Source(noise(100, 2, 8, 12, seed=1).numpy())
    spectra = {name: torch.tensor(values).double() for name, values in evaluator.spectra(source).items()}
    assert spectra["generated"].shape == spectra["real"].shape == (2, 4)
    assert spectrum_error(spectra["generated"], spectra["real"]) == pytest.approx(
        evaluator.measure(source)["spectrum_error"], rel=1e-5
    )
    real = torch.from_numpy(FLOATS.scale(floats[evaluator.pool[:100]]))
    assert torch.allclose(spectra["real"], radial_spectrum(real), rtol=1e-5)


def test_real_images_have_the_error_of_their_number(tmp_path: Path) -> None:
    """Two sets of white noise differ by their sampling error alone, which falls with the root of their number."""
    few, many = (
        of_images(images_of(noise(1200, 1, 16, 16).numpy(), FLOATS), count, str(tmp_path), metrics=("spectrum_error",))
        for count in (30, 480)
    )
    found = [evaluator.real_values["spectrum_error"] for evaluator in (few, many)]
    assert [(each.first, each.second) for each in found] == [(30, 30), (480, 480)]
    assert found[0].value == pytest.approx(4 * found[1].value, rel=0.5)


def test_images_too_small_for_rings_are_refused(tmp_path: Path) -> None:
    small = images_of(noise(20, 1, 7, 30).numpy(), FLOATS)
    with pytest.raises(UserError, match="metrics=spectrum_error: needs images of at least 8×8 pixels"):
        of_images(small, 10, str(tmp_path), metrics=("spectrum_error",))
    assert "spectrum_error" in of_images(small, 10, str(tmp_path)).metric_set.skipped
