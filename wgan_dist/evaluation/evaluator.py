"""The evaluators: each process generates its share of the samples, and the first process computes the metrics."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.data.datasets import Dataset, ImageDataset, PointDataset
from wgan_dist.data.holdout import Split, choose_rows
from wgan_dist.data.labels import Labels
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.data.sources.paths import cache_folder
from wgan_dist.evaluation.critic_wasserstein import NAMES, CriticWasserstein
from wgan_dist.evaluation.generated_set import (
    Generate,
    GeneratedSet,
    Score,
    batches,
    generate_set,
    in_type_of_data,
    own_share,
)
from wgan_dist.evaluation.metric_set import MetricSet, open_metric_set
from wgan_dist.evaluation.metrics.classes import ByClass, accuracy_by_class, is_right, large_classes
from wgan_dist.evaluation.metrics.neighbours import mean_pairwise_distance, nearest
from wgan_dist.evaluation.metrics.power_spectrum import radial_spectrum, spectrum_error
from wgan_dist.evaluation.metrics.sliced_wasserstein import Reference
from wgan_dist.evaluation.protocol import (
    LOGITS,
    NEIGHBOUR_IMAGES,
    PIXEL_IMAGES,
    POINTS_COUNTED,
    compared_images,
    compared_points,
    image_protocol,
    point_protocol,
)
from wgan_dist.evaluation.real_against_real import RealValue, image_values, point_values
from wgan_dist.evaluation.real_features import RealFeatures, pixels_of
from wgan_dist.tracking.metric_names import CLASSIFIER, EXTRACTOR, INCEPTION, METRICS
from wgan_dist.utils import rng
from wgan_dist.utils.class_draws import draw_classes
from wgan_dist.utils.errors import UserError

Rows = NDArray[np.int64]
Values = dict[str, float]
Spectra = dict[str, list[list[float]]]


@dataclass(frozen=True)
class ImageEvaluator:
    """Measures the metrics of `metric_set` on `count` generated images and real ones.

    The real images are the first `real_count` rows `pool` of the images `data`; the others are what real images are
    compared with. The nearest neighbours are searched among all rows `training`. `critic`, if any, adds the critic's
    own estimates. `labels` int64 [count] are the classes of the generated images, by their number in `data.labels`, or
    None without classes.
    """

    data: ImageDataset
    training: Rows
    pool: Rows
    real_count: int
    count: int
    seed: int
    metric_set: MetricSet
    cache_dir: Path
    device: torch.device
    critic: CriticWasserstein | None = None
    labels: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all metrics that are measured."""
        return (*self.metric_set.names, *(NAMES if self.critic else ()))

    @property
    def best_metric(self) -> str:
        """The metric that chooses the best generator where the setting is `auto`; "" if there is none."""
        return "sliced_wasserstein" if "sliced_wasserstein" in self.metric_set.names else ""

    @property
    def pixel_images(self) -> int:
        """The number of generated and of real images whose patches and spectra are compared."""
        return min(PIXEL_IMAGES, self.count, self.real_count)

    @property
    def classes(self) -> tuple[Labels, Labels] | None:
        """The classes of the generated and of the real images, None without classes."""
        return _classes(self.data, self.labels, self.pool[: self.real_count])

    def __str__(self) -> str:
        return str(self.metric_set)

    def protocol(self, name: str) -> str:
        """Describe how a metric is measured."""
        return image_protocol(self, name)

    def compared(self, name: str) -> tuple[int, int]:
        """Return how many generated and how many real images a metric is computed from."""
        return compared_images(self, name)

    def measure(self, generate: Generate, score: Score | None = None) -> Values:
        """Return the values by name; see `measure_by_class`."""
        return self.measure_by_class(generate, score)[0]

    def measure_by_class(self, generate: Generate, score: Score | None = None) -> tuple[Values, dict[str, ByClass]]:
        """Return the values by name, and those of metrics of classes for each class, the same on every process.

        Every process must call it. All values are NaN if an image is not finite. `score` is the critic, given where
        differences of its scores are estimates of a distance.

        Raises:
            UserError: On every process, for images of another shape than the real ones, for features that are not
                finite, and for fewer images than a metric needs.
        """
        generated = self._generate(generate, score)
        if not distributed.broadcast_from_main(lambda: bool(generated.is_finite.all())):
            return dict.fromkeys(self.names, math.nan), {}
        neighbours = self._nearest_neighbour(generated.pixels) if "nearest_neighbour" in self.metric_set.names else {}
        real = {name: features[: self.real_count] for name, features in self._pool_features().items()}
        estimates = self.critic.measure(generated.scores, score, self.labels) if score and self.critic else {}

        def compute() -> tuple[Values, dict[str, ByClass]]:
            values = self._pixel_metrics(generated.pixels) | self._feature_metrics(generated.features, real)
            of_classes, by_class = self._class_metrics(generated.features, real)
            return values | of_classes | neighbours | estimates, by_class

        found: tuple[Values, dict[str, ByClass]] = distributed.broadcast_from_main(compute)
        return found

    @functools.cached_property
    def real_values(self) -> dict[str, RealValue]:
        """Return the metrics of real images against other real ones; every process must ask for them."""
        features = self._pool_features()
        values: dict[str, RealValue] = distributed.broadcast_from_main(lambda: image_values(self, features))
        return values

    def spectra(self, generate: Generate) -> Spectra:
        """Return the spectra that `spectrum_error` compares, by `generated` and `real`: a list of powers a channel.

        The images are generated once more, on each process that asks for them. The wave numbers are 1, 2, ….
        """
        parts = [in_type_of_data(generate(batch), self.data.levels) for batch in batches(slice(0, self.pixel_images))]
        spectrum = radial_spectrum(self._to_floats(torch.cat(parts)))
        return {"generated": spectrum.tolist(), "real": self._real_spectrum.tolist()}

    # --- on every process ---

    def _generate(self, generate: Generate, score: Score | None) -> GeneratedSet:
        part, scored = own_share(self.count), len(self.critic or ())
        extractors = self.metric_set.extractors
        share: GeneratedSet = distributed.run_on_all_ranks(
            lambda: generate_set(
                generate, part, self.data.shape, self.data.levels, extractors, score, scored, self.labels
            )
        )
        return share.gather()

    def _nearest_neighbour(self, pixels: Tensor) -> Values:
        """Search the nearest neighbours of the first generated images, whose pixels the first process has."""
        shared = distributed.broadcast_from_main(lambda: pixels[:NEIGHBOUR_IMAGES])
        share = shared[distributed.rank_slice(len(shared))].to(self.device)
        distances = distributed.run_on_all_ranks(lambda: nearest(share, self.data.values, self.training).distances)
        return {"nearest_neighbour": float(distributed.gather(torch.from_numpy(distances)).mean())}

    def _pool_features(self) -> dict[str, Tensor]:
        """Return the features of the pool by extractor; the inception score alone needs none."""
        sources = {METRICS[name].of for name in self.metric_set.names if name != "inception_score"}
        extractors = self.metric_set.extractors
        features = RealFeatures(self.data, self.pool, self.cache_dir)
        return {name: features.of(extractors[name]) for name in sorted(extractors.keys() & sources)}

    # --- on the first process ---

    @functools.cached_property
    def _reference(self) -> Reference:
        return Reference.of(self.floats(self.pool[: self.pixel_images]))

    @functools.cached_property
    def _real_spectrum(self) -> Tensor:
        return radial_spectrum(self.floats(self.pool[: self.pixel_images]))

    def floats(self, rows: Rows) -> Tensor:
        """Return real images in [−1, 1] on the device, [n, c, h, w]."""
        return self._to_floats(pixels_of(self.data, rows))

    def _to_floats(self, pixels: Tensor) -> Tensor:
        return to_network_inputs(pixels.to(self.device), torch.float32)

    def _pixel_metrics(self, pixels: Tensor) -> Values:
        values = {}
        if "sliced_wasserstein" in self.metric_set.names:
            values["sliced_wasserstein"] = self._reference.distance(self._to_floats(pixels[: self.pixel_images]))
        if "diversity" in self.metric_set.names:
            values["diversity"] = mean_pairwise_distance(pixels)
        if "spectrum_error" in self.metric_set.names:
            generated = radial_spectrum(self._to_floats(pixels[: self.pixel_images]))
            values["spectrum_error"] = spectrum_error(generated, self._real_spectrum)
        return values

    def _feature_metrics(self, features: dict[tuple[str, str], Tensor], real: dict[str, Tensor]) -> Values:
        extractors = self.metric_set.extractors
        if not extractors:
            return {}
        from wgan_dist.evaluation.metrics.feature_distances import feature_metrics  # torch-fidelity is slow to import

        generated = {name: features[name, extractor.features] for name, extractor in extractors.items()}
        return feature_metrics(self.metric_set.names, generated, real, features.get((INCEPTION, LOGITS)))

    def _class_metrics(
        self, features: dict[tuple[str, str], Tensor], real: dict[str, Tensor]
    ) -> tuple[Values, dict[str, ByClass]]:
        """Return the metrics of classes, and their values for each class."""
        if self.classes is None:
            return {}, {}
        from wgan_dist.evaluation.metrics.feature_distances import frechet_by_class  # torch-fidelity is slow to import

        values, by_class, extractors = Values(), dict[str, ByClass](), self.metric_set.extractors
        asked, of_real = (labels.values for labels in self.classes)
        if "class_frechet_distance" in self.metric_set.names:
            generated = features[EXTRACTOR, extractors[EXTRACTOR].features]
            found = frechet_by_class(generated, asked, real[EXTRACTOR], of_real, large_classes(*self.classes))
            by_class["class_frechet_distance"] = found
            values["class_frechet_distance"] = float(np.mean(list(found.values())))
        if "label_accuracy" in self.metric_set.names:
            logits = features[CLASSIFIER, extractors[CLASSIFIER].features]
            by_class["label_accuracy"] = accuracy_by_class(logits, asked)
            values["label_accuracy"] = float(is_right(logits, asked).mean())
        return values, by_class


