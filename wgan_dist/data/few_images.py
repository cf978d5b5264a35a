"""Recommend augmentation or fine-tuning for data sets of few images."""

# Fewer images than FEW_IMAGES are overfitted in a run in which the critic sees each of them more often than OFTEN
# (docs/few_images.md: 500 images, seen 900 times without a gain and 1,800 times with one).
FEW_IMAGES, OFTEN = 5_000, 1_000
# Adaptive augmentation needs LEAST_HELD_OUT images to measure overfitting by. By itself it holds out about USUAL_SHARE
# of the images, but not more than MOST_HELD_OUT, and of few images up to MOST_SHARE, to have SOME_HELD_OUT.
LEAST_HELD_OUT, SOME_HELD_OUT, MOST_HELD_OUT = 32, 48, 500
USUAL_SHARE, MOST_SHARE = 0.1, 0.2
FINE_TUNING = "or start from a run on similar images with --init_from=RUN --freeze_critic=2"


def adaptive_holdout(count: int) -> float:
    """Return the share of `count` images that adaptive augmentation holds out by itself."""
    share = min(USUAL_SHARE, MOST_HELD_OUT / count)
    return round(min(MOST_SHARE, max(share, SOME_HELD_OUT / count)), 4)


def suggestion(count: int, views: float | None = None) -> str:
    """Return a recommendation for a data set of `count` images, or an empty text if they are enough.

    With `views`, how often the critic of a run sees each image, it is empty also for a short run.
    """
    if count >= FEW_IMAGES or (views is not None and views <= OFTEN):
        return ""
    name = "adaptive" if count * MOST_SHARE >= SOME_HELD_OUT else "diffaugment"
    few = f"{count:,} images are few, and the critic of a long run overfits them"
    return f"{few}: try --augment={name} --augment_policy=translation, {FINE_TUNING}"
