"""The critic's own estimate of the Wasserstein distance, on real samples that it is trained on and on held-out ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.evaluation.generated_set import Score, batches, own_share

NAMES = ("wasserstein_train", "wasserstein_holdout")


@dataclass(frozen=True)
class CriticWasserstein:
    """The samples of the estimate: equally many rows of `values` from the training part and from the held-out part.

    The gap between the two estimates shows over-fitting of the critic. `labels` are the classes of `values`, or None.
    """

    values: Any
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.training)

    def _scores(self, score: Score) -> Tensor:
        """Return this process's share of the scores of both parts, float64 [n, 2]."""
        share = list(batches(own_share(len(self))))
        columns = []
        for rows in (self.training, self.held_out):
            scores = [self._scores_of(rows[batch], score) for batch in share]
            columns.append(torch.cat([torch.zeros(0), *(part.cpu() for part in scores)]).double())
        return torch.stack(columns, dim=1)

    def _scores_of(self, rows: NDArray[np.int64], score: Score) -> Tensor:
        samples = to_network_inputs(torch.from_numpy(self.values[rows]), torch.float64)
        return score(samples, None if self.labels is None else torch.from_numpy(self.labels[rows]))

    def measure(self, generated: Tensor, score: Score, classes: Tensor | None = None) -> dict[str, float]:
        """Return the mean score of real samples less that of generated ones, for each part.

        Every process must call it; the scores `generated` [n] and the result are those of the first process. By
        Kantorovich and Rubinstein the optimal critic of Lipschitz constant 1 gives the distance itself.

        With `classes`, those of the generated samples, int64 [n] or more, these count as often as their class is in the
        part: training compares samples of one class, and leaves the difference between the scores of two classes open.
        """
        real = distributed.gather(distributed.run_on_all_ranks(lambda: self._scores(score)))
        parts = zip(NAMES, real.mean(0), (self.training, self.held_out), strict=True)
        return {name: float(mean - self._mean_like(rows, generated.double(), classes)) for name, mean, rows in parts}

    def _mean_like(self, rows: NDArray[np.int64], generated: Tensor, classes: Tensor | None) -> Tensor:
        """Return the mean of scores [n], or with classes their mean in the proportions of the classes of `rows`."""
        if self.labels is None or classes is None:
            return generated.mean()
        classes = classes[: len(generated)]
        of_part = torch.bincount(torch.from_numpy(self.labels[rows]), minlength=int(self.labels.max()) + 1)
        weights = of_part[classes] / torch.bincount(classes, minlength=len(of_part))[classes]
        return (generated * weights).sum() / weights.sum()
