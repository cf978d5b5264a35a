"""The Wasserstein distance W₁ between two sets of samples, from below: the difference that a 1-Lipschitz critic sees.

By Kantorovich and Rubinstein (1958), W₁ is the greatest difference E f(x) − E f(y) of any 1-Lipschitz function f. A
critic is trained on one half of both sets, and its mean difference is taken on the other half, which it has not seen:
the expectation of the difference is then at most W₁, however well or badly the critic has learned. The halves then swap
their parts (cross-fitting; Chernozhukov et al. 2018), and both differences are averaged.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wgan_dist.config.image_size import ImageSize
from wgan_dist.config.network_choices import LIPSCHITZ
from wgan_dist.data.content import content_hashes, tell_copies_apart
from wgan_dist.models.lipschitz import lipschitz_bound
from wgan_dist.models.registry import POINT_SIZE, build_critic, critic_spec
from wgan_dist.utils import rng

# The share of a half on which the state of the critic that differs most is chosen.
VALIDATION_SHARE = 0.2
# How often that is tried, beside after 1, 2, 4, 8, … steps: of few samples in many dimensions overfitting begins early.
VALIDATIONS = 20
BETAS = (0.9, 0.99)
PERMUTATIONS = 999
# Samples scored at a time.
SCORED = 512
# The fewest samples of a set, and the greatest value, whose square float32 still holds.
LEAST_SAMPLES, LARGEST = 20, 1e18
# The level of the lower limit that a run records, and the most held-out samples that it is measured with.
CERTIFIED_LEVEL, CERTIFIED_SAMPLES = 0.95, 1000

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CriticTraining:
    """How a critic is trained: its width, the steps and learning rate of Adam, and the samples of each set per step."""

    features: int
    steps: int
    learning_rate: float
    batch_size: int


POINT_TRAINING = CriticTraining(features=64, steps=500, learning_rate=5e-3, batch_size=512)
IMAGE_TRAINING = CriticTraining(features=16, steps=300, learning_rate=5e-3, batch_size=128)


class LinearCritic(nn.Module):
    """The critic ⟨x, u⟩ of a unit vector u; the best linear one if u points from the mean of one set to the other's."""

    def __init__(self, direction: Tensor) -> None:
        super().__init__()
        self.register_buffer("direction", direction.flatten() / direction.norm().clamp_min(1e-30))

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples [n, …] to scores [n]."""
        return samples.flatten(1) @ self.get_buffer("direction")


@dataclass(frozen=True)
class TrainedCritic:
    """A critic of Lipschitz constant 1 for samples in their own unit.

    Samples are shifted by `centre` and divided by `scale` for the network, and its scores multiplied by `scale`, which
    leaves the constant as it is. Scores are divided by `bound`, that of the network's constant, where it is above 1.
    """

    network: nn.Module
    centre: Tensor
    scale: float
    bound: float = 1.0

    @property
    def is_linear(self) -> bool:
        """Whether the best linear critic was chosen, and no network."""
        return isinstance(self.network, LinearCritic)

    def __call__(self, samples: Tensor) -> Tensor:
        """Map samples [n, …] to scores [n] in the unit of the samples, on the device of the network."""
        inputs = (samples.to(self.centre.device) - self.centre) / self.scale
        return self.scale / max(1.0, self.bound) * self.network(inputs).flatten()

    @torch.no_grad()
    def scores(self, samples: Tensor) -> Floats:
        """Return the scores of samples [n, …] as float64 [n]."""
        return torch.cat([self(part) for part in samples.split(SCORED)]).double().cpu().numpy()


def _batch_rows(count: int, batch_size: int, seed: int, stream: str) -> Iterator[Rows]:
    """Yield the rows of batches without end: each epoch takes `count` samples in an order of its own."""
    epoch = 0
    while True:
        order = rng.permutation(seed, stream, epoch, count)
        yield from (order[start : start + batch_size] for start in range(0, count - batch_size + 1, batch_size))
        epoch += 1


def _batches(samples: Tensor, batch_size: int, seed: int, stream: str) -> Iterator[Tensor]:
    rows = _batch_rows(len(samples), min(batch_size, len(samples)), seed, stream)
    return (samples[torch.from_numpy(each).to(samples.device)] for each in rows)


def _mean_difference(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Return the mean score of the first samples less that of the second ones."""
    scores = network(torch.cat([first, second])).flatten()
    return scores[: len(first)].mean() - scores[len(first) :].mean()


