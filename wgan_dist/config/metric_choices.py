"""The names of the metrics that settings choose from; `wgan_dist.tracking.metric_names` describes them."""

# The values of --metrics, in the order of recording.
IMAGE_METRICS = (
    "sliced_wasserstein",
    "nearest_neighbour",
    "diversity",
    "spectrum_error",
    "fid",
    "kid",
    "inception_score",
    "precision",
    "recall",
    "frechet_distance",
    "kernel_distance",
    "class_frechet_distance",
    "label_accuracy",
)
SHORT_NAMES = {
    "swd": ("sliced_wasserstein",),
    "nn": ("nearest_neighbour",),
    "spectrum": ("spectrum_error",),
    "is": ("inception_score",),
    "pr": ("precision", "recall"),
    "frechet": ("frechet_distance",),
    "kernel": ("kernel_distance",),
    "class_frechet": ("class_frechet_distance",),
    "accuracy": ("label_accuracy",),
}
# The values of --best_metric: metrics with a better direction.
BEST_METRICS = (
    "auto",
    *(name for name in IMAGE_METRICS if name != "nearest_neighbour"),
    "wasserstein_train",
    "wasserstein_holdout",
    "exact_wasserstein",
    "point_sliced_wasserstein",
    "modes_covered",
    "good_share",
    "rarest_mode_share",
)


def full_name(name: object) -> str:
    """Return the full name of one metric for its short name; any other text is returned in lower case."""
    text = str(name).strip().lower()
    full_names = SHORT_NAMES.get(text, ())
    return full_names[0] if len(full_names) == 1 else text


def parse_metrics(value: object) -> tuple[str, ...] | None:
    """Return full names in the order of IMAGE_METRICS, or None for `auto`.

    Raises:
        ValueError: For an unknown name; the message lists what is accepted.
    """
    if value is None or str(value).lower() == "auto":
        return None
    names = [
        str(name).strip().lower() for name in (value if isinstance(value, (list, tuple)) else str(value).split(","))
    ]
    chosen = {full_name for name in names for full_name in SHORT_NAMES.get(name, (name,))}
    if not chosen <= set(IMAGE_METRICS):
        raise ValueError(f"auto, or some of {', '.join([*SHORT_NAMES, *IMAGE_METRICS])}")
    return tuple(name for name in IMAGE_METRICS if name in chosen)