@dataclass(frozen=True)
class PointEvaluator:
    """Measures distances of generated to real points, and how they cover the modes of a known mixture.

    The exact W₁ is that between 1,000 points each, and the sliced one, of the user's own points, that between 10,000 or
    as many as there are.

    `critic`, if any, adds the critic's own estimates.
    """

    data: PointDataset
    seed: int
    training: Rows
    critic: CriticWasserstein | None = None
    metric_set: MetricSet = MetricSet(())  # empty: metrics of points need no networks, and all are measured
    best_metric: str = "exact_wasserstein"
    count: int = POINTS_COUNTED
    labels: Tensor | None = None  # points have no classes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all metrics that are measured, except the critic's estimate between the 1,000 points."""
        modes = ("modes_covered", "good_share", "rarest_mode_share") if self.data.mixture else ()
        sliced = () if self.data.is_built_in else ("point_sliced_wasserstein",)
        return ("exact_wasserstein", *sliced, *modes, *(NAMES if self.critic else ()))

    def __str__(self) -> str:
        return f"measures {', '.join(self.names)}"

    def protocol(self, name: str) -> str:
        """Describe how a metric is measured."""
        return point_protocol(self, name)

    def compared(self, name: str) -> tuple[int, int]:
        """Return how many generated and how many real points a metric is computed from."""
        return compared_points(self, name)

    @functools.cached_property
    def real_values(self) -> dict[str, RealValue]:
        """Return the metrics of real points against other real ones; every process must ask for them."""
        values: dict[str, RealValue] = distributed.broadcast_from_main(lambda: point_values(self))
        return values

    def _real(self, name: str) -> NDArray[np.float32]:
        """Return the real points that a metric compares with."""
        rows = choose_rows(self.data, self.training, self.compared(name)[1], self.seed)
        return np.asarray(self.data.values[rows])

    def _generate(self, generate: Generate, score: Score | None) -> tuple[Tensor, Tensor]:
        """Return this process's share of the points and their scores, zeros without `score`."""
        parts = [generate(batch) for batch in batches(own_share(self.count))]
        points = torch.cat(parts)
        return points, torch.cat([score(part, None) for part in parts]).flatten() if score else torch.zeros(len(points))

    def measure(self, generate: Generate, score: Score | None = None) -> Values:
        """Return the values by name, the same on every process; every process must call it.

        `score` is the critic, given where differences of its scores are estimates of a distance.
        """
        # scipy takes 40 MB, for points alone.
        from wgan_dist.evaluation.metrics.points import exact_wasserstein, mode_metrics, sliced_wasserstein

        fake, scores = map(distributed.gather, distributed.run_on_all_ranks(lambda: self._generate(generate, score)))
        real = self._real("exact_wasserstein")
        estimates = self.critic.measure(scores, score) if score and self.critic else {}

        def compute() -> Values:
            values = {"exact_wasserstein": exact_wasserstein(real, fake[: len(real)].numpy())}
            if score is not None:
                real_scores = score(torch.from_numpy(real).to(fake), None).double().cpu()
                values["critic_wasserstein"] = float(real_scores.mean() - scores[: len(real)].double().mean())
            if not self.data.is_built_in:
                more = self._real("point_sliced_wasserstein")
                values["point_sliced_wasserstein"] = sliced_wasserstein(more, fake[: len(more)].numpy())
            if self.data.mixture is not None:
                values |= mode_metrics(fake.numpy(), self.data.mixture)
            return values | estimates

        return distributed.broadcast_from_main(compute)


