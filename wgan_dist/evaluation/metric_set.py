"""Which metrics can be computed here: the networks that images are judged by, and why others cannot be had."""

from dataclasses import dataclass, field

import torch

from wgan_dist.config.metric_choices import IMAGE_METRICS
from wgan_dist.evaluation.extractors import Extractor, missing_inception, open_extractor, open_inception
from wgan_dist.evaluation.metrics.sliced_wasserstein import PATCH
from wgan_dist.tracking.metric_names import EXTRACTOR, INCEPTION, METRICS
from wgan_dist.utils.errors import UserError


def reasons_in_words(skipped: dict[str, str]) -> list[str]:
    """A line for each reason: several metrics may lack the same thing."""
    names = {reason: [name for name, why in skipped.items() if why == reason] for reason in skipped.values()}
    return [f"not {', '.join(names[reason])}: {reason}" for reason in names]


@dataclass(frozen=True)
class MetricSet:
    """The metrics that are measured, the networks they need, and why others are skipped."""

    names: tuple[str, ...]
    extractors: dict[str, Extractor] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([f"measures {', '.join(self.names) or 'nothing'}", *reasons_in_words(self.skipped)])


def _missing(image_size: int, extractor: str, inception: str) -> dict[str, str]:
    """Why metrics cannot be computed, by their name or by what they are computed from."""
    reasons = {INCEPTION: missing_inception(inception)}
    if not extractor:
        reasons[EXTRACTOR] = "needs --feature_extractor=FILE"
    if image_size < PATCH:
        reasons["sliced_wasserstein"] = f"needs an image_size of at least {PATCH}, not {image_size}"
    return reasons


def open_metric_set(
    names: tuple[str, ...] | None, shape: tuple[int, ...], extractor: str, inception: str, device: torch.device
) -> MetricSet:
    """Open what the named metrics need for images of `shape`; None for names is all that can be computed here.

    `extractor` and `inception` are files, or empty. Raises UserError for a file that cannot be used, and for a named
    metric that cannot be computed.
    """
    missing = _missing(shape[-1], extractor, inception)
    asked = IMAGE_METRICS if names is None else names
    reasons = {name: missing.get(name) or missing.get(METRICS[name].of) for name in asked}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if names is not None and skipped:
        name, reason = next(iter(skipped.items()))
        raise UserError(f"metrics={name}: {reason}")
    measured = tuple(name for name in asked if name not in skipped)
    needed, found = {METRICS[name].of for name in measured}, {}
    if EXTRACTOR in needed:
        found[EXTRACTOR] = open_extractor(extractor, device, shape)
    if INCEPTION in needed:
        found[INCEPTION] = open_inception(inception, device)
    return MetricSet(measured, found, skipped)
