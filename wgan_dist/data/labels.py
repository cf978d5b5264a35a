"""The classes of the samples of a data set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A class of fewer images is said to have few, and classes whose numbers of images differ by more are not balanced.
FEW, IMBALANCE = 100, 10
# The classes that are named on a line.
CLASSES_SHOWN = 10
# Folders of these names are parts of a data set rather than classes.
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
MAKES_CLASSES = "--labels=auto trains a generator that makes images of a chosen class"


def named(items: Sequence[str]) -> str:
    """Return the first items on one line, and how many more there are."""
    more = [f"and {len(items) - CLASSES_SHOWN:,} more"] if len(items) > CLASSES_SHOWN else []
    return ", ".join([*items[:CLASSES_SHOWN], *more])


def _with_counts(names: Iterable[str], counts: Iterable[int]) -> list[str]:
    return [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)]


@dataclass(frozen=True)
class Labels:
    """The class of each sample.

    Attributes:
        classes: The names of the classes, in the order of their numbers.
        values: The number of each sample's class, int64 [n].
    """

    classes: tuple[str, ...]
    values: NDArray[np.int64]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of samples of each class, int64 [classes]."""
        return np.bincount(self.values, minlength=len(self.classes))

    def shares(self) -> NDArray[np.float64]:
        """Return the share of each class in the samples, [classes]."""
        return self.counts() / len(self.values)

    def rows(self, rows: NDArray[np.int64]) -> "Labels":
        """Return the labels of some samples, by their row numbers."""
        return Labels(self.classes, self.values[rows])

    def __str__(self) -> str:
        """Return how many classes there are, and how many images each has."""
        counts = self.counts()
        sizes = f"{counts.min():,} to {counts.max():,}" if counts.min() < counts.max() else f"{counts.min():,}"
        return f"{len(counts):,}, of {sizes} images each: {named(_with_counts(self.classes, counts))}"

    def warnings(self) -> list[str]:
        """Return a line for each reason for which some classes may be learnt badly: few images, and imbalance."""
        counts = self.counts()
        least, most = int(counts.argmin()), int(counts.argmax())
        few = np.flatnonzero(counts < FEW)
        lines = []
        if {name.lower() for name in self.classes} <= PARTS:
            lines.append(f"the classes are {named(self.classes)}: --data=FOLDER/{self.classes[0]} takes those within")
        if counts[most] > IMBALANCE * counts[least]:
            times = f"{counts[most] / counts[least]:.0f} times the {counts[least]:,} of {self.classes[least]!r}"
            lines.append(
                f"the class {self.classes[most]!r} has {counts[most]:,} images, {times}; "
                "--class_balance draws all classes equally often"
            )
        if len(few):
            found = named(_with_counts((self.classes[number] for number in few), counts[few]))
            lines.append(f"{len(few):,} of {len(counts):,} classes with fewer than {FEW} images: {found}")
        return lines
