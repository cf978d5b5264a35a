"""Distances between features, held against closed forms and against torch-fidelity on folders of images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch_fidelity import calculate_metrics

from tests.extractors import Projection, noisy, write_images
from wgan_dist.data import ImageDataset
from wgan_dist.evaluation.metrics.feature_distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from wgan_dist.utils.errors import UserError

FIDELITY = {"cuda": False, "verbose": False, "cache": False, "save_cpu_ram": True}


def test_all_are_what_torch_fidelity_says_of_the_same_folders(digits: ImageDataset, tmp_path: Path) -> None:
    fake, real = noisy(digits.pixels[:60]), digits.pixels[100:180]
    folders = {"input1": write_images(fake, tmp_path / "fake"), "input2": write_images(real, tmp_path / "real")}
    settings = {"feature_extractor": "projection", "kid_subset_size": 60, "isc": True, "fid": True}
    expected = calculate_metrics(**folders, **settings, kid=True, prc=True, **FIDELITY)
    generated, originals = (Projection()(torch.from_numpy(each.copy())) for each in (fake, real))
    assert frechet_distance(generated, originals) == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert kernel_distance(generated, originals) == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-6)
    assert inception_score(generated) == pytest.approx(expected["inception_score_mean"], rel=1e-6)
    found = precision_recall(generated, originals)
    assert found == pytest.approx((expected["precision"], expected["recall"]), abs=1e-9)
    assert 0 < min(found) < max(found) <= 1


def with_moments(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> Tensor:
    """Draw samples whose mean and covariance are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False)))
    return torch.from_numpy(drawn @ whitening.T @ np.linalg.cholesky(covariance).T + mean)


def test_the_frechet_distance_is_the_closed_form_of_gaussians() -> None:
    generator = np.random.default_rng(0)
    means, roots = generator.normal(size=(2, 4)), generator.normal(size=(2, 4, 4))
    first, second = (root @ root.T + np.eye(4) for root in roots)
    # Dowson and Landau 1982, by a matrix root rather than by eigenvalues.
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    found = frechet_distance(with_moments(50, means[0], first, 1), with_moments(70, means[1], second, 2))
    assert found == pytest.approx(expected, rel=1e-9)
    # One dimension-wise shift and scale: |Δμ|² + Σ (σ₁ − σ₂)².
    simple = frechet_distance(
        with_moments(50, np.zeros(3), np.diag([1.0, 4.0, 9.0]), 1), with_moments(60, np.ones(3), np.eye(3), 2)
    )
    assert simple == pytest.approx(3 + 0 + 1 + 4, rel=1e-9)


def test_the_kernel_distance_is_the_u_statistic_of_a_cubic_kernel() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(30, 5)), 0.5 + generator.normal(size=(30, 5))
    gram = (np.concatenate([first, second]) @ np.concatenate([first, second]).T / 5 + 1) ** 3
    within = [gram[:30, :30], gram[30:, 30:]]
    expected = sum((each.sum() - np.trace(each)) / (30 * 29) for each in within) - 2 * gram[:30, 30:].mean()
    # With a subset of all, every one of the hundred is the same.
    assert kernel_distance(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(expected, rel=1e-9)


def test_the_score_is_one_of_answers_that_are_alike_and_the_number_of_classes_of_sure_and_even_ones() -> None:
    assert inception_score(torch.ones(40, 4)) == pytest.approx(1.0)
    sure = 1000.0 * torch.eye(4).repeat(500, 1)
    assert inception_score(sure) == pytest.approx(4.0, rel=0.01)


def test_precision_and_recall_tell_lost_modes_from_bad_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    here, there = (torch.randn(100, 3, generator=generator) + shift for shift in (0.0, 100.0))
    both = torch.cat([here, there])
    again = torch.randn(100, 3, generator=generator)
    precision, recall = precision_recall(again, both)
    assert precision > 0.8
    assert recall < 0.6
    precision, recall = precision_recall(both + 0.01, here)
    assert precision == pytest.approx(0.5, abs=0.05)
    assert recall > 0.9


def pairs(function: Callable[[Tensor, Tensor], object]) -> Callable[[Tensor], object]:
    return lambda features: function(features, features)


@pytest.mark.parametrize(
    ("function", "name", "least"),
    [
        (pairs(frechet_distance), "frechet_distance", 2),
        (pairs(kernel_distance), "kernel_distance", 2),
        (inception_score, "inception_score", 10),
        (pairs(precision_recall), "precision, recall", 4),
    ],
)
def test_too_few_features_and_such_as_are_not_finite_are_named(
    function: Callable[[Tensor], object], name: str, least: int
) -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(least, 3)))
    function(features)
    with pytest.raises(UserError, match=f"^{name}: {least - 1} images: expected at least {least}$"):
        function(features[1:])
    features[0, 0] = torch.nan
    with pytest.raises(UserError, match=f"^{name}: features that are not finite$"):
        function(features)


def test_features_of_other_lengths_are_not_compared() -> None:
    with pytest.raises(UserError, match=r"features of \[3\] and \[4\]: expected the same length"):
        frechet_distance(torch.ones(5, 3), torch.ones(5, 4))
