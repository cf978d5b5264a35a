"""The distance from below: closed forms, an exact assignment, equal laws, and what its statistics promise."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from torch import Tensor

from wgan_dist.data.synthetic import DRAWS
from wgan_dist.evaluation.lipschitz_distance import (
    IMAGE_TRAINING,
    POINT_TRAINING,
    Distance,
    Fold,
    LinearCritic,
    TrainedCritic,
    certified_values,
    lipschitz_distance,
    train_critic,
)
from wgan_dist.utils import rng

CPU = torch.device("cpu")
QUICK = dataclasses.replace(POINT_TRAINING, steps=120, features=32)


def normal(seed: int, count: int, dimensions: int) -> Tensor:
    return torch.as_tensor(rng.normal(seed, "test", 0, (count, dimensions)), dtype=torch.float32)


def distance(first: Tensor, second: Tensor, seed: int = 0) -> Distance:
    return lipschitz_distance(first, second, QUICK, seed, CPU)


@pytest.mark.parametrize(
    ("dimensions", "count", "least"),
    [(2, 1500, 0.95), (16, 1500, 0.9), pytest.param(128, 4000, 0.85, marks=pytest.mark.slow)],
)
def test_a_translation_is_seen_as_far_as_it_goes(dimensions: int, count: int, least: float) -> None:
    shift = torch.zeros(dimensions)
    shift[:2] = 2.0**0.5
    found = distance(normal(1, count, dimensions), normal(2, count, dimensions) + shift)
    # Four standard errors above the truth; the standard deviation of a score is that of a coordinate.
    assert 2.0 * least <= found.estimate <= 2.0 + 4.0 * math.sqrt(2.0 / count)
    assert found.lower(0.95) < found.estimate
    assert found.p_value == 0.002  # the least of 999 divisions, twice


def test_parallel_lines_have_the_distance_between_them() -> None:
    heights = torch.as_tensor(rng.uniform(0, "test", 0, (2, 1000)), dtype=torch.float32)
    first, second = (torch.stack([torch.full((1000,), x), heights[row]], 1) for row, x in ((0, 0.0), (1, 1.0)))
    found = distance(first, second)
    assert found.estimate == pytest.approx(1.0, rel=0.02)
    assert found.lower(0.95) == pytest.approx(1.0, rel=0.03)


def test_a_shifted_mixture_has_the_length_of_the_shift() -> None:
    first, second = (torch.as_tensor(DRAWS["8gaussians"](1500, seed), dtype=torch.float32) for seed in (1, 2))
    found = distance(first, second + torch.tensor([0.8, 0.6]))
    assert found.estimate == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / 1500))
    assert found.lower(0.95) < 1.0


def exact_distance(places: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return W₁ of two laws on the same places [k, d] by the dual linear program: the greatest ⟨f, p − q⟩."""
    count, costs = len(places), cdist(places, places)
    rows, columns = np.nonzero(~np.eye(count, dtype=bool))
    differences = np.zeros((len(rows), count))
    differences[np.arange(len(rows)), rows], differences[np.arange(len(rows)), columns] = 1.0, -1.0
    solved = linprog(second - first, A_ub=differences, b_ub=costs[rows, columns], bounds=(None, None))
    return -float(solved.fun)  # type: ignore[arg-type]  # None where it has no solution


def test_a_law_of_a_few_places_has_the_distance_of_its_linear_program() -> None:
    """No linear critic sees it: both laws have one mean."""
    places = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    first, second = np.array([0.3, 0.3, 0.0, 0.0, 0.4]), np.array([0.0, 0.0, 0.45, 0.45, 0.1])
    truth = exact_distance(places, first, second)
    counts = [np.rint(law * 1000).astype(int) for law in (first, second)]
    sets = [torch.as_tensor(np.repeat(places, count, axis=0), dtype=torch.float32) for count in counts]
    found = distance(sets[0], sets[1])
    assert truth == pytest.approx(0.6 * 2.0**0.5 + 0.3, abs=1e-6)
    assert 0.95 * truth <= found.estimate <= truth + 4.0 * sum(fold.standard_error for fold in found.folds) / 2
    assert not any(fold.critic.is_linear for fold in found.folds)
    assert found.lower(0.95) <= truth


def test_equal_laws_are_near_zero() -> None:
    found = distance(normal(1, 1000, 8), normal(2, 1000, 8))
    assert abs(found.estimate) < 4.0 * math.sqrt(2.0 / 1000)
    assert found.p_value > 0.05
    assert found.lower(0.95) < 0.05


def test_whole_numbers_have_limits_below_their_distance() -> None:
    """Most samples have a copy: of 40 seeds more than 6 errors of 5 % have a probability of one per cent."""
    above, training = 0, dataclasses.replace(QUICK, steps=20, features=8)
    for seed in range(40):
        first, second = (torch.round(2.0 * normal(2 * seed + each, 400, 1)) for each in (0, 1))
        found = lipschitz_distance(first, second + 1.0, training, seed, CPU)
        above += found.lower(0.95) > 1.0
        assert found.estimate == pytest.approx(1.0, abs=5.0 * 2.0 * math.sqrt(2.0 / 400))
    assert above <= 6


@pytest.mark.parametrize("value", [0.5, 1e30, math.nan])
def test_a_collapsed_generator_is_measured(value: float) -> None:
    """One value is at the mean distance of all samples from it; what float32 cannot compare is NaN."""
    real = normal(1, 300, 2)
    found = certified_values(real, torch.full_like(real, value), 0, CPU)
    if value == 0.5:
        assert found["certified_wasserstein"] == pytest.approx(float((real - 0.5).norm(dim=1).mean()), rel=0.1)
        assert 0.0 < found["certified_lower"] < found["certified_wasserstein"]
    else:
        assert all(map(math.isnan, found.values()))


