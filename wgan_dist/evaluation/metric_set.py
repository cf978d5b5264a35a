"""The metrics of images that can be computed here, with the networks that they need."""

from dataclasses import dataclass, field

import torch

from wgan_dist.config.metric_choices import IMAGE_METRICS
from wgan_dist.evaluation.extractors import Extractor, open_extractor
from wgan_dist.evaluation.metrics.power_spectrum import LEAST_SIDE
from wgan_dist.tracking.metric_names import EXTRACTOR, INCEPTION, METRICS
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


def _usual_metrics(is_eight_bit: bool) -> tuple[str, ...]:
    """Return the metrics that are measured unless settings choose: the spectrum is that of data of any other depth."""
    return tuple(name for name in IMAGE_METRICS if not (is_eight_bit and name == "spectrum_error"))


def open_metric_set(
    names: tuple[str, ...] | None,
    shape: tuple[int, ...],
    is_eight_bit: bool,
    extractor: str,
    inception: str,
    device: torch.device,
) -> MetricSet:
    """Open what the named metrics need for images of `shape`; None stands for all metrics that can be computed here.

    Those of images of 8 bits do not include the error of the spectrum. `extractor` and `inception` are files, or "".

    Raises:
        UserError: For a file that cannot be used, and for a named metric that cannot be computed.
    """
    from wgan_dist.evaluation.inception import missing_inception, open_inception  # torch-fidelity is slow to import

    # By metric, or by what metrics are computed from.
    missing = {INCEPTION: missing_inception(inception)}
    if not extractor:
        missing[EXTRACTOR] = "needs --feature_extractor=FILE"
    if min(shape[1:]) < LEAST_SIDE:
        missing["spectrum_error"] = f"needs images of at least {LEAST_SIDE}×{LEAST_SIDE} pixels"
    candidates = _usual_metrics(is_eight_bit) if names is None else names
    reasons = {name: missing.get(name) or missing.get(METRICS[name].of) for name in candidates}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if names is not None and skipped:
        name, reason = next(iter(skipped.items()))
        raise UserError(f"metrics={name}: {reason}")
    measured = tuple(name for name in candidates if name not in skipped)
    sources, extractors = {METRICS[name].of for name in measured}, {}
    if EXTRACTOR in sources:
        extractors[EXTRACTOR] = open_extractor(extractor, device, shape)
    if INCEPTION in sources:
        extractors[INCEPTION] = open_inception(inception, device)
    return MetricSet(measured, extractors, skipped)
