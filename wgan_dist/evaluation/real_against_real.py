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

from wgan_dist.evaluation.metrics.classes import is_right, large_classes
from wgan_dist.evaluation.metrics.neighbours import mean_pairwise_distance, nearest
from wgan_dist.evaluation.metrics.power_spectrum import radial_spectrum, spectrum_error
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.evaluation.real_features import pixels_of
from wgan_dist.tracking.metric_names import CLASSIFIER, EXTRACTOR, METRICS
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

if TYPE_CHECKING:
    from wgan_dist.evaluation.evaluator import ImageEvaluator, PointEvaluator

SPLITS = 4
Rows = NDArray[np.int64]
Values = dict[str, float]
# Metrics of the rows of two sets, by name, that one computation gives.
Metrics = Callable[[Rows, Rows], Values]


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


def measure_splits(metrics: Metrics, available: int, first: int, second: int, seed: int) -> dict[str, RealValue]:
    """Measure metrics of the rows of two sets; there are none if there are too few samples for them.

    A `second` of 0 stands for metrics of one set.
    """
    sizes = split_sizes(available, first, second) if second else (min(first, available), 0)
    if not sizes[0]:
        return {}
    with suppress(UserError):  # fewer samples than a metric needs
        splits = [metrics(*rows) for rows in random_splits(available, *sizes, seed)]
        columns = {name: [values[name] for values in splits] for name in splits[0]}
        return {
            name: RealValue(float(np.mean(column)), float(np.std(column, ddof=1)), *sizes)
            for name, column in columns.items()
        }
    return {}


def _measure_groups(
    evaluator: "ImageEvaluator | PointEvaluator", groups: dict[str, Metrics], available: int
) -> dict[str, RealValue]:
    """Measure groups of metrics, each under the name of one of them, on sets of the sizes that the metric compares."""
    found: dict[str, RealValue] = {}
    for name, metrics in groups.items():
        generated, real = evaluator.compared(name)
        # The nearest neighbours are searched among all samples that are left.
        second = 0 if name == "nearest_neighbour" else real
        found |= measure_splits(metrics, available, generated, second, evaluator.seed)
    return found


def _pixel_metrics(evaluator: "ImageEvaluator") -> dict[str, Metrics]:
    data, pool = evaluator.data, evaluator.pool

    def sliced_wasserstein(first: Rows, second: Rows) -> Values:
        distance = Reference.of(evaluator.floats(pool[first])).distance(evaluator.floats(pool[second]))
        return {"sliced_wasserstein": distance}

    def diversity(rows: Rows, _: Rows) -> Values:
        return {"diversity": mean_pairwise_distance(pixels_of(data, pool[rows]))}

    def nearest_neighbour(rows: Rows, _: Rows) -> Values:
        others = np.setdiff1d(evaluator.training, pool[rows])
        if not len(others):
            raise UserError("nearest_neighbour: there is no other image")
        pixels = pixels_of(data, pool[rows]).to(evaluator.device)
        return {"nearest_neighbour": float(nearest(pixels, data.values, others).distances.mean())}

    def error_of_spectrum(first: Rows, second: Rows) -> Values:
        spectra = [radial_spectrum(evaluator.floats(pool[rows])) for rows in (first, second)]
        return {"spectrum_error": spectrum_error(*spectra)}

    metrics = {
        "sliced_wasserstein": sliced_wasserstein,
        "diversity": diversity,
        "nearest_neighbour": nearest_neighbour,
        "spectrum_error": error_of_spectrum,
    }
    return {name: metrics[name] for name in metrics if name in evaluator.metric_set.names}


def _feature_metrics(names: tuple[str, ...], features: Tensor) -> Metrics:
    from wgan_dist.evaluation.metrics.feature_distances import feature_metrics  # torch-fidelity is slow to import

    source = METRICS[names[0]].of
    return lambda first, second: feature_metrics(names, {source: features[first]}, {source: features[second]}, None)


def _class_metrics(evaluator: "ImageEvaluator", features: dict[str, Tensor]) -> dict[str, Metrics]:
    if evaluator.classes is None or evaluator.data.labels is None:
        return {}
    from wgan_dist.evaluation.metrics.feature_distances import frechet_by_class  # torch-fidelity is slow to import

    labels, numbers = evaluator.data.labels.values[evaluator.pool], large_classes(*evaluator.classes)

    def class_frechet_distance(first: Rows, second: Rows) -> Values:
        sets = [(features[EXTRACTOR][rows], labels[rows]) for rows in (first, second)]
        by_class = frechet_by_class(*sets[0], *sets[1], numbers)
        return {"class_frechet_distance": float(np.mean(list(by_class.values())))}

    def label_accuracy(rows: Rows, _: Rows) -> Values:
        return {"label_accuracy": float(is_right(features[CLASSIFIER][rows], labels[rows]).mean())}

    metrics = {"class_frechet_distance": class_frechet_distance, "label_accuracy": label_accuracy}
    return {name: metrics[name] for name in metrics if name in evaluator.metric_set.names}


def image_values(evaluator: "ImageEvaluator", features: dict[str, Tensor]) -> dict[str, RealValue]:
    """Return the metrics of real images; `features` are those of the pool, by extractor."""
    groups = _pixel_metrics(evaluator) | _class_metrics(evaluator, features)
    distances = [name for name in evaluator.metric_set.names if METRICS[name].of in features and name not in groups]
    # Precision and recall are two values of one computation.
    together = tuple(name for name in distances if name in ("precision", "recall"))
    single = [(name,) for name in distances if name not in (*together, "inception_score")]
    for names in (*single, *filter(None, [together])):
        groups[names[0]] = _feature_metrics(names, features[METRICS[names[0]].of])
    found = _measure_groups(evaluator, groups, len(evaluator.pool))
    return {name: found[name] for name in evaluator.metric_set.names if name in found}


def point_values(evaluator: "PointEvaluator") -> dict[str, RealValue]:
    """Return the metrics of real points."""
    # scipy takes 40 MB, for points alone.
    from wgan_dist.evaluation.metrics.points import exact_wasserstein, mode_metrics, sliced_wasserstein

    mixture = evaluator.data.mixture

    def points(rows: Rows) -> NDArray[np.float32]:
        return np.asarray(evaluator.data.values[evaluator.training[rows]])

    groups: dict[str, Metrics] = {
        "exact_wasserstein": lambda first, second: {
            "exact_wasserstein": exact_wasserstein(points(first), points(second))
        }
    }
    if not evaluator.data.is_built_in:
        groups["point_sliced_wasserstein"] = lambda first, second: {
            "point_sliced_wasserstein": sliced_wasserstein(points(first), points(second))
        }
    if mixture:
        groups["modes_covered"] = lambda rows, _: mode_metrics(points(rows), mixture)
    return _measure_groups(evaluator, groups, len(evaluator.training))