class _Best:
    """The network that differs most on validation samples, of those that were considered."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second
        self.network, self.difference = nn.Module(), -math.inf

    @torch.no_grad()
    def consider(self, network: nn.Module) -> None:
        first, second = (
            torch.cat([network(part).flatten() for part in samples.split(SCORED)]).mean()
            for samples in (self.first, self.second)
        )
        if (difference := float(first - second)) > self.difference:
            self.difference, self.network = difference, copy.deepcopy(network)


def _is_validated(step: int, steps: int) -> bool:
    return step.bit_count() == 1 or step % max(1, steps // VALIDATIONS) == 0 or step == steps


def _build(shape: tuple[int, ...], features: int, seed: int) -> nn.Module:
    size = ImageSize(*shape[1:]) if len(shape) == 3 else POINT_SIZE
    return build_critic(critic_spec(LIPSCHITZ, size, shape[0], features, "auto"), seed)


def _optimise(
    network: nn.Module,
    first: Tensor,
    second: Tensor,
    training: CriticTraining,
    seed: int,
    on_step: Callable[[int], None],
) -> None:
    """Increase the mean difference of a network; call `on_step` with the number of steps after each step."""
    optimizer = torch.optim.Adam(network.parameters(), training.learning_rate, betas=BETAS)
    batches = zip(
        _batches(first, training.batch_size, seed, "distance.first"),
        _batches(second, training.batch_size, seed, "distance.second"),
        strict=True,
    )
    for step in range(1, training.steps + 1):
        for group in optimizer.param_groups:  # constant in the first half, then linearly to zero
            group["lr"] = training.learning_rate * min(1.0, 2.0 * (1.0 - (step - 1) / training.steps))
        optimizer.zero_grad()
        (-_mean_difference(network, *next(batches))).backward()
        optimizer.step()
        on_step(step)


def train_critic(
    first: Tensor,
    second: Tensor,
    training: CriticTraining,
    seed: int,
    device: torch.device,
    on_step: Callable[[], None] = lambda: None,
) -> TrainedCritic:
    """Train a 1-Lipschitz critic to give the first samples higher scores than the second ones.

    The last fifth of the samples is a validation set, which selects one of the states of the network or the best linear
    critic. This prevents overfitting of few samples. The result depends on the samples, their order and the seed.

    Args:
        first, second: Samples [n, …] of each set, images or points, float32.
        training: How the critic is trained.
        seed: The seed of its weights and batches.
        device: The device to train on.
        on_step: Is called after each step.
    """
    pooled = torch.cat([first, second])
    centre = pooled.mean(0).to(device)
    scale = float((pooled - centre.cpu()).square().mean().sqrt()) or 1.0
    first, second = ((each.to(device) - centre) / scale for each in (first, second))
    kept, kept_second = (len(each) - max(1, round(VALIDATION_SHARE * len(each))) for each in (first, second))
    best = _Best(first[kept:], second[kept_second:])
    first, second = first[:kept], second[:kept_second]
    best.consider(LinearCritic(first.mean(0) - second.mean(0)))
    network = _build(tuple(first.shape[1:]), training.features, seed).to(device)

    def after_step(step: int) -> None:
        if _is_validated(step, training.steps):
            best.consider(network)
        on_step()

    _optimise(network, first, second, training, seed, after_step)
    return TrainedCritic(best.network, centre, scale, lipschitz_bound(best.network))


@dataclass(frozen=True)
class Fold:
    """A critic and the scores that it gives to the samples that it was not trained on, float64 [n] of each set.

    `samples` are these samples [n, …] of each set.
    """

    critic: TrainedCritic
    samples: tuple[Tensor, Tensor]
    first: Floats
    second: Floats

    @property
    def difference(self) -> float:
        """The mean score of the first samples less that of the second ones: in expectation at most W₁."""
        return float(self.first.mean() - self.second.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the difference, from the variances of both sets of scores."""
        return math.sqrt(sum(scores.var(ddof=1) / len(scores) for scores in (self.first, self.second)))

    def p_value(self, seed: int, number: int) -> float:
        """Return how often a random division of all scores into two sets differs as much as they do.

        The critic is fixed, so that under equal distributions all divisions are equally probable: the value is exact.
        """
        scores = np.concatenate([self.first, self.second])
        total, count, rest = scores.sum(), len(self.first), len(self.second)

        def difference(rows: Rows) -> float:
            part = scores[rows[:count]].sum()
            return float(part / count - (total - part) / rest)

        observed = difference(np.arange(len(scores)))
        # Equal values differ in the order of summation.
        least = observed - 1e-12 * float(np.abs(scores).max())
        draws = (rng.permutation(seed, f"distance.p.{number}", each, len(scores)) for each in range(PERMUTATIONS))
        return (1 + sum(difference(rows) >= least for rows in draws)) / (1 + PERMUTATIONS)


