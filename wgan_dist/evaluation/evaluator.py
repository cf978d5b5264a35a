"""What is measured of a generator: each process makes and judges its part of the samples, the first one adds up."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.data import Dataset, ImageDataset, PointDataset, Split, to_unit_range
from wgan_dist.data.sources.paths import expand_home
from wgan_dist.evaluation.critic_wasserstein import NAMES, CriticEstimate, Score
from wgan_dist.evaluation.extractors import LOGITS, Extractor
from wgan_dist.evaluation.metric_set import MetricSet, open_metric_set
from wgan_dist.evaluation.metrics.feature_distances import SUBSET, frechet, inception_score, kernel, precision_recall
from wgan_dist.evaluation.metrics.neighbours import mean_pairwise_distance, nearest
from wgan_dist.evaluation.metrics.points import exact_wasserstein, good_of_mode
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.evaluation.real_features import RealFeatures, batches, pixels_of
from wgan_dist.tracking.metric_names import EXTRACTOR, INCEPTION, METRICS
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

# What is measured on pixels takes the first so many images, and the search among all training images fewer.
PIXEL_IMAGES, NEIGHBOUR_IMAGES = 1024, 128
# The exact distance costs the cube of its points, the count of modes next to nothing.
POINTS_MATCHED, POINTS_COUNTED = 1000, 10_000
IN_PIXELS = "Euclidean over pixels in [-1, 1]"

# Samples of the latents with these numbers, always the same: images in [−1, 1] or as uint8, or points.
Generate = Callable[[slice], Tensor]
Rows = NDArray[np.int64]
Values = dict[str, float]


def choice(seed: int, stream: str, count: int, rows: Rows) -> Rows:
    """`count` of the rows at random, or all if there are fewer."""
    return rows[rng.permutation(seed, stream, 0, len(rows))[:count]]


def to_pixels(images: Tensor) -> Tensor:
    """Images of a generator, in [−1, 1], → uint8 in 0…255, rounded to nearest, in host memory."""
    if images.dtype == torch.uint8:
        return images.cpu()
    return ((images.double() + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8).cpu()


def _of_critic(critic: CriticEstimate | None) -> str:
    return f"the critic's scores of {len(critic or ()):,} real ones of this part and as many generated ones"


@dataclass(frozen=True)
class _Judged:
    """Of generated images: the first ones' pixels, features by network and layer, the critic's scores of the first.

    `finite` [1] is whether all of them were.
    """

    pixels: Tensor
    features: dict[tuple[str, str], Tensor]
    scores: Tensor
    finite: Tensor

    def gather(self) -> "_Judged":
        """Those of all processes, on the first one."""
        features = {key: distributed.gather(self.features[key]) for key in sorted(self.features)}
        pixels, scores, finite = map(distributed.gather, (self.pixels, self.scores, self.finite))
        return _Judged(pixels, features, scores, finite)


@dataclass(frozen=True)
class ImageEvaluator:
    """What `judges` measure on `count` generated images, against those of `images` in `real`.

    Memorisation is looked for among all of `training`; the critic's estimate is taken on `critic`, if on anything.
    """

    images: ImageDataset
    training: Rows
    real: Rows
    count: int
    judges: MetricSet
    cache_dir: Path
    device: torch.device
    critic: CriticEstimate | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that is measured."""
        return (*self.judges.names, *(NAMES if self.critic else ()))

    @property
    def best_metric(self) -> str:
        """What chooses the best generator, unless told."""
        return "sliced_wasserstein" if "sliced_wasserstein" in self.judges.names else ""

    def __str__(self) -> str:
        return str(self.judges)

    @property
    def skipped(self) -> dict[str, str]:
        """Why other metrics are not measured."""
        return self.judges.skipped

    @property
    def data(self) -> str:
        """The name of the real images."""
        return self.images.name

    @property
    def split(self) -> str:
        """Which images are the real ones, in words."""
        return self.images.name + (", training part" if len(self.training) < len(self.images) else "")

    @property
    def compared(self) -> int:
        """Images on either side that are compared as pixels: equally many."""
        return min(PIXEL_IMAGES, self.count, len(self.real))

    @functools.cached_property
    def _reference(self) -> Reference:
        return Reference.of(self._as_floats(pixels_of(self.images, self.real[: self.compared])))

    def _as_floats(self, pixels: Tensor) -> Tensor:
        return to_unit_range(pixels.to(self.device), torch.float32)

    def _wanted(self, *names: str) -> bool:
        return bool(set(names) & set(self.judges.names))

    def _comparing(self) -> dict[str, Extractor]:
        """The networks that judge real images too: the inception score alone is of generated ones only."""
        kinds = {METRICS[name].of for name in self.judges.names if name != "inception_score"}
        return {kind: extractor for kind, extractor in self.judges.extractors.items() if kind in kinds}

    # --- each process, on its part ---

    def _judge(self, generate: Generate, score: Score | None) -> _Judged:
        mine = distributed.rank_slice(self.count)
        pixels, scores = [torch.zeros(0, *self.images.shape, dtype=torch.uint8)], [torch.zeros(0).double()]
        features: dict[tuple[str, str], list[Tensor]] = {}
        finite = True
        for part in batches(mine):
            samples = generate(part)
            levels = to_pixels(samples)
            finite = finite and bool(torch.isfinite(samples).all())
            if tuple(levels.shape[1:]) != self.images.shape:
                raise UserError(f"images of {list(levels.shape[1:])} against real ones of {list(self.images.shape)}")
            pixels.append(levels[: max(0, PIXEL_IMAGES - part.start)])
            scored = samples[: max(0, len(self.critic) - part.start) if self.critic else 0]
            if score is not None and len(scored):
                scores.append(score(scored).double().flatten().cpu())
            for kind, extractor in self.judges.extractors.items():
                for layer, found in extractor.extract(levels).items():
                    features.setdefault((kind, layer), []).append(found)
        joined = {key: torch.cat(parts) for key, parts in features.items()}
        return _Judged(torch.cat(pixels), joined, torch.cat(scores), torch.tensor([finite]))

    def _neighbour_distances(self, pixels: Tensor) -> Tensor:
        """Of this process's part of the first generated images, whose pixels the first process has."""
        shared = distributed.broadcast_from_main(lambda: pixels[:NEIGHBOUR_IMAGES])
        mine = shared[distributed.rank_slice(len(shared))].to(self.device)
        found = distributed.run_on_all_ranks(lambda: nearest(mine, self.images.pixels, self.training).distances)
        return distributed.gather(torch.from_numpy(found))

    # --- the first process, on all ---

    def _of_pixels(self, pixels: Tensor) -> Values:
        values = {}
        if self._wanted("sliced_wasserstein"):
            values["sliced_wasserstein"] = self._reference.distance(self._as_floats(pixels[: self.compared]))
        if self._wanted("diversity"):
            values["diversity"] = mean_pairwise_distance(pixels)
        return values

    def _of_features(self, features: dict[tuple[str, str], Tensor], real: dict[str, Tensor]) -> Values:
        extractors = self.judges.extractors
        fake = {kind: features[kind, extractors[kind].features] for kind in extractors}
        values = {}
        for kind, distance, name in (
            (INCEPTION, frechet, "fid"),
            (INCEPTION, kernel, "kid"),
            (EXTRACTOR, frechet, "frechet_distance"),
            (EXTRACTOR, kernel, "kernel_distance"),
        ):
            if self._wanted(name):
                values[name] = distance(fake[kind], real[kind], name)
        if self._wanted("inception_score"):
            values["inception_score"] = inception_score(features[INCEPTION, LOGITS])
        if self._wanted("precision", "recall"):
            both = precision_recall(fake[INCEPTION], real[INCEPTION])
            values |= {
                name: value for name, value in zip(("precision", "recall"), both, strict=True) if self._wanted(name)
            }
        return values

    def measure(self, generate: Generate, score: Score | None = None) -> Values:
        """Values by name, the same on every process; every process must call it. NaN where the images are not finite.

        `score` is the critic's, given where differences of its scores are meant to be distances. Raises UserError,
        on every process, for images of another shape than the real ones, features that are not finite, and fewer
        images than a metric needs.
        """
        judged = distributed.run_on_all_ranks(lambda: self._judge(generate, score)).gather()
        if not distributed.broadcast_from_main(lambda: bool(judged.finite.all())):
            return dict.fromkeys(self.names, math.nan)
        near = self._neighbour_distances(judged.pixels) if self._wanted("nearest_neighbour") else None
        stored = RealFeatures(self.images, self.real, self.cache_dir)
        real = {kind: stored.of(extractor) for kind, extractor in sorted(self._comparing().items())}
        estimates = self.critic.measure(judged.scores, score) if score and self.critic else {}

        def values() -> Values:
            found = self._of_pixels(judged.pixels) | self._of_features(judged.features, real)
            return found | ({} if near is None else {"nearest_neighbour": float(near.mean())}) | estimates

        return distributed.broadcast_from_main(values)

    # --- in words ---

    def protocol(self, name: str) -> str:
        """What the value of a metric is of: how many images, which, their size, the network that judged them."""
        size = f"{self.images.shape[-2]}×{self.images.shape[-1]}"
        if name in NAMES:
            return _of_critic(self.critic)
        if name == "nearest_neighbour":
            count = min(NEIGHBOUR_IMAGES, self.count)
            return (
                f"{count:,} generated, the nearest of {len(self.training):,} real ({self.split}), {size}, {IN_PIXELS}"
            )
        if name == "diversity":
            return f"{min(PIXEL_IMAGES, self.count):,} generated, all pairs, {size}, {IN_PIXELS}"
        if name == "sliced_wasserstein":
            return f"{self.compared:,} generated, {self.compared:,} real ({self.split}), {size}"
        words = self.judges.extractors[METRICS[name].of].words
        against = "" if name == "inception_score" else f", {len(self.real):,} real ({self.split})"
        return f"{self.count:,} generated{against}, {size}, {words}{self._of_subsets(name)}"

    def _of_subsets(self, name: str) -> str:
        return f", subsets of {min(SUBSET, self.count, len(self.real)):,}" if name in ("kid", "kernel_distance") else ""


