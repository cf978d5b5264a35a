"""The registry of recorded metrics: what each is computed from, its direction, TensorBoard tag and short name.

A record of metrics.jsonl holds the generator step as `step` and any of these names.
"""

from dataclasses import dataclass

from wgan_dist.config.network_choices import LIPSCHITZ

# What evaluation metrics are computed from.
PIXELS, INCEPTION, EXTRACTOR, CLASSIFIER = "pixels", "Inception", "feature_extractor", "classifier"
CRITIC, POINTS = "critic", "points"
# What the other recorded values are computed from: two runs of the same settings differ only in the last.
TRAINING, WALL_CLOCK = "training", "wall clock"


@dataclass(frozen=True)
class Metric:
    """A recorded metric.

    `of` is what it is computed from. `lower_is_better` is None where neither direction is better. `tensorboard_tag`
    names its curve in TensorBoard and in other trackers, which do not show it if the tag is empty; tags with the same
    prefix are drawn together. `short_name` stands on the progress line, which does not show it if the name is empty.
    """

    of: str
    lower_is_better: bool | None
    tensorboard_tag: str
    short_name: str = ""


# Values of the training itself. The order is that of the progress line.
TRAINING_METRICS = {
    "wasserstein": Metric(TRAINING, None, "critic/wasserstein_estimate", "W"),
    "critic_loss": Metric(TRAINING, None, "critic/loss"),
    "real_probability": Metric(TRAINING, None, "critic/real_probability", "D(x)"),
    "fake_probability": Metric(TRAINING, None, "critic/fake_probability", "D(G(z))"),
    "real_score": Metric(TRAINING, None, "critic/real_score", "D(x)"),
    "fake_score": Metric(TRAINING, None, "critic/fake_score", "D(G(z))"),
    "score_difference": Metric(TRAINING, None, "critic/score_difference", "D(x)-D(G(z))"),
    "pairs_in_order": Metric(TRAINING, None, "critic/pairs_in_order", "in order"),
    "gradient_penalty": Metric(TRAINING, None, "critic/gradient_penalty", "penalty"),
    "gradient_norm": Metric(TRAINING, None, "critic/gradient_norm", "|∇D|"),
    "real_class_loss": Metric(TRAINING, None, "classes/real_loss", "class"),
    "fake_class_loss": Metric(TRAINING, None, "classes/fake_loss", "of fakes"),
    "critic_lr": Metric(TRAINING, None, "critic/learning_rate"),
    "lipschitz_constant": Metric(TRAINING, None, "critic/lipschitz_constant"),
    "critic_skipped": Metric(TRAINING, None, "critic/skipped_updates"),
    "critic_loss_scale": Metric(TRAINING, None, "critic/loss_scale"),
    "generator_loss": Metric(TRAINING, None, "generator/loss"),
    "generator_lr": Metric(TRAINING, None, "generator/learning_rate"),
    "generator_skipped": Metric(TRAINING, None, "generator/skipped_updates"),
    "generator_loss_scale": Metric(TRAINING, None, "generator/loss_scale"),
    "augment_probability": Metric(TRAINING, None, "critic/augment_probability", "augmented"),
    "overfitting": Metric(TRAINING, None, "critic/overfitting", "overfitting"),
    "seen_images": Metric(TRAINING, None, "speed/seen_images"),
}
# Values that evaluation measures. The order is that of wgan_dist.config.metric_choices.
METRICS = {
    "sliced_wasserstein": Metric(PIXELS, True, "evaluation/sliced_wasserstein", "SWD"),
    "nearest_neighbour": Metric(PIXELS, None, "evaluation/nearest_neighbour"),
    "diversity": Metric(PIXELS, False, "evaluation/diversity"),
    "spectrum_error": Metric(PIXELS, True, "evaluation/spectrum_error"),
    "fid": Metric(INCEPTION, True, "evaluation/fid", "FID"),
    "kid": Metric(INCEPTION, True, "evaluation/kid"),
    "inception_score": Metric(INCEPTION, False, "evaluation/inception_score"),
    "precision": Metric(INCEPTION, False, "evaluation/precision"),
    "recall": Metric(INCEPTION, False, "evaluation/recall"),
    "frechet_distance": Metric(EXTRACTOR, True, "evaluation/frechet_distance", "Fréchet"),
    "kernel_distance": Metric(EXTRACTOR, True, "evaluation/kernel_distance"),
    "class_frechet_distance": Metric(EXTRACTOR, True, "evaluation/class_frechet_distance"),
    "label_accuracy": Metric(CLASSIFIER, False, "evaluation/label_accuracy", "accuracy"),
    # Tagged to be drawn beside the estimate of training: the gap shows over-fitting of the critic.
    "wasserstein_train": Metric(CRITIC, True, "critic/wasserstein_estimate_train"),
    "wasserstein_holdout": Metric(CRITIC, True, "critic/wasserstein_estimate_holdout", "W held out"),
    "exact_wasserstein": Metric(POINTS, True, "evaluation/exact_wasserstein", "exact W"),
    "point_sliced_wasserstein": Metric(POINTS, True, "evaluation/point_sliced_wasserstein"),
    "critic_wasserstein": Metric(POINTS, None, "evaluation/critic_wasserstein"),
    "modes_covered": Metric(POINTS, False, "evaluation/modes_covered", "modes"),
    "good_share": Metric(POINTS, False, "evaluation/good_share", "good"),
    "rarest_mode_share": Metric(POINTS, False, "evaluation/rarest_mode_share"),
}
# What a small 1-Lipschitz critic, trained on the side, sees between generated and held-out samples; tagged to be drawn
# beside the estimate of training.
CERTIFIED_METRICS = {
    "certified_wasserstein": Metric(CRITIC, None, "critic/wasserstein_certified", "certified W"),
    "certified_lower": Metric(CRITIC, None, "critic/wasserstein_certified_lower"),
}


def wasserstein_note(critic: str, penalty: str, spectral_norm: str) -> str:
    """Return what W of a run is, in a sentence, from the settings that constrain its critic."""
    if critic == LIPSCHITZ:
        return (
            "W is the difference that a 1-Lipschitz critic sees in the batches it learns from: on held-out samples "
            "(--holdout) it is in expectation at most the distance"
        )
    settings = {"penalty": penalty, "spectral_norm": spectral_norm, "critic": critic}
    constraint = next(f"{name}={value}" for name, value in settings.items() if value != "none")
    return (
        f"W is an estimate that is scaled by the critic's Lipschitz constant, which {constraint} does not fix: it "
        "shows progress, and bounds no distance"
    )


def real_name(name: str) -> str:
    """Return the name under which a run records the value that a metric has for real samples."""
    return f"{name}_real"


# The values that metrics have for real samples against other real ones: what a perfect generator would reach.
REAL_METRICS = {
    real_name(name): Metric(metric.of, None, real_name(metric.tensorboard_tag))
    for name, metric in METRICS.items()
    if metric.of != CRITIC and name not in ("critic_wasserstein", "inception_score")
}
SPEED_METRICS = {
    "seconds": Metric(WALL_CLOCK, None, ""),
    "images_per_second": Metric(WALL_CLOCK, None, "speed/images_per_second", "img/s"),
    "communication_bytes": Metric(WALL_CLOCK, None, "speed/communication_bytes"),
    "communication_ms": Metric(WALL_CLOCK, None, "speed/communication_ms"),
    "communication_share": Metric(WALL_CLOCK, None, "speed/communication_share"),
}
RECORDED = TRAINING_METRICS | METRICS | CERTIFIED_METRICS | REAL_METRICS | SPEED_METRICS
