"""The critic's own Wasserstein estimate, on real samples that it is trained on and on such as it never saw."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.data import as_inputs
from wgan_dist.evaluation.real_features import batches

# Scores [n] of samples, images in [−1, 1] or points.
Score = Callable[[Tensor], Tensor]
NAMES = ("wasserstein_train", "wasserstein_holdout")


@dataclass(frozen=True)
class CriticEstimate:
    """As many rows of `values` that are trained on as of such that are not; the gap is over-fitting of the critic."""

    values: NDArray[Any]
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.training)

    def _scores(self, score: Score) -> Tensor:
        """This process's part of the scores of both kinds: [2, n]."""
        mine = list(batches(distributed.rank_slice(len(self))))
        kinds = []
        for rows in (self.training, self.held_out):
            parts = [score(as_inputs(torch.from_numpy(self.values[rows[part]]), torch.float64)) for part in mine]
            kinds.append(torch.cat([torch.zeros(0), *(part.cpu() for part in parts)]).double())
        return torch.stack(kinds)

    def measure(self, generated: Tensor, score: Score) -> dict[str, float]:
        """Mean score of real samples less that of generated ones, whose scores [n] the first process has.

        Every process must call it; values are those of the first one. Kantorovich and Rubinstein: with a critic of
        Lipschitz constant 1 at its best, the distance itself.
        """
        real = distributed.gather(distributed.run_on_all_ranks(lambda: self._scores(score)).T)
        fake = generated.double().mean()
        return {name: float(mean - fake) for name, mean in zip(NAMES, real.mean(0), strict=True)}
