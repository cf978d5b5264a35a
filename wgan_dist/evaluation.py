"""What is measured of a generator while it trains, without any downloaded network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wgan_dist import noise
from wgan_dist.data import DataSet, Images, Points, to_unit_range
from wgan_dist.errors import UserError
from wgan_dist.metrics.points import exact_wasserstein, good_of_mode
from wgan_dist.metrics.sliced_wasserstein import PATCH, Reference

IMAGES = 1024
# The exact distance costs the cube of its points, the count of modes next to nothing.
POINTS_MATCHED, POINTS_COUNTED = 1000, 10_000

# Samples of the averaged generator, as many as asked for, always the same latents; scores of samples.
Generate = Callable[[int], Tensor]
Score = Callable[[Tensor], Tensor]


def _choice(seed: int, count: int, size: int) -> np.ndarray:
    return noise.permutation(seed, "evaluation.real", 0, size)[:count]


class ImageEvaluation:
    """Sliced Wasserstein distance × 10³ to the same 1,024 real images, or to all if there are fewer."""

    best_metric = "sliced_wasserstein"

    def __init__(self, images: Images, seed: int) -> None:
        """Raises UserError for images that are too small."""
        if images.shape[-1] < PATCH:
            raise UserError(f"evaluate_every: needs an image_size of at least {PATCH}")
        self.images, self.seed = images, seed
        self.count = min(IMAGES, len(images))
        self.reference: Reference | None = None

    def measure(self, generate: Generate, score: Score | None) -> dict[str, float]:
        """Values by name."""
        fake = generate(self.count).float()
        if self.reference is None:
            pixels = torch.from_numpy(self.images.pixels[_choice(self.seed, self.count, len(self.images))])
            self.reference = Reference.of(to_unit_range(pixels.to(fake.device), torch.float32))
        return {"sliced_wasserstein": self.reference.distance(fake)}


@dataclass(frozen=True)
class PointEvaluation:
    """Exact W₁ between 1,000 real and 1,000 generated points, the critic's estimate on the same, modes."""

    points: Points
    seed: int
    best_metric: str = "exact_wasserstein"

    def measure(self, generate: Generate, score: Score | None) -> dict[str, float]:
        """Values by name; the estimate only where `score`, whose differences are meant to be distances, is given."""
        real = self.points.values[_choice(self.seed, POINTS_MATCHED, len(self.points))]
        fake = generate(POINTS_COUNTED)
        matched = fake[:POINTS_MATCHED]
        values = {"exact_wasserstein": exact_wasserstein(real, matched.cpu().numpy())}
        if score is not None:
            both = torch.from_numpy(real).to(matched), matched
            values["critic_wasserstein"] = float(score(both[0]).mean() - score(both[1]).mean())
        if self.points.mixture is not None:
            counts = good_of_mode(fake.cpu().numpy(), self.points.mixture)
            values["modes_covered"] = float((counts > 0).sum())
            values["good_share"] = float(counts.sum() / len(fake))
            values["rarest_mode_share"] = float(counts.min() * len(counts) / len(fake))
        return values


def make_evaluation(data: DataSet, seed: int) -> ImageEvaluation | PointEvaluation:
    """The evaluation that suits the data; raises UserError where none does."""
    return PointEvaluation(data, seed) if isinstance(data, Points) else ImageEvaluation(data, seed)
