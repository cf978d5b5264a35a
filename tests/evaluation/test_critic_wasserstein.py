"""The critic's estimate on training and held-out samples of a conditional critic."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wgan_dist.evaluation.critic_wasserstein import CriticWasserstein

OFFSETS = torch.tensor([5.0, -3.0, 100.0], dtype=torch.float64)


def test_what_a_critic_gives_to_all_samples_of_a_class_does_not_count() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    classes = torch.from_numpy(rng.choice(3, 60, p=[0.1, 0.2, 0.7]))  # other proportions than the real ones

    def score(samples: Tensor, of: Tensor | None) -> Tensor:
        assert of is not None
        return samples[:, 0].double() + OFFSETS[of]

    generated = 2.0 + OFFSETS[classes]
    estimate = CriticWasserstein(values, np.arange(40), np.arange(50, 90), labels)
    found = estimate.measure(generated, score, classes)
    expected = {"wasserstein_train": values[:40, 0].mean() - 2.0, "wasserstein_holdout": values[50:, 0].mean() - 2.0}
    assert found == pytest.approx(expected, abs=1e-5)  # the values are scored in float32
