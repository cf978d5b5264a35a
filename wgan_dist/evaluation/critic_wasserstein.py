"""The critic's own estimate of the Wasserstein distance, on real samples that it is trained on and on held-out ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.evaluation.generated_set import Score, batches

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
        share = list(batches(distributed.rank_slice(len(self))))
        columns = []
        for rows in (self.training, self.held_out):
            scores = [self._scores_of(rows[batch], score) for batch in share]
            columns.append(torch.cat([torch.zeros(0), *(part.cpu() for part in scores)]).double())
        return torch.stack(columns, dim=1)

    def _scores_of(self, rows: NDArray[np.int64], score: Score) -> Tensor:
        samples = to_network_inputs(torch.from_numpy(self.values[rows]), torch.float64)
        return score(samples, None if self.labels is None else torch.from_numpy(self.labels[rows]))

    def measure(self, generated: Tensor, score: Score) -> dict[str, float]:
        """Return the mean score of real samples less that of generated ones, for each part.

        Every process must call it; the scores `generated` [n] and the result are those of the first process. By
        Kantorovich and Rubinstein the optimal critic of Lipschitz constant 1 gives the distance itself.
        """
        real = distributed.gather(distributed.run_on_all_ranks(lambda: self._scores(score)))
        fake = generated.double().mean()
        return {name: float(mean - fake) for name, mean in zip(NAMES, real.mean(0), strict=True)}