@dataclass(frozen=True)
class PointEvaluator:
    """Exact W₁ between 1,000 real and 1,000 generated points, the critic's estimate on the same, modes."""

    points: PointDataset
    seed: int
    training: Rows
    critic: CriticEstimate | None = None
    best_metric: str = "exact_wasserstein"
    count: int = POINTS_COUNTED

    def __str__(self) -> str:
        return f"measures {', '.join(self.names)}"

    @property
    def names(self) -> tuple[str, ...]:
        """All that is measured, the critic's own estimate aside."""
        modes = ("modes_covered", "good_share", "rarest_mode_share") if self.points.mixture else ()
        return ("exact_wasserstein", *modes, *(NAMES if self.critic else ()))

    def _judge(self, generate: Generate, score: Score | None) -> tuple[Tensor, Tensor]:
        """This process's points and the scores of the first."""
        parts = [generate(part) for part in batches(distributed.rank_slice(self.count))]
        points = torch.cat(parts)
        if score is None:
            return points, torch.zeros(len(points))
        return points, torch.cat([score(part) for part in parts]).flatten()

    def measure(self, generate: Generate, score: Score | None = None) -> Values:
        """Values by name, the same on every process; every process must call it.

        The critic's estimates only where `score`, whose differences are meant to be distances, is given.
        """
        fake, scores = map(distributed.gather, distributed.run_on_all_ranks(lambda: self._judge(generate, score)))
        real = self.points.values[choice(self.seed, "evaluation.real", POINTS_MATCHED, self.training)]
        estimates = self.critic.measure(scores, score) if score and self.critic else {}

        def values() -> Values:
            found = {"exact_wasserstein": exact_wasserstein(real, fake[:POINTS_MATCHED].numpy())}
            if score is not None:
                of_real = score(torch.from_numpy(real).to(fake)).double().cpu()
                found["critic_wasserstein"] = float(of_real.mean() - scores[:POINTS_MATCHED].double().mean())
            return found | self._modes(fake.numpy()) | estimates

        return distributed.broadcast_from_main(values)

    def _modes(self, fake: NDArray[np.floating]) -> Values:
        if self.points.mixture is None:
            return {}
        counts = good_of_mode(fake, self.points.mixture)
        return {
            "modes_covered": float((counts > 0).sum()),
            "good_share": float(counts.sum() / len(fake)),
            "rarest_mode_share": float(counts.min() * len(counts) / len(fake)),
        }

    @property
    def skipped(self) -> dict[str, str]:
        """All that suits points is measured."""
        return {}

    @property
    def data(self) -> str:
        """The name of the real points."""
        return self.points.name

    @property
    def split(self) -> str:
        """Which points are the real ones, in words."""
        return self.points.name + (", training part" if len(self.training) < len(self.points) else "")

    def protocol(self, name: str) -> str:
        """What the value of a metric is of."""
        if name in NAMES:
            return _of_critic(self.critic)
        if name == "exact_wasserstein":
            return f"{POINTS_MATCHED:,} generated, {POINTS_MATCHED:,} real ({self.split})"
        return f"{POINTS_COUNTED:,} generated ({self.points.name})"