def test_a_set_far_smaller_than_the_other_one_is_divided_for_any_seed() -> None:
    training = dataclasses.replace(QUICK, steps=1, features=4)
    for seed in range(60):
        folds = lipschitz_distance(normal(1, 20, 2), normal(2, 400, 2), training, seed, CPU).folds
        assert min(len(fold.first) for fold in folds) >= 5


def test_equal_sets_are_at_zero() -> None:
    points = normal(1, 200, 3)
    found = distance(points, points[torch.randperm(200, generator=torch.Generator().manual_seed(0))])
    assert found.estimate == pytest.approx(0.0, abs=1e-6)
    assert found.lower(0.95) == 0.0
    assert found.p_value == 1.0


def test_images_are_compared_by_their_pixels() -> None:
    """Brightened by c, every image of k pixels is √k · c away, in the direction that is the same for all."""
    images = 0.3 * torch.randn(240, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    training = dataclasses.replace(IMAGE_TRAINING, steps=30, features=4, batch_size=32)
    found = lipschitz_distance(images[:120], images[120:] + 0.5, training, 0, CPU)
    assert found.estimate == pytest.approx(8.0 * 0.5, rel=0.05)


def test_the_unit_is_that_of_the_points() -> None:
    first, second = normal(1, 400, 2), normal(2, 400, 2) + 2.0
    near, far = distance(first, second), distance(1000.0 * first + 77.0, 1000.0 * second + 77.0)
    assert far.estimate == pytest.approx(1000.0 * near.estimate, rel=0.02)
    assert distance(1e-14 * first, 1e-14 * second).p_value == near.p_value == 0.002


def test_the_result_depends_on_the_seed_and_not_on_the_order_of_the_samples() -> None:
    first, second = normal(1, 100, 2), normal(2, 100, 2) + 1.0
    order = torch.randperm(100, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    found, again, other = distance(first, second), distance(first[order], second), distance(first, second, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.estimate == again.estimate
    assert found.p_value == again.p_value
    assert found.estimate != other.estimate


def test_a_trained_critic_has_slopes_of_at_most_one() -> None:
    first, second = 50.0 * normal(1, 300, 2), 50.0 * normal(2, 300, 2) ** 2
    critic = train_critic(first, second, QUICK, 0, CPU)
    given = (100.0 * normal(3, 500, 2)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(given).sum(), given)
    assert gradient.norm(dim=1).max() <= 1.0 + 1e-4
    assert not critic.is_linear


def test_scores_are_divided_by_a_bound_above_one() -> None:
    network, points = LinearCritic(torch.tensor([3.0, 4.0])), normal(1, 5, 2)
    plain, divided = (TrainedCritic(network, torch.ones(2), 2.0, bound) for bound in (0.99, 1.25))
    torch.testing.assert_close(plain(points), (points - 1.0) @ torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(divided(points), plain(points) / 1.25)


def fold_of(first: list[float], second: list[float]) -> Fold:
    critic = TrainedCritic(LinearCritic(torch.ones(1)), torch.zeros(1), 1.0)
    return Fold(critic, (torch.zeros(1), torch.zeros(1)), np.array(first), np.array(second))


def test_the_lower_limit_is_students_with_the_mean_standard_error() -> None:
    folds = (fold_of([3.0, 4.0, 5.0, 8.0], [1.0, 1.0, 2.0]), fold_of([2.0, 4.0, 6.0], [0.0, 1.0, 2.0, 1.0]))
    # Differences 5 − 4/3 and 4 − 1; variances 14/3 of 4, 1/3 of 3; 4 of 3, 2/3 of 4.
    errors = (math.sqrt(14 / 12 + 1 / 9), math.sqrt(4 / 3 + 1 / 6))
    found = Distance(folds, 0.5)
    assert [fold.standard_error for fold in folds] == pytest.approx(errors)
    assert found.estimate == pytest.approx((11 / 3 + 3) / 2)
    # 1.886 is the 90 % quantile of Student's t with 2 degrees of freedom, of the tables.
    assert found.lower(0.9) == pytest.approx(10 / 3 - 1.8856 * sum(errors) / 2, abs=1e-3)
    assert found.lower(0.9999) == 0.0


def test_the_p_value_is_the_share_of_divisions_that_differ_as_much() -> None:
    """Four scores can be divided into two pairs in six ways; in one of them the first pair has the two greatest."""
    assert fold_of([9.0, 7.0], [1.0, 2.0]).p_value(0, 0) == pytest.approx(1 / 6, abs=0.05)
    assert fold_of([1.0, 2.0], [9.0, 7.0]).p_value(0, 0) == 1.0
    assert fold_of([1.0] * 9, [1.0] * 5).p_value(0, 0) == 1.0


@pytest.mark.slow
def test_limit_and_p_value_err_as_seldom_as_they_say() -> None:
    """In 40 trials: more than 6 errors of 5 % have a probability of one per cent."""
    above, small, training = 0, 0, dataclasses.replace(QUICK, steps=50)
    for trial in range(40):
        points = normal(trial, 800, 2)
        first, second = points[:400], points[400:]
        above += lipschitz_distance(first, second + 2.0**0.5, training, trial, CPU).lower(0.95) > 2.0
        small += lipschitz_distance(first, second, training, trial, CPU).p_value < 0.05
    assert above <= 6
    assert small <= 6


@pytest.mark.parametrize(
    ("first", "said"),
    [(normal(1, 19, 2), "19 samples in a set: expected at least 20"), (torch.full((50, 2), 1e25), "above 1e[+]18")],
)
def test_too_few_samples_are_refused(first: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        distance(first, normal(2, 100, 2))
