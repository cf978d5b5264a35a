"""Distances between sets of features, and what is read off a classifier's answers: torch-fidelity's own functions.

Fréchet: Heusel et al. 2017. Kernel: Bińkowski et al. 2018. Inception score: Salimans et al. 2016. Precision and
recall: Kynkäänniemi et al. 2019.
"""

# torch_fidelity brings torchvision, and both as long to import as torch: only what is measured waits for them.
import torch
from torch import Tensor

from wgan_dist.utils.errors import UserError

# Of the kernel distance: a mean over 100 pairs of subsets of this size, or of all where there are fewer.
SUBSET = 1000
# Neighbours that make a sample's surroundings, and parts that the score is a mean over.
NEIGHBOURHOOD, SPLITS = 3, 10


def _check(name: str, least: int, *sets: Tensor) -> None:
    fewest = min(map(len, sets))
    if fewest < least:
        raise UserError(f"{name}: {fewest} images: expected at least {least}")
    if not all(bool(torch.isfinite(features).all()) for features in sets):
        raise UserError(f"{name}: features that are not finite")
    if len({features.shape[1:] for features in sets}) > 1:
        shapes = " and ".join(str(list(features.shape[1:])) for features in sets)
        raise UserError(f"{name}: features of {shapes}: expected the same length")


def frechet(generated: Tensor, real: Tensor, name: str = "frechet_distance") -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of features [n, d] and [m, d]; n, m ≥ 2.

    This and the others raise UserError beginning with `name` for too few features, or such as are not finite.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    _check(name, 2, generated, real)
    first, second = fid_features_to_statistics(generated), fid_features_to_statistics(real)
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def kernel(generated: Tensor, real: Tensor, name: str = "kernel_distance") -> float:
    """The unbiased squared maximum mean discrepancy of features [n, d] and [m, d] under the kernel (x·y/d + 1)³.

    Around 0, and perhaps below, for sets of one distribution.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    _check(name, 2, generated, real)
    size = min(SUBSET, len(generated), len(real))
    found = kid_features_to_metric(generated, real, kid_subset_size=size, verbose=False)
    return float(found[KEY_METRIC_KID_MEAN])


def inception_score(logits: Tensor, name: str = "inception_score") -> float:
    """exp E KL(p(y|x) ‖ p(y)) of a classifier's answers [n, classes] before the softmax: from 1 to `classes`."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    _check(name, SPLITS, logits)
    return float(isc_features_to_metric(logits, SPLITS)[KEY_METRIC_ISC_MEAN])


def precision_recall(generated: Tensor, real: Tensor, name: str = "precision, recall") -> tuple[float, float]:
    """The share of generated features [n, d] in the surroundings of real ones [m, d], and the other way round."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    _check(name, NEIGHBOURHOOD + 1, generated, real)
    found = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURHOOD, save_cpu_ram=True, verbose=False)
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])
