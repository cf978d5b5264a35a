"""Evaluators on generators whose metrics are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.processes import metrics
from wgan_dist.config import Config
from wgan_dist.data.datasets import ImageDataset, PointDataset, open_points
from wgan_dist.data.holdout import split_holdout
from wgan_dist.evaluation.evaluator import ImageEvaluator, PointEvaluator, make_evaluator
from wgan_dist.evaluation.metrics.points import exact_wasserstein
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

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
    """A generator that returns the rows of `values` in turn and records the numbers of the samples."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.numbers = torch.as_tensor(values, dtype=torch.float32), list[int]()

    def __call__(self, part: slice) -> Tensor:
        numbers = torch.arange(part.start, part.stop)
        self.numbers += numbers.tolist()
        return self.values[numbers % len(self.values)]


def of_points(points: PointDataset, seed: int = 0) -> PointEvaluator:
    return PointEvaluator(points, seed, np.arange(len(points)))


def of_images(images: ImageDataset, count: int = 1024, cache_dir: str = "", **settings: Any) -> ImageEvaluator:
    """Build the evaluator that a run with default settings builds."""
    config = Config(evaluation_images=count, cache_dir=cache_dir, **settings)
    evaluator = make_evaluator(config, images, split_holdout(images, config.holdout), torch.device("cpu"))
    assert isinstance(evaluator, ImageEvaluator)
    return evaluator


def at_modes(points: PointDataset, count: int) -> Source:
    """Generate the first `count` modes of a mixture in equal shares."""
    assert points.mixture is not None
    return Source(points.mixture.modes[:count])


@pytest.fixture(scope="module")
def ring() -> PointDataset:
    return open_points("8gaussians")


def test_modes_in_equal_shares_are_all_covered_and_all_good(ring: PointDataset) -> None:
    source = at_modes(ring, 8)
    values = of_points(ring).measure(source)
    assert values.keys() == {"exact_wasserstein", "modes_covered", "good_share", "rarest_mode_share"}
    assert (values["modes_covered"], values["good_share"], values["rarest_mode_share"]) == (8.0, 1.0, 1.0)
    assert source.numbers == list(range(10_000))


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_lost_modes_show_and_the_rarest_has_nothing(kept: int, ring: PointDataset) -> None:
    values = of_points(ring).measure(at_modes(ring, kept))
    assert (values["modes_covered"], values["good_share"], values["rarest_mode_share"]) == (kept, 1.0, 0.0)


def test_the_rarest_mode_is_measured_by_its_fair_share(ring: PointDataset) -> None:
    assert ring.mixture is not None
    # Of 20 samples one is of the last mode, one is nowhere, and the others share the rest.
    rows = [ring.mixture.modes[number % 7] for number in range(18)] + [ring.mixture.modes[7], np.array([9.0, 9.0])]
    values = of_points(ring).measure(Source(np.stack(rows)))
    assert values["rarest_mode_share"] == pytest.approx(8 / 20)
    assert values["good_share"] == pytest.approx(19 / 20)
    assert values["modes_covered"] == 8


def test_a_roll_has_no_modes_to_cover() -> None:
    roll = open_points("swissroll")
    values = of_points(roll).measure(Source(roll.values[:1000] + 5))
    assert values.keys() == {"exact_wasserstein"}


