"""The metrics of real samples against other real samples: the values that a perfect generator would have.

A distance between finite sets is more than 0 even where both come from one distribution. The value is a mean over
random splits of real samples into two sets, as large as the sets that the metric compares where there are enough, and
its standard deviation says how much the metric varies with the choice of samples.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data.synthetic import Mixture
from wgan_dist.evaluation.metrics.neighbours import mean_pairwise_distance, nearest
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.evaluation.protocol import NEIGHBOUR_IMAGES, PIXEL_IMAGES, POINTS_COUNTED, POINTS_MATCHED
from wgan_dist.evaluation.real_features import pixels_of
from wgan_dist.tracking.metric_names import METRICS
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

if TYPE_CHECKING:
    from wgan_dist.evaluation.evaluator import ImageEvaluator, PointEvaluator

SPLITS = 4
Rows = NDArray[np.int64]
# A metric of the rows of two sets.
Metric = Callable[[Rows, Rows], float]


@dataclass(frozen=True)
class RealValue:
    """A metric of real samples against real samples.

    Attributes:
        value: The mean over the splits.
        spread: The standard deviation over the splits.
        first, second: The numbers of samples in the two sets; `second` is 0 for a metric of one set.
    """

    value: float
    spread: float
    first: int
    second: int

    @property
    def protocol(self) -> str:
        """Describe the measurement."""
        sets = f"{self.first:,} real against {self.second:,} other real" if self.second else f"{self.first:,} real"
        return f"{sets}, mean of {SPLITS} random splits"


def split_sizes(available: int, first: int, second: int) -> tuple[int, int]:
    """Return the sizes of two sets without common samples: `first` and `second`, or halves of what is available."""
    return (first, second) if first + second <= available else (available // 2, available // 2)


def random_splits(available: int, first: int, second: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows of two sets without common samples, drawn at random for each split."""
    for number in range(SPLITS):
        rows = rng.permutation(seed, "real_against_real", number, available)
        yield rows[:first], rows[first : first + second]


def measure_splits(metric: Metric, available: int, first: int, second: int, seed: int) -> RealValue | None:
    """Measure `metric` of the rows of two sets; None if there are too few samples for it.

    A `second` of 0 stands for a metric of one set.
    """
    sizes = split_sizes(available, first, second) if second else (min(first, available), 0)
    if not sizes[0]:
        return None
    with suppress(UserError):  # fewer samples than the metric needs
        values = [metric(*rows) for rows in random_splits(available, *sizes, seed)]
        return RealValue(float(np.mean(values)), float(np.std(values, ddof=1)), *sizes)
    return None


def _image_metrics(evaluator: "ImageEvaluator", features: dict[str, Tensor]) -> dict[str, tuple[Metric, int, int]]:
    """Return each metric as a function of rows of the pool, with the sizes of its sets."""
    data, pool, generated = evaluator.data, evaluator.pool, evaluator.count

    def sliced_wasserstein(first: Rows, second: Rows) -> float:
        return Reference.of(evaluator.floats(pool[first])).distance(evaluator.floats(pool[second]))

    def diversity(rows: Rows, _: Rows) -> float:
        return mean_pairwise_distance(pixels_of(data, pool[rows]))

    def nearest_neighbour(rows: Rows, _: Rows) -> float:
        others = np.setdiff1d(evaluator.training, pool[rows])
        if not len(others):
            raise UserError("nearest_neighbour: there is no other image")
        pixels = pixels_of(data, pool[rows]).to(evaluator.device)
        return float(nearest(pixels, data.pixels, others).distances.mean())

    metrics: dict[str, tuple[Metric, int, int]] = {
        "sliced_wasserstein": (sliced_wasserstein, evaluator.pixel_images, evaluator.pixel_images),
        "diversity": (diversity, min(PIXEL_IMAGES, generated), 0),
        "nearest_neighbour": (nearest_neighbour, min(NEIGHBOUR_IMAGES, generated), 0),
    }
    for name in evaluator.metric_set.names:
        if METRICS[name].of in features and name != "inception_score":
            metrics[name] = (_feature_metric(name, features[METRICS[name].of]), generated, evaluator.real_count)
    return {name: metrics[name] for name in evaluator.metric_set.names if name in metrics}


def _feature_metric(name: str, features: Tensor) -> Metric:
    from wgan_dist.evaluation.metrics.feature_distances import feature_metrics  # torch-fidelity is slow to import

    source = METRICS[name].of
    return lambda first, second: feature_metrics((name,), {source: features[first]}, {source: features[second]}, None)[
        name
    ]


def image_values(evaluator: "ImageEvaluator", features: dict[str, Tensor]) -> dict[str, RealValue]:
    """Return the metrics of real images; `features` are those of the pool, by extractor."""
    measured = {
        name: measure_splits(metric, len(evaluator.pool), first, second, evaluator.seed)
        for name, (metric, first, second) in _image_metrics(evaluator, features).items()
    }
    return {name: value for name, value in measured.items() if value}


def point_values(evaluator: "PointEvaluator") -> dict[str, RealValue]:
    """Return the metrics of real points."""
    from wgan_dist.evaluation.metrics.points import exact_wasserstein, mode_metrics  # scipy: 40 MB for points alone

    points, mixture = evaluator.data.values[evaluator.training], evaluator.data.mixture

    def distance(first: Rows, second: Rows) -> float:
        return exact_wasserstein(points[first], points[second])

    def of_modes(name: str, mixture: Mixture) -> Metric:
        return lambda rows, _: mode_metrics(points[rows], mixture)[name]

    metrics: dict[str, tuple[Metric, int, int]] = {"exact_wasserstein": (distance, POINTS_MATCHED, POINTS_MATCHED)}
    if mixture:
        for name in ("modes_covered", "good_share", "rarest_mode_share"):
            metrics[name] = (of_modes(name, mixture), POINTS_COUNTED, 0)
    measured = {
        name: measure_splits(metric, len(points), first, second, evaluator.seed)
        for name, (metric, first, second) in metrics.items()
    }
    return {name: value for name, value in measured.items() if value}
