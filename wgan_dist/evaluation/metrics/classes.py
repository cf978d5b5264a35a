"""The classes that a conditional generator is measured in, and whether its images are of the class that was asked for.

The accuracy of a classifier on generated images is that of Odena et al. 2017, and the mean of the Fréchet distances
within the classes is the "intra FID" of Miyato and Koyama 2018.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.data.labels import Labels, named

CLASS_METRICS = ("class_frechet_distance", "label_accuracy")
# The generated and the real images that a class needs for its Fréchet distance.
LEAST_OF_CLASS = 10

# Values by the number of a class.
ByClass = dict[int, float]


def large_classes(generated: Labels, real: Labels) -> NDArray[np.int64]:
    """Return the numbers of the classes with at least 10 generated and 10 real images, in their order."""
    return np.flatnonzero(np.minimum(generated.counts(), real.counts()) >= LEAST_OF_CLASS)


def _of_class(generated: Labels, real: Labels, number: int) -> str:
    return f"{generated.classes[number]} ({generated.counts()[number]:,} and {real.counts()[number]:,})"


def too_few_of_classes(generated: Labels, real: Labels) -> str:
    """Return why no class has a Fréchet distance, or "" if one has."""
    if len(large_classes(generated, real)):
        return ""
    largest = int(np.minimum(generated.counts(), real.counts()).argmax())
    return (
        f"needs {LEAST_OF_CLASS} generated and {LEAST_OF_CLASS} real images of a class, "
        f"and no class has them; the largest is {_of_class(generated, real, largest)}"
    )


def _range(counts: NDArray[np.int64]) -> str:
    return f"{counts.min():,} to {counts.max():,}" if counts.min() < counts.max() else f"{counts.min():,}"


def describe_classes(generated: Labels, real: Labels) -> str:
    """Return in words which classes have a Fréchet distance, of how many images, and which are left out."""
    large = large_classes(generated, real)
    sizes = f"{_range(generated.counts()[large])} generated and {_range(real.counts()[large])} real images each"
    few = np.setdiff1d(np.arange(len(generated.classes)), large)
    left_out = named([_of_class(generated, real, number) for number in few])
    without = f"; without those of fewer than {LEAST_OF_CLASS}: {left_out}" if left_out else ""
    return f"mean over {len(large):,} of {len(generated.classes):,} classes of {sizes}{without}"


def is_right(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images are classified as what they should be: whose largest of the logits [n, classes] is that."""
    return np.asarray(logits.argmax(1).numpy() == labels)


def accuracy_by_class(logits: Tensor, labels: NDArray[np.int64]) -> ByClass:
    """Return the share of images of each class that are classified as it; a class without images is left out."""
    right = is_right(logits, labels)
    return {int(number): float(right[labels == number].mean()) for number in np.unique(labels)}
