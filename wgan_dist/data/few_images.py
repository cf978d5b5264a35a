"""Recommend augmentation or fine-tuning for data sets of few images."""

# Fewer images than FEW_IMAGES are overfitted in a run in which the critic sees each of them more often than OFTEN
# (docs/few_images.md: 500 images, seen 900 times without a gain and 1,800 times with one).
FEW_IMAGES, OFTEN = 5_000, 1_000
# Adaptive augmentation holds out this share of the images, but not more images than MOST_HELD_OUT, and needs as many as
# LEAST_HELD_OUT to measure overfitting by.
ADAPTIVE_SHARE, MOST_HELD_OUT, LEAST_HELD_OUT = 0.1, 500, 32
FINE_TUNING = "or start from a run on similar images with --init_from=RUN --freeze_critic=2"


def suggestion(count: int, views: float | None = None) -> str:
    """Return a recommendation for a data set of `count` images, or an empty text if they are enough.

    With `views`, how often the critic of a run sees each image, it is empty also for a short run.
    """
    if count >= FEW_IMAGES or (views is not None and views <= OFTEN):
        return ""
    name = "adaptive" if count * ADAPTIVE_SHARE >= 1.25 * LEAST_HELD_OUT else "diffaugment"
    few = f"{count:,} images are few, and the critic of a long run overfits them"
    return f"{few}: try --augment={name}, {FINE_TUNING}"
