"""The classes of the samples of a data set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
