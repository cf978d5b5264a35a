"""The names of all that is measured of a generator, as they are recorded, and which way is better."""

from dataclasses import dataclass

# What a metric is computed from.
PIXELS, INCEPTION, EXTRACTOR, CRITIC, POINTS = "pixels", "Inception", "feature_extractor", "critic", "points"


@dataclass(frozen=True)
class Metric:
    """What it is computed from, and whether a lower value is better; None where neither way is."""

    of: str
    lower_is_better: bool | None


METRICS = {
    "sliced_wasserstein": Metric(PIXELS, True),
    "nearest_neighbour": Metric(PIXELS, None),
    "diversity": Metric(PIXELS, False),
    "fid": Metric(INCEPTION, True),
    "kid": Metric(INCEPTION, True),
    "inception_score": Metric(INCEPTION, False),
    "precision": Metric(INCEPTION, False),
    "recall": Metric(INCEPTION, False),
    "frechet_distance": Metric(EXTRACTOR, True),
    "kernel_distance": Metric(EXTRACTOR, True),
    "wasserstein_train": Metric(CRITIC, True),
    "wasserstein_holdout": Metric(CRITIC, True),
    "exact_wasserstein": Metric(POINTS, True),
    "critic_wasserstein": Metric(POINTS, None),
    "modes_covered": Metric(POINTS, False),
    "good_share": Metric(POINTS, False),
    "rarest_mode_share": Metric(POINTS, False),
}
# What --metrics chooses from, and the words that it takes for them besides their names.
OF_IMAGES = tuple(name for name, measure in METRICS.items() if measure.of in (PIXELS, INCEPTION, EXTRACTOR))
SHORT = {
    "swd": ("sliced_wasserstein",),
    "nn": ("nearest_neighbour",),
    "is": ("inception_score",),
    "pr": ("precision", "recall"),
    "frechet": ("frechet_distance",),
    "kernel": ("kernel_distance",),
}


def parse_metrics(value: object) -> tuple[str, ...] | None:
    """Names from a text or a list, in the order they are recorded in; None for auto. Raises ValueError for others."""
    asked = [str(each).strip() for each in (value if isinstance(value, (list, tuple)) else str(value).split(","))]
    if asked == ["auto"] or value is None:
        return None
    named = {name for each in asked for name in SHORT.get(each, (each,))}
    if not named <= set(OF_IMAGES):
        raise ValueError(f"auto, or some of {', '.join([*SHORT, *OF_IMAGES])}")
    return tuple(name for name in OF_IMAGES if name in named)


def parse_best_metric(value: object) -> str:
    """auto, or the name of a metric of which one way is better; raises ValueError otherwise."""
    known = ["auto", *(name for name, measure in METRICS.items() if measure.lower_is_better is not None)]
    if str(value) not in known:
        raise ValueError("one of " + ", ".join(known))
    return str(value)
