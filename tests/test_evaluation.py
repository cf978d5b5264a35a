"""What is measured of a generator, on generators whose measures are known."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.processes import metrics
from wgan_dist.data import Images, Points, open_points
from wgan_dist.errors import UserError
from wgan_dist.evaluation import ImageEvaluation, PointEvaluation, make_evaluation
from wgan_dist.metrics.points import exact_wasserstein
from wgan_dist.train import train

TOY = {
    "recipe": "toy_8gaussians",
    "generator_features": "16",
    "critic_features": "16",
    "batch_size": "32",
    "max_steps": "4",
    "log_every": "1",
    "sample_every": "0",
    "evaluate_every": "2",
    "threads": "1",
}


class Source:
    """A generator that gives the rows of `values` in turn, and counts what it is asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.asked = torch.as_tensor(values, dtype=torch.float32), 0

    def __call__(self, count: int) -> Tensor:
        self.asked = count
        return self.values[torch.arange(count) % len(self.values)]


def at_modes(points: Points, count: int) -> Source:
    """The first `count` modes of a mixture, in equal shares."""
    assert points.mixture is not None
    return Source(points.mixture.modes[:count])


@pytest.fixture(scope="module")
def ring() -> Points:
    return open_points("8gaussians")


def test_modes_in_equal_shares_are_all_covered_and_all_good(ring: Points) -> None:
    source = at_modes(ring, 8)
    values = PointEvaluation(ring, 0).measure(source, None)
    assert values.keys() == {"exact_wasserstein", "modes_covered", "good_share", "rarest_mode_share"}
    assert (values["modes_covered"], values["good_share"], values["rarest_mode_share"]) == (8.0, 1.0, 1.0)
    assert source.asked == 10_000


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_lost_modes_show_and_the_rarest_has_nothing(kept: int, ring: Points) -> None:
    values = PointEvaluation(ring, 0).measure(at_modes(ring, kept), None)
    assert (values["modes_covered"], values["good_share"], values["rarest_mode_share"]) == (kept, 1.0, 0.0)


def test_the_rarest_mode_is_measured_by_its_fair_share(ring: Points) -> None:
    assert ring.mixture is not None
    # Of 20 samples one is of the last mode, one is nowhere, and the others share the rest.
    rows = [ring.mixture.modes[number % 7] for number in range(18)] + [ring.mixture.modes[7], np.array([9.0, 9.0])]
    values = PointEvaluation(ring, 0).measure(Source(np.stack(rows)), None)
    assert values["rarest_mode_share"] == pytest.approx(8 / 20)
    assert values["good_share"] == pytest.approx(19 / 20)
    assert values["modes_covered"] == 8


def test_a_roll_has_no_modes_to_cover() -> None:
    roll = open_points("swissroll")
    values = PointEvaluation(roll, 0).measure(Source(roll.values[:1000] + 5), None)
    assert values.keys() == {"exact_wasserstein"}


def test_the_distance_is_exact_between_a_thousand_points_and_the_critics_is_of_the_same(ring: Points) -> None:
    scored: list[Tensor] = []

    def score(samples: Tensor) -> Tensor:
        scored.append(samples)
        return 2.0 * samples[:, 0] - samples[:, 1]

    source = Source(np.random.default_rng(0).normal(size=(10_000, 2)))
    values = PointEvaluation(ring, 3).measure(source, score)
    real, fake = (each.numpy().astype(np.float64) for each in scored)
    assert real.shape == fake.shape == (1000, 2)
    assert {tuple(row) for row in real.tolist()} <= {tuple(row) for row in ring.values.astype(np.float64).tolist()}
    assert len(np.unique(real, axis=0)) == 1000
    assert (fake == source.values[:1000].numpy()).all()
    assert values["exact_wasserstein"] == pytest.approx(exact_wasserstein(real, fake), rel=1e-6)
    means = real.mean(0) - fake.mean(0)
    assert values["critic_wasserstein"] == pytest.approx(2 * means[0] - means[1], rel=1e-4)
    # Kantorovich and Rubinstein: no function of Lipschitz constant √5 claims more than √5 of the distance.
    assert values["critic_wasserstein"] <= 5**0.5 * values["exact_wasserstein"]