@dataclass(frozen=True)
class Distance:
    """The distance of two sets of samples, as the critics of both folds see it, in the unit of the samples.

    Attributes:
        folds: The two critics with the scores of the samples that they did not see.
        p_value: The probability of as great a difference if both sets have the same distribution: twice the
            smaller p-value of the two folds (Bonferroni).
    """

    folds: tuple[Fold, Fold]
    p_value: float

    @property
    def estimate(self) -> float:
        """The mean of both differences. Its expectation is at most W₁; for equal distributions it may be below 0."""
        return math.fsum(fold.difference for fold in self.folds) / len(self.folds)

    @property
    def bound(self) -> float:
        """The greater bound of the Lipschitz constants of both critics; each one's scores are divided by its own."""
        return max(fold.critic.bound for fold in self.folds)

    def lower(self, level: float) -> float:
        """Return the lower confidence limit of W₁ at `level`, a probability, such as 0.95; at least 0.

        It is the estimate less a quantile of Student's t times the mean of both standard errors, which is at least the
        standard error of the mean, however both folds depend on each other. The mean of the scores of a set is taken
        to be normally distributed, as it nearly is for some hundreds of independent samples without rare outliers.
        """
        from scipy.stats import t  # slow to import

        fewest = min(len(scores) for fold in self.folds for scores in (fold.first, fold.second))
        error = math.fsum(fold.standard_error for fold in self.folds) / len(self.folds)
        return max(0.0, self.estimate - float(t.ppf(level, fewest - 1)) * error)


Halves = tuple[Tensor, Tensor]


def _halves(first: Tensor, second: Tensor, seed: int) -> tuple[Halves, Halves]:
    """Divide each set into two random halves, which do not depend on the order of its samples.

    A sample that both sets have is in the same half of both; of several copies, the n-th in one set and in the other.
    """
    hashes = [tell_copies_apart(content_hashes(each.numpy())) for each in (first, second)]
    distinct, numbers = np.unique(np.concatenate(hashes), return_inverse=True)
    ranks = np.empty(len(distinct), np.int64)
    ranks[rng.permutation(seed, "distance.half", 0, len(distinct))] = np.arange(len(distinct))
    halves = []
    for samples, rank in zip((first, second), np.split(ranks[numbers], [len(first)]), strict=True):
        order = np.argsort(rank, kind="stable")
        least = len(rank) // 4  # a set far smaller than the other one may lie almost all in one half
        count = int(np.clip(np.count_nonzero(rank < (len(distinct) + 1) // 2), least, len(rank) - least))
        halves.append((samples[torch.from_numpy(order[:count])], samples[torch.from_numpy(order[count:])]))
    return halves[0], halves[1]


def _are_comparable(samples: Tensor) -> bool:
    return bool((samples.abs() <= LARGEST).all())


def lipschitz_distance(
    first: Tensor,
    second: Tensor,
    training: CriticTraining,
    seed: int,
    device: torch.device,
    on_step: Callable[[], None] = lambda: None,
) -> Distance:
    """Measure the distance W₁ of two sets of samples from below.

    Args:
        first, second: Samples [n, …] of each set, images or points, float32 on the CPU, finite.
        training: How the critic of each half is trained.
        seed: The seed of the halves, the critics and the permutations.
        device: The device to train on.
        on_step: Is called after each of the 2 · training.steps steps.

    Raises:
        ValueError: If there are fewer than LEAST_SAMPLES samples in a set, or if a value is above LARGEST.
    """
    if min(len(first), len(second)) < LEAST_SAMPLES:
        raise ValueError(f"{min(len(first), len(second))} samples in a set: expected at least {LEAST_SAMPLES}")
    if not all(map(_are_comparable, (first, second))):
        raise ValueError(f"some values are not finite or above {LARGEST:g}, whose squares float32 does not hold")
    (first_a, first_b), (second_a, second_b) = _halves(first, second, seed)
    folds = []
    for seen, unseen in (((first_a, second_a), (first_b, second_b)), ((first_b, second_b), (first_a, second_a))):
        critic = train_critic(*seen, training, seed, device, on_step)
        folds.append(Fold(critic, unseen, *(critic.scores(each) for each in unseen)))
    p_values = [fold.p_value(seed, number) for number, fold in enumerate(folds)]
    return Distance((folds[0], folds[1]), min(1.0, len(folds) * min(p_values)))


def certified_values(real: Tensor, generated: Tensor, seed: int, device: torch.device) -> dict[str, float]:
    """Return the distance of generated samples from real ones, as a run records it: the estimate and its lower limit.

    Both are NaN where a generated value is not finite, or above LARGEST.

    Args:
        real, generated: Samples [n, …], images or points; the critic has not been trained on the real ones elsewhere.
        seed: The seed, as of `lipschitz_distance`.
        device: The device to train on.
    """
    if not _are_comparable(generated):
        return {"certified_wasserstein": math.nan, "certified_lower": math.nan}
    training = POINT_TRAINING if real.dim() == 2 else IMAGE_TRAINING
    found = lipschitz_distance(real.float().cpu(), generated.float().cpu(), training, seed, device)
    return {"certified_wasserstein": found.estimate, "certified_lower": found.lower(CERTIFIED_LEVEL)}
