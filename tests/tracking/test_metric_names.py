"""The metric registry holds the metrics that settings choose from, and everything that a run records."""

import json
from pathlib import Path

from wgan_dist.config.metric_choices import BEST_METRICS, IMAGE_METRICS, SHORT_NAMES
from wgan_dist.tracking.metric_names import CLASSIFIER, EXTRACTOR, INCEPTION, METRICS, PIXELS, RECORDED
from wgan_dist.train import train


def test_metrics_of_images_are_the_choices_of_the_setting() -> None:
    assert IMAGE_METRICS == tuple(
        name for name in METRICS if METRICS[name].of in (PIXELS, INCEPTION, EXTRACTOR, CLASSIFIER)
    )
    assert {name for names in SHORT_NAMES.values() for name in names} <= set(IMAGE_METRICS)


def test_metrics_with_a_direction_can_choose_the_best_generator() -> None:
    directed = tuple(name for name in METRICS if METRICS[name].lower_is_better is not None)
    assert BEST_METRICS == ("auto", *directed)


def test_no_two_metrics_share_a_tensorboard_tag() -> None:
    tags = [metric.tensorboard_tag for metric in RECORDED.values() if metric.tensorboard_tag]
    assert len(set(tags)) == len(tags)
    assert all(tag.startswith(("critic/", "generator/", "classes/", "evaluation/", "speed/")) for tag in tags)


def test_every_recorded_name_is_registered(tiny: dict[str, str], tmp_path: Path) -> None:
    few = {"log_every": "1", "max_steps": "1", "evaluate_every": "1", "evaluation_images": "16", "metrics": "nn"}
    for loss in ({}, {"loss": "bce", "penalty": "none"}):
        folder = tmp_path / loss.get("loss", "wasserstein")
        train(tiny | few | loss | {"run_dir": str(folder)})
        (line,) = (folder / "metrics.jsonl").read_text().splitlines()
        assert json.loads(line).keys() - {"step"} <= RECORDED.keys()