def test_the_real_points_stay_the_same_and_depend_on_the_seed(ring: Points) -> None:
    source = at_modes(ring, 1)
    distances = [PointEvaluation(ring, seed).measure(source, None)["exact_wasserstein"] for seed in (0, 0, 1)]
    assert distances[0] == distances[1] != distances[2]


def test_each_kind_of_data_has_its_evaluation(ring: Points, digits: Images) -> None:
    assert isinstance(make_evaluation(ring, 0), PointEvaluation)
    assert isinstance(make_evaluation(digits, 0), ImageEvaluation)


def test_images_are_measured_by_one_distance_that_tells_real_from_noise(digits: Images) -> None:
    evaluation = make_evaluation(Images("some", digits.pixels[:100], "", ()), 0)
    real = Source(digits.pixels[100:200] / 127.5 - 1.0)
    noise = Source(np.random.default_rng(0).uniform(-1, 1, size=(100, *digits.shape)))
    distances = [evaluation.measure(source, None) for source in (real, noise, real)]
    assert all(values.keys() == {"sliced_wasserstein"} for values in distances)
    assert distances[0] == distances[2]
    assert 5 * distances[0]["sliced_wasserstein"] < distances[1]["sliced_wasserstein"]
    assert real.asked == noise.asked == 100


def test_of_many_images_1024_are_measured(digits: Images) -> None:
    # All alike, so that it does not matter which.
    alike = np.repeat(digits.pixels[:1, :, ::4, ::4], 1100, axis=0)
    source = Source(alike[:1] / 127.5 - 1.0)
    values = make_evaluation(Images("alike", alike, "", ()), 0).measure(source, None)
    assert source.asked == 1024
    assert values["sliced_wasserstein"] == pytest.approx(0.0, abs=1e-3)


def test_images_too_small_to_be_measured_are_refused() -> None:
    with pytest.raises(UserError, match="evaluate_every with image_size=6: expected an image_size of at least 7"):
        make_evaluation(Images("tiny", np.zeros((4, 1, 6, 6), np.uint8), "", ()), 0)


OF_A_MIXTURE = {"exact_wasserstein", "modes_covered", "good_share", "rarest_mode_share"}
Measured = dict[str, float]


def is_measured(record: Measured) -> set[str]:
    return record.keys() & (OF_A_MIXTURE | {"critic_wasserstein", "sliced_wasserstein"})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, OF_A_MIXTURE | {"critic_wasserstein"}),
        ({"loss": "bce", "penalty": "none"}, OF_A_MIXTURE),
        ({"loss": "hinge"}, OF_A_MIXTURE),
        ({"data": "swissroll"}, {"exact_wasserstein", "critic_wasserstein"}),
    ],
)
def test_a_run_records_what_suits_its_data_and_loss_when_it_is_due(
    flags: dict[str, str], expected: set[str], tmp_path: Path
) -> None:
    train(TOY | flags | {"run_dir": str(tmp_path / "run")})
    assert [is_measured(record) for record in metrics(tmp_path / "run")] == [set(), expected, set(), expected]


def test_a_run_that_diverges_says_so_and_its_records_stay_readable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training has diverged"):
        train(TOY | {"run_dir": str(tmp_path / "run"), "critic_lr": "1e30", "max_skipped": "19"})

    def refuse(word: str) -> float:
        raise AssertionError(word)

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    read: Callable[[str], dict[str, object]] = lambda line: json.loads(line, parse_constant=refuse)  # noqa: E731
    assert [read(line)["wasserstein"] for line in lines] == [None] * 4
