"""Describe the classes of images for `python -m wgan_dist.data inspect`."""

from collections.abc import Iterable, Sequence

import numpy as np

from wgan_dist.config.config import AUTO_LABELS
from wgan_dist.data.find_labels import NoClassesError, find_labels
from wgan_dist.data.labels import MAKES_CLASSES
from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.utils.errors import UserError


def class_lines(sources: Sequence[Source], listings: Sequence[ImageListing], rows: Iterable[int]) -> list[str]:
    """Return how many of the readable images `rows` each class has, what looks wrong, and the flag; none without any.

    What training would refuse looks wrong.
    """
    readable = np.array(list(rows), np.int64)
    try:
        found = find_labels(sources, listings, AUTO_LABELS)
    except NoClassesError:
        return []
    except UserError as error:
        return [f"{'classes':<16}{error}"]
    labels = found.labelled(readable)
    if not labels.classes:
        return []
    try:
        _, wrong = found.of_images(readable)
    except UserError as error:
        wrong = [*labels.warnings(), str(error)]
    return [f"{'classes':<16}{labels}", f"  {MAKES_CLASSES}", *(f"  looks wrong: {line}" for line in wrong)]
