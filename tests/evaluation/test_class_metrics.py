"""Metrics of classes, held against numpy on a linear classifier and linear features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor, nn

from tests.extractors import torchscript
from wgan_dist.config import Config
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.data.holdout import split_holdout
from wgan_dist.data.labels import Labels
from wgan_dist.evaluation.evaluator import ImageEvaluator, make_evaluator
from wgan_dist.evaluation.metrics.classes import describe_classes, large_classes, too_few_of_classes
from wgan_dist.evaluation.metrics.feature_distances import frechet_by_class
from wgan_dist.evaluation.real_against_real import random_splits
from wgan_dist.utils.errors import UserError

CPU, NAMES, SIDE = torch.device("cpu"), ("coat", "bag", "shoe"), 8
PIXELS = SIDE * SIDE
RANDOM = np.random.default_rng(3)
WEIGHTS = {"features": RANDOM.normal(size=(PIXELS, 5)) / 100, "logits": RANDOM.normal(size=(PIXELS, 3)) / 100}
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Linear(nn.Module):
    """A linear layer on the levels of the pixels, in float64."""

    weights: Tensor

    def __init__(self, weights: Floats) -> None:
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double() @ self.weights


def images_of(labels: Rows, seed: int) -> NDArray[np.uint8]:
    """Draw images uint8 [n, 1, 8, 8] whose mean level depends on their class."""
    drawn = np.random.default_rng(seed).normal(40.0 + 60.0 * labels[:, None], 30.0, (len(labels), PIXELS))
    return drawn.clip(0, 255).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)


def responses(kind: str, images: NDArray[np.uint8]) -> Floats:
    found: Floats = images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS[kind]
    return found


def closed_form(first: Floats, second: Floats) -> float:
    """Return the Fréchet distance of Gaussians (Dowson and Landau 1982), by a matrix root."""
    covariances = [np.cov(each, rowvar=False) for each in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root))


REAL = Labels(NAMES, np.repeat(np.arange(3), (60, 50, 40)))
ASKED = Labels(NAMES, RANDOM.permutation(np.repeat(np.arange(3), (30, 25, 45))))
DATA = ImageDataset("clothes", images_of(REAL.values, 1), "some", (), labels=REAL)
GENERATED = images_of(np.minimum(ASKED.values + 1, 2), 2)  # of another class than was asked for, except the last


def files(folder: Path) -> dict[str, str]:
    return {
        "feature_extractor": torchscript(Linear(WEIGHTS["features"]), folder / "features.pt"),
        "classifier": torchscript(Linear(WEIGHTS["logits"]), folder / "classifier.pt"),
    }


def evaluator_of(
    folder: Path, labels: Labels | None = ASKED, data: ImageDataset = DATA, count: int = 100, **settings: object
) -> ImageEvaluator:
    config = Config(evaluation_images=count, cache_dir=str(folder), **files(folder) | settings)  # type: ignore[arg-type]
    split = split_holdout(data, 0.0)
    asked = None if labels is None else torch.from_numpy(labels.values)
    found = make_evaluator(config, data, split, CPU, len(data), asked)
    assert isinstance(found, ImageEvaluator)
    return found


def generate(part: slice) -> Tensor:
    return torch.from_numpy(GENERATED[part])


def test_accuracy_and_distances_are_those_of_numpy(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path)
    values, by_class = evaluator.measure_by_class(generate)
    right = responses("logits", GENERATED).argmax(1) == ASKED.values
    assert 0.1 < right.mean() < 0.9
    assert values["label_accuracy"] == pytest.approx(right.mean())
    assert by_class["label_accuracy"] == pytest.approx({each: right[ASKED.values == each].mean() for each in range(3)})
    features = [(responses("features", images), of) for images, of in ((GENERATED, ASKED), (DATA.pixels, REAL))]
    expected = {
        number: closed_form(*(found[of.values == number] for found, of in features)) for number in range(len(NAMES))
    }
    assert by_class["class_frechet_distance"] == pytest.approx(expected, rel=1e-6)
    assert values["class_frechet_distance"] == pytest.approx(np.mean(list(expected.values())), rel=1e-6)
    assert evaluator.measure(generate) == values


def test_real_images_are_measured_with_their_own_classes(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, count=60, labels=Labels(NAMES, ASKED.values[:60]))
    found = evaluator.real_values
    pool = evaluator.pool
    right = responses("logits", DATA.pixels[pool]).argmax(1) == REAL.values[pool]
    splits = list(random_splits(150, 60, 0, seed=0))
    assert found["label_accuracy"].value == pytest.approx(np.mean([right[rows].mean() for rows, _ in splits]))
    assert (found["label_accuracy"].first, found["label_accuracy"].second) == (60, 0)
    features, labels = responses("features", DATA.pixels[pool]), REAL.values[pool]
    expected = [
        closed_form(features[first][labels[first] == number], features[second][labels[second] == number])
        for first, second in random_splits(150, 75, 75, seed=0)
        for number in range(3)
    ]
    assert found["class_frechet_distance"].value == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_distance_within_classes_is_the_closed_form_of_gaussians() -> None:
    labels = np.array([0, 1] * 40)
    drawn = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 3)))
    moved = drawn + torch.from_numpy(np.where(labels == 1, 2.0, 0.0))[:, None]
    found = frechet_by_class(moved, labels, drawn, labels, np.array([0, 1]))
    # Equal covariances leave |Δμ|², which is 3 · 2².
    assert found == pytest.approx({0: 0.0, 1: 12.0}, abs=1e-6)


def test_a_class_of_few_images_is_left_out_by_name_and_none_is_measured_of_fewer() -> None:
    generated, real = Labels(NAMES, np.repeat(np.arange(3), (10, 9, 40))), Labels(NAMES, np.repeat([0, 1, 2], 10))
    assert large_classes(generated, real).tolist() == [0, 2]
    assert describe_classes(generated, real) == (
        "mean over 2 of 3 classes of 10 to 40 generated and 10 real images each; "
        "without those of fewer than 10: bag (9 and 10)"
    )
    assert too_few_of_classes(generated, real) == ""
    few = Labels(NAMES, np.repeat(np.arange(3), (2, 7, 8)))
    assert too_few_of_classes(few, real) == (
        "needs 10 generated and 10 real images of a class, and no class has them; the largest is shoe (8 and 10)"
    )


def test_a_class_that_is_left_out_is_in_no_mean(tmp_path: Path) -> None:
    asked = ASKED.values.copy()
    asked[np.flatnonzero(asked == 1)[5:]] = 0
    evaluator = evaluator_of(tmp_path, Labels(NAMES, asked))
    values, by_class = evaluator.measure_by_class(generate)
    assert by_class["class_frechet_distance"].keys() == {0, 2}
    assert values["class_frechet_distance"] == pytest.approx(np.mean(list(by_class["class_frechet_distance"].values())))
    assert "without those of fewer than 10: bag (5 and 50)" in evaluator.protocol("class_frechet_distance")
    assert by_class["label_accuracy"].keys() == {0, 1, 2}


def test_the_protocols_name_the_files_and_the_classes(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path)
    accuracy, distance = (evaluator.protocol(name) for name in ("label_accuracy", "class_frechet_distance"))
    assert accuracy.startswith("100 generated, 8×8 grey, logits of classifier.pt (")
    assert ", features of features.pt (" in distance
    assert distance.endswith(", mean over 3 of 3 classes of 25 to 45 generated and 40 to 60 real images each")
    assert evaluator.compared("label_accuracy") == (100, 0)
    assert evaluator.compared("class_frechet_distance") == (100, 150)


def test_classes_are_measured_only_where_there_are_some(tmp_path: Path) -> None:
    without = ImageDataset("clothes", DATA.pixels, "some", ())
    evaluator = evaluator_of(tmp_path, None, without)
    assert not {"label_accuracy", "class_frechet_distance"} & {*evaluator.names, *evaluator.metric_set.skipped}
    for name in ("label_accuracy", "class_frechet_distance"):
        with pytest.raises(UserError, match=f"^metrics={name}: needs a generator and real images of the same classes$"):
            evaluator_of(tmp_path, None, without, metrics=(name,))
    skipped = evaluator_of(tmp_path, classifier="", feature_extractor="").metric_set.skipped
    assert skipped["label_accuracy"] == "needs --classifier=FILE"
    assert skipped["class_frechet_distance"] == "needs --feature_extractor=FILE"


def test_too_few_images_of_every_class_are_refused_if_named_and_else_skipped(tmp_path: Path) -> None:
    few = Labels(NAMES, np.repeat(np.arange(3), 9))
    said = "needs 10 generated and 10 real images of a class"
    assert evaluator_of(tmp_path, few, count=27).metric_set.skipped["class_frechet_distance"].startswith(said)
    with pytest.raises(UserError, match=rf"^metrics=class_frechet_distance: {said}, .* is coat \(9 and 60\)$"):
        evaluator_of(tmp_path, few, count=27, metrics=("class_frechet_distance",))


def test_a_classifier_of_other_classes_is_named(tmp_path: Path) -> None:
    file = torchscript(Linear(WEIGHTS["features"]), tmp_path / "five.pt")
    said = rf"^classifier={file}: expected uint8 \[2, 1, 8, 8\] to logits \[2, 3\]: gives \[2, 5\]$"
    with pytest.raises(UserError, match=said):
        evaluator_of(tmp_path, classifier=file)
