"""Recommend augmentation or fine-tuning for data sets of few images."""

# Below so many images a critic overfits within a usual run.
FEW_IMAGES = 5_000
# Adaptive augmentation holds out this share of the images, but not more images than MOST_HELD_OUT, and needs as many as
# LEAST_HELD_OUT to measure overfitting by.
ADAPTIVE_SHARE, MOST_HELD_OUT, LEAST_HELD_OUT = 0.1, 500, 32
FINE_TUNING = "or start from a run on similar images with --init_from=RUN --freeze_critic=2"


def suggestion(count: int) -> str:
    """Return a recommendation for a data set of `count` images, or an empty text if they are enough."""
    if count >= FEW_IMAGES:
        return ""
    name = "adaptive" if count * ADAPTIVE_SHARE >= 1.25 * LEAST_HELD_OUT else "diffaugment"
    few = f"{count:,} images are few, and the critic of a long run overfits them"
    return f"{few}: try --augment={name}, {FINE_TUNING}"
