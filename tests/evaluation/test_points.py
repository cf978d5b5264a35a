"""The exact distance, held against scipy, translations and brute force; modes, against counts by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from wgan_dist.data.synthetic import DRAWS, MIXTURES, Mixture
from wgan_dist.evaluation.metrics.points import exact_wasserstein, good_points_per_mode, sliced_wasserstein

GENERATOR = np.random.default_rng(0)
TWO = Mixture(np.array([[0.0, 0.0], [10.0, 0.0]]), 1.0)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
def test_on_a_line_it_is_scipys_distance_in_one_dimension(angle: float) -> None:
    first, second = GENERATOR.normal(size=200), GENERATOR.exponential(size=200)
    line = np.array([[math.cos(angle), math.sin(angle)]])
    found = exact_wasserstein(first[:, None] * line, second[:, None] * line + 3.0 * line)
    assert found == pytest.approx(wasserstein_distance(first, second + 3.0), rel=1e-12)


@pytest.mark.parametrize("shift", [(3.0, 4.0), (0.001, 0.0), (-2.0, 1.0)])
def test_of_a_translation_it_is_its_length(shift: tuple[float, float]) -> None:
    points = GENERATOR.normal(size=(300, 2))
    moved = GENERATOR.permutation(points + shift)
    assert exact_wasserstein(points, moved) == pytest.approx(math.hypot(*shift), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_it_is_the_best_of_all_assignments(count: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, count, 2))
    lengths = [
        math.fsum(math.dist(a, second[b]) for a, b in zip(first, order, strict=True)) / count
        for order in itertools.permutations(range(count))
    ]
    assert exact_wasserstein(first, second) == pytest.approx(min(lengths), rel=1e-12)


def test_single_precision_and_double_give_the_same_distance() -> None:
    first, second = GENERATOR.normal(size=(2, 100, 2)).astype(np.float32)
    assert exact_wasserstein(first, second) == exact_wasserstein(first.astype(np.float64), second.astype(np.float64))


@pytest.mark.parametrize(("first", "second"), [(3, 5), (5, 3)])
def test_between_unequally_many_points_there_is_no_assignment(first: int, second: int) -> None:
    with pytest.raises(ValueError, match=f"{first} points and {second} points"):
        exact_wasserstein(GENERATOR.normal(size=(first, 2)), GENERATOR.normal(size=(second, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_points_that_are_nowhere_it_is_not_a_number(value: float) -> None:
    points = GENERATOR.normal(size=(5, 2))
    broken = points.copy()
    broken[2, 1] = value
    assert not math.isfinite(exact_wasserstein(points, broken))


def test_points_count_for_the_nearest_mode_within_three_deviations() -> None:
    points = np.array([[0, 3.0], [0, 3.001], [2.1, -2.1], [7.0, 0.0], [6.99, 0.0], [10.0, 0.0], [5.0, 0.0]])
    assert good_points_per_mode(points, TWO).tolist() == [2, 2]
    assert good_points_per_mode(np.full((4, 2), 100.0), TWO).tolist() == [0, 0]
    assert good_points_per_mode(np.full((4, 2), np.nan), TWO).tolist() == [0, 0]


def test_each_of_overlapping_modes_has_the_points_that_are_nearer_to_it() -> None:
    near = Mixture(np.array([[0.0, 0.0], [1.0, 0.0]]), 1.0)
    assert good_points_per_mode(np.array([[0.4, 0.0], [0.6, 0.0], [0.7, 0.0], [-2.9, 0.0]]), near).tolist() == [2, 2]


@pytest.mark.parametrize("name", MIXTURES)
def test_of_real_points_98_9_percent_are_good_in_equal_shares(name: str) -> None:
    count, expected = 200_000, 1 - math.exp(-4.5)
    counts = good_points_per_mode(DRAWS[name](count, 5), MIXTURES[name])
    assert expected == pytest.approx(0.989, abs=2e-4)
    # Five standard errors of a share.
    assert counts.sum() / count == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / count))
    fair = expected / len(counts)
    assert counts / count == pytest.approx(np.full(len(counts), fair), abs=5 * math.sqrt(fair / count))


def test_sliced_on_a_line_it_is_scipys_distance_in_one_dimension() -> None:
    first, second = GENERATOR.normal(size=200), GENERATOR.exponential(size=200)
    found = sliced_wasserstein(first[:, None], second[:, None])
    assert found == pytest.approx(wasserstein_distance(first, second), rel=1e-12)


@pytest.mark.parametrize(("dimensions", "mean_cosine"), [(2, 2 / math.pi), (3, 1 / 2), (4, 4 / (3 * math.pi))])
def test_sliced_of_a_translation_it_is_the_mean_of_its_projections(dimensions: int, mean_cosine: float) -> None:
    """The mean of |u₁| over unit vectors u in d dimensions is Γ(d/2) / (√π Γ((d + 1)/2))."""
    points = GENERATOR.normal(size=(50, dimensions))
    shift = 5.0 * np.eye(dimensions)[0]
    found = sliced_wasserstein(points, GENERATOR.permutation(points + shift))
    assert found == pytest.approx(5.0 * mean_cosine, rel=0.12)
    assert sliced_wasserstein(points, points[::-1]) == pytest.approx(0, abs=1e-12)


def test_sliced_needs_equally_many_points_which_are_somewhere() -> None:
    with pytest.raises(ValueError, match="3 points and 5 points"):
        sliced_wasserstein(GENERATOR.normal(size=(3, 2)), GENERATOR.normal(size=(5, 2)))
    assert math.isnan(sliced_wasserstein(np.zeros((2, 2)), np.full((2, 2), np.nan)))
