"""The protocol of each metric: how many samples it compares, which ones and how, in words to print beside its value."""

from typing import TYPE_CHECKING

from wgan_dist.tracking.metric_names import CRITIC, METRICS

if TYPE_CHECKING:
    from wgan_dist.evaluation.evaluator import ImageEvaluator, PointEvaluator

# Pixel metrics take the first images, and the search among all training images takes fewer of them.
PIXEL_IMAGES, NEIGHBOUR_IMAGES = 1024, 128
# The kernel distance is a mean over 100 pairs of subsets of this size, or of all features where there are fewer.
KERNEL_SUBSET = 1000
# The cost of the exact distance grows with the cube of its points; counting modes costs next to nothing.
POINTS_MATCHED, POINTS_COUNTED = 1000, 10_000
# The layer of Inception that the inception score is computed from.
LOGITS = "logits_unbiased"
PIXEL_DISTANCE = "Euclidean over pixels in [-1, 1]"


def _real_samples(evaluator: "ImageEvaluator | PointEvaluator") -> str:
    """Name the samples that the networks are trained on, which metrics compare with."""
    return evaluator.data.name + (", training part" if len(evaluator.training) < len(evaluator.data) else "")


def _critic_protocol(scored: int) -> str:
    return f"the critic's scores of {scored:,} real samples of this part and {scored:,} generated ones"


def image_protocol(evaluator: "ImageEvaluator", name: str) -> str:
    """Return how many images of which set a metric compares, their size, and the network that compares them."""
    generated, real, training = evaluator.count, len(evaluator.real), len(evaluator.training)
    size, source = f"{evaluator.data.shape[-2]}×{evaluator.data.shape[-1]}", _real_samples(evaluator)
    if METRICS[name].of == CRITIC:
        return _critic_protocol(len(evaluator.critic or ()))
    if name == "nearest_neighbour":
        count = min(NEIGHBOUR_IMAGES, generated)
        return f"{count:,} generated, the nearest of {training:,} real ({source}), {size}, {PIXEL_DISTANCE}"
    if name == "diversity":
        return f"{min(PIXEL_IMAGES, generated):,} generated, all pairs, {size}, {PIXEL_DISTANCE}"
    if name == "sliced_wasserstein":
        return f"{evaluator.pixel_images:,} generated, {evaluator.pixel_images:,} real ({source}), {size}"
    compared = "" if name == "inception_score" else f", {real:,} real ({source})"
    has_subsets = name in ("kid", "kernel_distance")
    subsets = f", subsets of {min(KERNEL_SUBSET, generated, real):,}" if has_subsets else ""
    description = evaluator.metric_set.extractors[METRICS[name].of].description
    return f"{generated:,} generated{compared}, {size}, {description}{subsets}"


def point_protocol(evaluator: "PointEvaluator", name: str) -> str:
    """Return how many points of which set a metric compares."""
    if METRICS[name].of == CRITIC:
        return _critic_protocol(len(evaluator.critic or ()))
    if name == "exact_wasserstein":
        return f"{POINTS_MATCHED:,} generated, {POINTS_MATCHED:,} real ({_real_samples(evaluator)})"
    return f"{POINTS_COUNTED:,} generated ({evaluator.data.name})"
