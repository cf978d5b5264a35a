"""The protocol of each metric: how many samples it compares, which ones and how, in words to print beside its value."""

from typing import TYPE_CHECKING

from wgan_dist.data.transforms import CHANNEL_NAMES
from wgan_dist.evaluation.metrics.classes import describe_classes
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
SPECTRUM = "rings of wave number 1 to half the shorter side, in decades"
PIXEL_DISTANCE = "Euclidean over pixels in [-1, 1]"


def compared_images(evaluator: "ImageEvaluator", name: str) -> tuple[int, int]:
    """Return how many generated and how many real images a metric is computed from."""
    if METRICS[name].of == CRITIC:
        return len(evaluator.critic or ()), len(evaluator.critic or ())
    if name == "nearest_neighbour":
        return min(NEIGHBOUR_IMAGES, evaluator.count), len(evaluator.training)
    if name == "diversity":
        return min(PIXEL_IMAGES, evaluator.count), 0
    if name in ("sliced_wasserstein", "spectrum_error"):
        return evaluator.pixel_images, evaluator.pixel_images
    return evaluator.count, 0 if name in ("inception_score", "label_accuracy") else evaluator.real_count


def compared_points(evaluator: "PointEvaluator", name: str) -> tuple[int, int]:
    """Return how many generated and how many real points a metric is computed from."""
    if METRICS[name].of == CRITIC:
        return len(evaluator.critic or ()), len(evaluator.critic or ())
    if name in ("exact_wasserstein", "critic_wasserstein"):
        matched = min(POINTS_MATCHED, len(evaluator.training))
        return matched, matched
    if name == "point_sliced_wasserstein":
        matched = min(evaluator.count, len(evaluator.training))
        return matched, matched
    return evaluator.count, 0


def _critic_protocol(generated: int, real: int) -> str:
    return f"the critic's scores of {real:,} real samples of this part and {generated:,} generated ones"


def _real_samples(evaluator: "ImageEvaluator | PointEvaluator") -> str:
    """Name the samples that the networks are trained on, which metrics compare with."""
    return evaluator.data.name + (", training part" if len(evaluator.training) < len(evaluator.data) else "")


def image_protocol(evaluator: "ImageEvaluator", name: str) -> str:
    """Return how many images of which set a metric compares, their size, and the network that compares them."""
    generated, real = compared_images(evaluator, name)
    channels, height, width = evaluator.data.shape
    size = f"{height}×{width} {CHANNEL_NAMES.get(channels, f'{channels} channels')}"
    if METRICS[name].of == CRITIC:
        return _critic_protocol(generated, real)
    source = f"{_real_samples(evaluator)}; {evaluator.data.resized}"
    if name == "nearest_neighbour":
        return f"{generated:,} generated, the nearest of {real:,} real ({source}), {size}, {PIXEL_DISTANCE}"
    if name == "diversity":
        return f"{generated:,} generated, all pairs, {size}, {PIXEL_DISTANCE}"
    counts = f"{generated:,} generated" + (f", {real:,} real ({source})" if real else "")
    if name == "sliced_wasserstein":
        return f"{counts}, {size}"
    if name == "spectrum_error":
        return f"{counts}, {size}, {SPECTRUM}"
    has_subsets = name in ("kid", "kernel_distance")
    subsets = f", subsets of {min(KERNEL_SUBSET, generated, real):,}" if has_subsets else ""
    description = evaluator.metric_set.extractors[METRICS[name].of].description
    classes = (
        f", {describe_classes(*evaluator.classes)}" if name == "class_frechet_distance" and evaluator.classes else ""
    )
    return f"{counts}, {size}, {description}{subsets}{classes}"


def point_protocol(evaluator: "PointEvaluator", name: str) -> str:
    """Return how many points of which set a metric compares."""
    generated, real = compared_points(evaluator, name)
    if METRICS[name].of == CRITIC:
        return _critic_protocol(generated, real)
    if real:
        return f"{generated:,} generated, {real:,} real ({_real_samples(evaluator)})"
    return f"{generated:,} generated ({evaluator.data.name})"