def test_few_points_of_the_user_are_compared_with_as_many(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.save(tmp_path / "p.npy", values)
    own = of_points(open_points(str(tmp_path / "p.npy")))
    assert own.names == ("exact_wasserstein", "point_sliced_wasserstein")
    assert own.compared("exact_wasserstein") == own.compared("point_sliced_wasserstein") == (40, 40)
    same = own.measure(Source(values))
    assert same == {"exact_wasserstein": 0.0, "point_sliced_wasserstein": 0.0}
    moved = own.measure(Source(values + np.array([3.0, 0.0, 4.0])))
    assert moved["exact_wasserstein"] == pytest.approx(5.0, rel=1e-5)
    assert 1.0 < moved["point_sliced_wasserstein"] < 5.0
    assert own.real_values.keys() == same.keys()
    assert (own.real_values["exact_wasserstein"].first, own.real_values["exact_wasserstein"].second) == (20, 20)


def test_the_distance_is_exact_between_a_thousand_points_and_the_critics_is_of_the_same(ring: PointDataset) -> None:
    scored: list[Tensor] = []

    def score(samples: Tensor, labels: Tensor | None) -> Tensor:
        scored.append(samples)
        return 2.0 * samples[:, 0] - samples[:, 1]

    source = Source(np.random.default_rng(0).normal(size=(10_000, 2)))
    values = of_points(ring, 3).measure(source, score)
    real, fake = scored[-1].numpy().astype(np.float64), torch.cat(scored[:-1])[:1000].numpy().astype(np.float64)
    assert real.shape == fake.shape == (1000, 2)
    assert {tuple(row) for row in real.tolist()} <= {tuple(row) for row in ring.values.astype(np.float64).tolist()}
    assert len(np.unique(real, axis=0)) == 1000
    assert (fake == source.values[:1000].numpy()).all()
    assert values["exact_wasserstein"] == pytest.approx(exact_wasserstein(real, fake), rel=1e-6)
    means = real.mean(0) - fake.mean(0)
    assert values["critic_wasserstein"] == pytest.approx(2 * means[0] - means[1], rel=1e-4)
    # Kantorovich and Rubinstein: no function of Lipschitz constant √5 claims more than √5 of the distance.
    assert values["critic_wasserstein"] <= 5**0.5 * values["exact_wasserstein"]


def test_the_real_points_stay_the_same_and_depend_on_the_seed(ring: PointDataset) -> None:
    source = at_modes(ring, 1)
    distances = [of_points(ring, seed).measure(source)["exact_wasserstein"] for seed in (0, 0, 1)]
    assert distances[0] == distances[1] != distances[2]


def test_each_kind_of_data_has_its_evaluation(ring: PointDataset, digits: ImageDataset) -> None:
    cpu = torch.device("cpu")
    assert isinstance(make_evaluator(Config(), ring, split_holdout(ring, 0.0), cpu), PointEvaluator)
    assert isinstance(make_evaluator(Config(), digits, split_holdout(digits, 0.0), cpu), ImageEvaluator)
    with pytest.raises(UserError, match="metrics=diversity: expected auto, since 8gaussians are points"):
        make_evaluator(Config(metrics=("diversity",)), ring, split_holdout(ring, 0.0), cpu)


def test_without_any_network_what_pixels_tell_is_measured_and_it_tells_real_from_noise(digits: ImageDataset) -> None:
    evaluation = of_images(ImageDataset("some", digits.pixels[:100], "", ()), 100)
    real = Source(digits.pixels[100:200] / 127.5 - 1.0)
    noise = Source(np.random.default_rng(0).uniform(-1, 1, size=(100, *digits.shape)))
    of_real, of_noise, again = (evaluation.measure(source) for source in (real, noise, real))
    assert of_real.keys() == {"sliced_wasserstein", "nearest_neighbour", "diversity"} == set(evaluation.names)
    assert of_real == again
    assert 5 * of_real["sliced_wasserstein"] < of_noise["sliced_wasserstein"]
    assert of_real["nearest_neighbour"] < of_noise["nearest_neighbour"]
    assert real.numbers == 2 * list(range(100))


def test_pixels_are_measured_on_the_images_as_they_would_be_written(digits: ImageDataset) -> None:
    """A file that returns floats and one that returns uint8 have the same metrics."""
    evaluation = of_images(ImageDataset("some", digits.pixels[:50], "", ()), 50)
    levels = torch.from_numpy(digits.pixels[50:100].copy())
    floats = (levels.float() + torch.linspace(-0.4, 0.4, 50)[:, None, None, None]) / 127.5 - 1.0
    assert evaluation.measure(lambda part: floats[part]) == evaluation.measure(lambda part: levels[part])


def test_memorised_and_collapsed_images_show(digits: ImageDataset) -> None:
    evaluation = of_images(ImageDataset("some", digits.pixels[:50], "", ()), 40)
    memorised = evaluation.measure(Source(digits.pixels[10:50] / 127.5 - 1.0))
    assert memorised["nearest_neighbour"] == pytest.approx(0.0, abs=1e-6)
    collapsed = evaluation.measure(Source(digits.pixels[:1] / 127.5 - 1.0))
    assert collapsed["diversity"] == 0.0 < memorised["diversity"]


def test_what_pixels_tell_needs_1024_images_at_most(digits: ImageDataset) -> None:
    # All alike, so that it does not matter which.
    alike = np.repeat(digits.pixels[:1, :, ::4, ::4], 1100, axis=0)
    source = Source(alike[:1] / 127.5 - 1.0)
    values = of_images(ImageDataset("alike", alike, "", ()), 5000).measure(source)
    assert source.numbers == list(range(1024))
    assert values["sliced_wasserstein"] == pytest.approx(0.0, abs=1e-3)


def test_images_that_are_not_finite_have_no_value(digits: ImageDataset) -> None:
    values = of_images(digits, 80).measure(lambda part: torch.full((part.stop - part.start, *digits.shape), torch.nan))
    assert len(values) == 3
    assert all(np.isnan(value) for value in values.values())


def test_images_of_another_shape_are_refused(digits: ImageDataset) -> None:
    with pytest.raises(UserError, match=r"generated images are \[1, 16, 16\], and the real ones are \[1, 32, 32\]"):
        of_images(digits, 80).measure(lambda part: torch.zeros(part.stop - part.start, 1, 16, 16))


def test_a_metric_that_cannot_be_computed_is_refused_if_named_and_else_skipped_with_a_reason() -> None:
    tiny = ImageDataset("tiny", np.zeros((4, 1, 8, 8), np.uint8), "", ())
    found = of_images(tiny)
    assert found.names == ("sliced_wasserstein", "nearest_neighbour", "diversity")
    assert of_images(tiny, metrics=("diversity",)).best_metric == ""
    assert found.metric_set.skipped["frechet_distance"] == "needs --feature_extractor=FILE"
    with pytest.raises(UserError, match="metrics=frechet_distance: needs --feature_extractor=FILE"):
        of_images(tiny, metrics=("diversity", "frechet_distance"))


def test_without_inceptions_weights_it_is_said_where_they_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    tiny = ImageDataset("tiny", np.zeros((4, 1, 8, 8), np.uint8), "", ())
    with pytest.raises(UserError) as refused:
        of_images(tiny, metrics=("kid",))
    assert str(refused.value).startswith("metrics=kid: needs Inception's weights: ")
    assert f"{tmp_path}/checkpoints/weights-inception-2015-12-05-6726825d.pth" in str(refused.value)
    assert "--inception_weights=FILE" in of_images(tiny).metric_set.skipped["fid"]


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
