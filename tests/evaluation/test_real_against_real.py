"""The values of metrics for real samples, held against closed forms and a second computation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.extractors import Projection, torchscript
from wgan_dist.config import Config
from wgan_dist.data.datasets import ImageDataset, open_points
from wgan_dist.data.holdout import split_holdout
from wgan_dist.evaluation.evaluator import ImageEvaluator, PointEvaluator, make_evaluator
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.evaluation.real_against_real import SPLITS, Metrics, measure_splits, random_splits, split_sizes


def test_sets_have_no_sample_in_common_and_the_asked_sizes_or_halves() -> None:
    assert split_sizes(10, 6, 4) == (6, 4)
    assert split_sizes(10, 6, 5) == split_sizes(11, 12, 12) == (5, 5)
    splits = list(random_splits(50, 30, 20, seed=0))
    assert len(splits) == SPLITS
    assert all(sorted([*first, *second]) == list(range(50)) for first, second in splits)
    assert len({tuple(first) for first, _ in splits}) == SPLITS


def test_the_value_is_a_mean_with_its_standard_deviation() -> None:
    values = iter([1.0, 2.0, 3.0, 6.0])
    found = measure_splits(lambda first, second: {"some": next(values)}, 100, 10, 20, seed=0)["some"]
    assert (found.value, found.first, found.second) == (3.0, 10, 20)
    assert found.spread == pytest.approx((14 / 3) ** 0.5)
    assert found.protocol == "10 real against 20 other real, mean of 4 random splits"


def test_too_few_samples_have_no_value() -> None:
    assert measure_splits(lambda first, second: {"some": 1.0}, 1, 10, 10, seed=0) == {}


def test_the_difference_of_means_of_halves_has_its_expectation() -> None:
    """For x ~ N(0, 1) the difference of two means of n is N(0, 2/n), and E |difference| = √(4 / (π n))."""
    x = np.random.default_rng(0).normal(size=(200, 800))

    def difference_of(row: NDArray[np.float64]) -> Metrics:
        return lambda first, second: {"difference": float(abs(row[first].mean() - row[second].mean()))}

    found = [measure_splits(difference_of(row), 800, 400, 400, 0)["difference"] for row in x]
    mean = np.mean([each.value for each in found])
    assert mean == pytest.approx((4 / (np.pi * 400)) ** 0.5, rel=0.1)


def evaluator_of(images: ImageDataset, count: int, tmp_path: Path, **settings: str) -> ImageEvaluator:
    config = Config(evaluation_images=count, cache_dir=str(tmp_path), **settings)  # type: ignore[arg-type]
    found = make_evaluator(config, images, split_holdout(images, 0.0), torch.device("cpu"))
    assert isinstance(found, ImageEvaluator)
    return found


def test_real_images_against_real_ones_are_measured_by_the_same_metrics(digits: ImageDataset, tmp_path: Path) -> None:
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    evaluator = evaluator_of(digits, 60, tmp_path, feature_extractor=extractor)
    found = evaluator.real_values
    assert found.keys() == set(evaluator.names)
    # A second computation of the first metric, and of an upper bound of the others: noise is further away.
    pixels = torch.from_numpy(digits.pixels[evaluator.pool]).float() / 127.5 - 1.0
    again = [
        Reference.of(pixels[first]).distance(pixels[second]) for first, second in random_splits(120, 60, 60, seed=0)
    ]
    assert found["sliced_wasserstein"].value == pytest.approx(np.mean(again), rel=1e-4)
    noise = evaluator.measure(lambda part: torch.rand(part.stop - part.start, *digits.shape) * 2 - 1)
    for name in ("sliced_wasserstein", "nearest_neighbour", "frechet_distance", "kernel_distance"):
        assert found[name].value < 0.3 * noise[name]
    assert (found["diversity"].first, found["diversity"].second) == (60, 0)


def test_real_images_are_measured_on_every_process_or_not_at_all_where_there_are_too_few(
    digits: ImageDataset, tmp_path: Path
) -> None:
    alone = evaluator_of(ImageDataset("one", digits.pixels[:1], "", ()), 2, tmp_path, metrics=("diversity",))  # type: ignore[arg-type]
    assert alone.real_values == {}


def test_real_points_cover_their_modes() -> None:
    ring = open_points("8gaussians")
    found = PointEvaluator(ring, 0, np.arange(len(ring))).real_values
    assert (found["modes_covered"].value, found["modes_covered"].spread) == (8.0, 0.0)
    # 1 − exp(−3²/2) of a Gaussian in the plane is within 3 σ.
    assert found["good_share"].value == pytest.approx(1 - np.exp(-4.5), abs=0.002)
    assert 0.0 < found["exact_wasserstein"].value < 0.2
