"""Distances between sets of features, and the scores of a classifier's outputs, as torch-fidelity computes them.

Fréchet: Heusel et al. 2017. Kernel: Bińkowski et al. 2018. Inception score: Salimans et al. 2016. Precision and
recall: Kynkäänniemi et al. 2019.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from wgan_dist.evaluation.protocol import KERNEL_SUBSET
from wgan_dist.tracking.metric_names import INCEPTION, METRICS
from wgan_dist.utils.errors import UserError

# The k-nearest-neighbour balls of precision and recall, and the parts that the inception score is a mean over.
NEIGHBOURS, SPLITS = 3, 10


def _check(name: str, least: int, *sets: Tensor) -> None:
    fewest = min(map(len, sets))
    if fewest < least:
        raise UserError(f"{name}: {fewest} images: expected at least {least}")
    if not all(bool(torch.isfinite(features).all()) for features in sets):
        raise UserError(f"{name}: features that are not finite")
    if len({features.shape[1:] for features in sets}) > 1:
        shapes = " and ".join(str(list(features.shape[1:])) for features in sets)
        raise UserError(f"{name}: features of {shapes}: expected the same length")


def frechet_distance(generated: Tensor, real: Tensor, name: str = "frechet_distance") -> float:
    """Return |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of features [n, d] and [m, d]; n, m ≥ 2.

    Raises:
        UserError: For too few features and for features that are not finite; the message begins with `name`. So do
            the other functions here.
    """
    _check(name, 2, generated, real)
    first, second = fid_features_to_statistics(generated), fid_features_to_statistics(real)
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def frechet_by_class(
    generated: Tensor,
    generated_labels: NDArray[np.int64],
    real: Tensor,
    real_labels: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> dict[int, float]:
    """Return the Fréchet distance between generated and real images of each of the classes `numbers`, by its number.

    `generated_labels` [n] and `real_labels` [m] are the classes of the features [n, d] and [m, d].
    """
    return {
        int(number): frechet_distance(
            generated[generated_labels == number], real[real_labels == number], "class_frechet_distance"
        )
        for number in numbers
    }


def kernel_distance(generated: Tensor, real: Tensor, name: str = "kernel_distance") -> float:
    """Return the unbiased squared maximum mean discrepancy of features [n, d] and [m, d].

    The kernel is (x·y/d + 1)³. For sets of one distribution the value is around 0 and may be negative.
    """
    _check(name, 2, generated, real)
    size = min(KERNEL_SUBSET, len(generated), len(real))
    values = kid_features_to_metric(generated, real, kid_subset_size=size, verbose=False)
    return float(values[KEY_METRIC_KID_MEAN])


def inception_score(logits: Tensor, name: str = "inception_score") -> float:
    """Return exp E KL(p(y|x) ‖ p(y)) of a classifier's logits [n, classes]: from 1 to the number of classes."""
    _check(name, SPLITS, logits)
    return float(isc_features_to_metric(logits, SPLITS)[KEY_METRIC_ISC_MEAN])


def precision_recall(generated: Tensor, real: Tensor, name: str = "precision, recall") -> tuple[float, float]:
    """Return the share of generated features [n, d] near real ones [m, d], and of real ones near generated ones.

    Near is a feature within the distance of another one to its third neighbour in its own set.
    """
    _check(name, NEIGHBOURS + 1, generated, real)
    values = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False)
    return float(values[KEY_METRIC_PRECISION]), float(values[KEY_METRIC_RECALL])


DISTANCES = {
    "fid": frechet_distance,
    "kid": kernel_distance,
    "frechet_distance": frechet_distance,
    "kernel_distance": kernel_distance,
}


def feature_metrics(
    names: tuple[str, ...], generated: dict[str, Tensor], real: dict[str, Tensor], logits: Tensor | None
) -> dict[str, float]:
    """Compute those of `names` that are computed from features.

    `generated` and `real` hold features [n, d] by extractor, as the metric registry names it; `logits` are Inception's.
    """
    values = {
        name: distance(generated[METRICS[name].of], real[METRICS[name].of], name)
        for name, distance in DISTANCES.items()
        if name in names
    }
    if "inception_score" in names and logits is not None:
        values["inception_score"] = inception_score(logits)
    if "precision" in names or "recall" in names:
        values["precision"], values["recall"] = precision_recall(generated[INCEPTION], real[INCEPTION])
    return {name: value for name, value in values.items() if name in names}
