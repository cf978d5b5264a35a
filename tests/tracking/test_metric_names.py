"""The registry of metrics and the names that settings choose from are the same metrics."""

from wgan_dist.config.metric_choices import BEST_METRICS, IMAGE_METRICS, SHORT_NAMES
from wgan_dist.tracking.metric_names import EXTRACTOR, INCEPTION, METRICS, PIXELS


def test_metrics_of_images_are_the_choices_of_the_setting() -> None:
    assert IMAGE_METRICS == tuple(name for name in METRICS if METRICS[name].of in (PIXELS, INCEPTION, EXTRACTOR))
    assert {name for names in SHORT_NAMES.values() for name in names} <= set(IMAGE_METRICS)


def test_metrics_with_a_direction_can_choose_the_best_generator() -> None:
    directed = tuple(name for name in METRICS if METRICS[name].lower_is_better is not None)
    assert BEST_METRICS == ("auto", *directed)
