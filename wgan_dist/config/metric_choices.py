"""The metrics that settings choose from, by name. What they are is in `wgan_dist.tracking.metric_names`."""

# The values of --metrics, in the order in which they are recorded.
IMAGE_METRICS = (
    "sliced_wasserstein",
    "nearest_neighbour",
    "diversity",
    "fid",
    "kid",
    "inception_score",
    "precision",
    "recall",
    "frechet_distance",
    "kernel_distance",
)
SHORT_NAMES = {
    "swd": ("sliced_wasserstein",),
    "nn": ("nearest_neighbour",),
    "is": ("inception_score",),
    "pr": ("precision", "recall"),
    "frechet": ("frechet_distance",),
    "kernel": ("kernel_distance",),
}
# The values of --best_metric: metrics of which one direction is better.
BEST_METRICS = (
    "auto",
    "sliced_wasserstein",
    "diversity",
    "fid",
    "kid",
    "inception_score",
    "precision",
    "recall",
    "frechet_distance",
    "kernel_distance",
    "wasserstein_train",
    "wasserstein_holdout",
    "exact_wasserstein",
    "modes_covered",
    "good_share",
    "rarest_mode_share",
)


def parse_metrics(value: object) -> tuple[str, ...] | None:
    """Return full names in the order of IMAGE_METRICS, or None for `auto`.

    Raises:
        ValueError: For a name that is not known; the message lists what is accepted.
    """
    names = [str(each).strip() for each in (value if isinstance(value, (list, tuple)) else str(value).split(","))]
    if names == ["auto"] or value is None:
        return None
    chosen = {name for each in names for name in SHORT_NAMES.get(each, (each,))}
    if not chosen <= set(IMAGE_METRICS):
        raise ValueError(f"auto, or some of {', '.join([*SHORT_NAMES, *IMAGE_METRICS])}")
    return tuple(name for name in IMAGE_METRICS if name in chosen)