Evaluator = ImageEvaluator | PointEvaluator


def image_evaluator(
    images: ImageDataset,
    split: Split,
    judges: MetricSet,
    count: int,
    real_count: int,
    seed: int,
    cache_dir: str,
    device: torch.device,
    critic: CriticEstimate | None = None,
) -> ImageEvaluator:
    """What `judges` measure on `count` images, or on fewer where nothing needs more, against `real_count` real ones."""
    if not judges.extractors:
        count = min(count, max(PIXEL_IMAGES, len(critic) if critic else 0))
    real = choice(seed, "evaluation.real", real_count, split.training)
    return ImageEvaluator(
        images, split.training, real, count, judges, expand_home(cache_dir, f"cache_dir={cache_dir}"), device, critic
    )


def make_evaluator(config: Config, data: Dataset, split: Split, device: torch.device) -> Evaluator:
    """The evaluation of a run that suits its data. Every process must call it.

    Raises UserError, on every process, for metrics that cannot be computed here and files that cannot be used.
    """
    count, seed = config.evaluation_images, config.seed
    if isinstance(data, PointDataset):
        count = POINTS_COUNTED
    critic = None
    if len(split.held_out) and config.loss == "wasserstein":
        each = min(count, len(split.training), len(split.held_out))
        training = choice(seed, "evaluation.real", each, split.training)
        critic = CriticEstimate(data.values, training, choice(seed, "evaluation.holdout", each, split.held_out))
    if isinstance(data, PointDataset):
        if config.metrics is not None:
            raise UserError(f"metrics={','.join(config.metrics)}: are of images, and {data.name} are points")
        return PointEvaluator(data, seed, split.training, critic)
    if count < distributed.world().size:
        raise UserError(f"evaluation_images={count}: expected one for each of {distributed.world().size} processes")
    judges = distributed.run_on_all_ranks(
        lambda: open_metric_set(config.metrics, data.shape, config.feature_extractor, config.inception_weights, device)
    )
    return image_evaluator(data, split, judges, count, count, seed, config.cache_dir, device, critic)