Evaluator = ImageEvaluator | PointEvaluator


def make_evaluator(
    config: Config,
    data: Dataset,
    split: Split,
    device: torch.device,
    real_count: int | None = None,
    labels: Tensor | None = None,
) -> Evaluator:
    """Build the evaluator of `data` for the settings of evaluation in `config`; every process must call it.

    It generates fewer than `config.evaluation_images` images where no metric needs more, and compares with `real_count`
    real ones, by default as many as are generated. The critic's estimates need held-out samples in `split`. `labels`
    int64 [config.evaluation_images] are the classes of the generated images, by default drawn in the proportions of the
    training images.

    Raises:
        UserError: On every process, for metrics that cannot be computed here and for files that cannot be used.
    """
    count, seed, critic = config.evaluation_images, config.seed, None
    if isinstance(data, PointDataset):
        count = POINTS_COUNTED
    if len(split.held_out) and config.loss == "wasserstein":
        scored = min(count, len(split.training), len(split.held_out))
        training = choose_rows(data, split.training, scored, seed)
        held_out = choose_rows(data, split.held_out, scored, seed)
        of_real = data.labels.values if data.labels else None
        critic = CriticWasserstein(data.values, training, held_out, of_real)
    if isinstance(data, PointDataset):
        if config.metrics is not None:
            raise UserError(f"metrics={','.join(config.metrics)}: expected auto, since {data.name} are points")
        return PointEvaluator(data, seed, split.training, critic)
    processes = distributed.world().size
    if count < processes:
        raise UserError(f"evaluation_images={count}: expected at least one for each of {processes} processes")
    real_count = min(real_count or count, len(split.training))
    pool = choose_rows(data, split.training, real_count + count, seed)
    labels = _evaluation_labels(data, split, count, seed) if labels is None else labels
    classes = _classes(data, labels, pool[:real_count])
    metric_set = distributed.run_on_all_ranks(lambda: open_metric_set(config, data, classes, device))
    if not metric_set.extractors:
        count = min(count, max(PIXEL_IMAGES, len(critic or ())))
    return ImageEvaluator(
        data=data,
        training=split.training,
        pool=pool[: real_count + count],
        real_count=real_count,
        count=count,
        seed=seed,
        metric_set=metric_set,
        cache_dir=cache_folder(config.cache_dir),
        device=device,
        critic=critic,
        labels=None if labels is None else labels[:count],
    )


def _evaluation_labels(data: ImageDataset, split: Split, count: int, seed: int) -> Tensor | None:
    """Return the classes of the generated images, int64 [count], drawn in the proportions of the training images."""
    if data.labels is None:
        return None
    shares = data.labels.rows(split.training).shares()
    return torch.from_numpy(draw_classes(rng.uniform(seed, "evaluation.label", 0, (count,)), shares))


def _classes(data: ImageDataset, generated: Tensor | None, real: Rows) -> tuple[Labels, Labels] | None:
    """Return the classes of generated images and those of the rows `real`, None without classes."""
    if data.labels is None or generated is None:
        return None
    return Labels(data.labels.classes, generated.cpu().numpy()), data.labels.rows(real)
