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
