"""The metrics of images that can be computed here, with the networks that they need."""

from dataclasses import dataclass, field

import torch

from wgan_dist.config import Config
from wgan_dist.config.metric_choices import IMAGE_METRICS
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.data.labels import Labels
from wgan_dist.evaluation.extractors import Extractor, open_extractor
from wgan_dist.evaluation.metrics.classes import CLASS_METRICS, too_few_of_classes
from wgan_dist.evaluation.metrics.power_spectrum import LEAST_SIDE
from wgan_dist.tracking.metric_names import CLASSIFIER, EXTRACTOR, INCEPTION, METRICS
from wgan_dist.utils.errors import UserError


def reasons_in_words(skipped: dict[str, str]) -> list[str]:
    """Return a line for each reason with the metrics that are skipped for it."""
    names = {reason: [name for name, why in skipped.items() if why == reason] for reason in skipped.values()}
    return [f"not {', '.join(names[reason])}: {reason}" for reason in names]


@dataclass(frozen=True)
class MetricSet:
    """The metrics to compute, the extractors they need by registry name, and why other metrics are skipped."""

    names: tuple[str, ...]
    extractors: dict[str, Extractor] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([f"measures {', '.join(self.names) or 'nothing'}", *reasons_in_words(self.skipped)])


def _usual_metrics(data: ImageDataset) -> tuple[str, ...]:
    """Return the metrics that are measured unless settings choose.

    The spectrum is that of data of any other depth than 8 bits, and metrics of classes are those of data with labels.
    """
    unusual = {"spectrum_error"} if data.levels.is_eight_bit else set[str]()
    return tuple(name for name in IMAGE_METRICS if name not in unusual.union(() if data.labels else CLASS_METRICS))


def _missing(config: Config, data: ImageDataset, classes: tuple[Labels, Labels] | None) -> dict[str, str]:
    """Return what is missing here, by metric or by what metrics are computed from."""
    from wgan_dist.evaluation.inception import missing_inception  # torch-fidelity is slow to import

    missing = {INCEPTION: missing_inception(config.inception_weights)}
    if not config.feature_extractor:
        missing[EXTRACTOR] = "needs --feature_extractor=FILE"
    if not config.classifier:
        missing[CLASSIFIER] = "needs --classifier=FILE"
    if min(data.shape[1:]) < LEAST_SIDE:
        missing["spectrum_error"] = f"needs images of at least {LEAST_SIDE}×{LEAST_SIDE} pixels"
    if classes is None:
        missing |= dict.fromkeys(CLASS_METRICS, "needs a generator and real images of the same classes")
    elif config.feature_extractor and (too_few := too_few_of_classes(*classes)):
        missing["class_frechet_distance"] = too_few
    return missing


def open_metric_set(
    config: Config, data: ImageDataset, classes: tuple[Labels, Labels] | None, device: torch.device
) -> MetricSet:
    """Open what `config.metrics` need for images of `data`; None stands for all metrics that can be computed here.

    Those of images of 8 bits do not include the error of the spectrum. `classes` are the labels of the generated and of
    the real images, None without classes.

    Raises:
        UserError: For a file that cannot be used, and for a named metric that cannot be computed.
    """
    from wgan_dist.evaluation.inception import open_inception  # torch-fidelity is slow to import

    missing = _missing(config, data, classes)
    candidates = _usual_metrics(data) if config.metrics is None else config.metrics
    reasons = {name: missing.get(name) or missing.get(METRICS[name].of) for name in candidates}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if config.metrics is not None and skipped:
        name, reason = next(iter(skipped.items()))
        raise UserError(f"metrics={name}: {reason}")
    measured = tuple(name for name in candidates if name not in skipped)
    sources, extractors = {METRICS[name].of for name in measured}, {}
    if EXTRACTOR in sources:
        extractors[EXTRACTOR] = open_extractor(config.feature_extractor, device, data.shape)
    if CLASSIFIER in sources and classes:
        extractors[CLASSIFIER] = open_extractor(config.classifier, device, data.shape, len(classes[0].classes))
    if INCEPTION in sources:
        extractors[INCEPTION] = open_inception(config.inception_weights, device)
    return MetricSet(measured, extractors, skipped)
