"""Settings and data → everything that the loop and its callbacks are made of."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import __version__, distributed
from wgan_dist.checkpoints.checkpoint import Snapshot, TrainingObjects, take_snapshot
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE, Description
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, as_dict
from wgan_dist.config.fields import show
from wgan_dist.data.datasets import Dataset, PointDataset
from wgan_dist.data.holdout import Split, choose_rows, split_holdout
from wgan_dist.data.samplers import BatchOrder, ClassBalancedOrder, GlobalBatchOrder
from wgan_dist.evaluation.evaluator import Evaluator, make_evaluator
from wgan_dist.evaluation.lipschitz_distance import CERTIFIED_SAMPLES, LEAST_SAMPLES
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.models.conditional_critics import LabelledCritic
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.layers import MINIBATCH_GROUP, Critic, MinibatchStandardDeviation
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.tracking.sample_grid import ImageSampleGrid, PointSampleGrid
from wgan_dist.training import eval_mode
from wgan_dist.training.augmentation import Overfitting, check_held_out
from wgan_dist.training.augmentation_strength import AugmentationStrength, make_strength
from wgan_dist.training.build import DTYPES, build_gan
from wgan_dist.training.divergence import check_replicas, check_weights
from wgan_dist.training.early_stopping import EarlyStopping, make_early_stopping
from wgan_dist.training.gradient_buckets import settle_gradient_buckets
from wgan_dist.training.noise import NoiseSource, TrainingNoise
from wgan_dist.training.real_batches import RealBatch, RealBatches
from wgan_dist.training.schedule import Schedule, make_schedule
from wgan_dist.training.steps import GAN
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import EIGHT_BITS


@dataclass(frozen=True)
class TrainingRun:
    """Everything that the loop and its callbacks are made of."""

    config: Config
    accelerator: Accelerator
    data: Dataset
    split: Split
    schedule: Schedule
    evaluator: Evaluator | None
    early_stopping: EarlyStopping
    gan: GAN
    generator_spec: NetworkSpec
    noise: TrainingNoise
    real_batches: RealBatches
    augmentation: AugmentationStrength | None

    @functools.cached_property
    def objects(self) -> TrainingObjects:
        """Return the objects whose values a checkpoint holds."""
        networks = self.gan.networks()
        return TrainingObjects(
            generator=self.gan.generator.network,
            ema_generator=self.gan.ema.network,
            critic=self.gan.critic.network,
            optimizers={name: network.optimizer for name, network in networks.items()},
            grad_scalers={name: network.scaler for name, network in networks.items()},
            augmentation=self.augmentation if self.config.augment == "adaptive" else None,
        )

    @property
    def certified_rows(self) -> NDArray[np.int64]:
        """Return the rows of the held-out samples that the certified estimate compares with, chosen by content."""
        return choose_rows(self.data, self.split.held_out, CERTIFIED_SAMPLES, self.config.seed)

    def overfitting(self) -> Overfitting:
        """Return what measures how far the critic overfits."""
        labels = self.data.labels.values if self.data.labels else None
        return Overfitting(self.gan, self.real_batches.noise, self.split, self.real_batches.of_rows, labels)

    def settle_gradient_buckets(self) -> None:
        """Let the processes average gradients from the first step on as they do later; see `gradient_buckets`."""
        source = self.real_batches.noise
        shape = source.rows, *self.data.shape
        samples = [torch.zeros(shape, dtype=source.dtype, device=source.device) for _ in source.slices]
        zeros = torch.zeros(source.rows, dtype=torch.int64, device=source.device)
        real = RealBatch(samples, [zeros if self.data.labels else None for _ in samples])
        critic = self.noise.critic(0)
        settle_gradient_buckets(self.gan, real, critic, self.noise.generator(0, critic))

    def describe(self, state: TrainState, weights: str) -> Description:
        """Return the metadata of a generator file of this run; `weights` is ema or raw."""
        config, labels = self.config, self.data.labels
        return Description(
            network=self.generator_spec,
            latent_distribution=config.latent_distribution,
            weights=weights,
            steps=state.step,
            seen_images=state.seen_images(config.batch_size),
            training_examples=len(self.split.training),
            data=self.data.name,
            data_fingerprint=self.data.fingerprint,
            description=config.description,
            license=config.license,
            package_version=__version__,
            levels=EIGHT_BITS if isinstance(self.data, PointDataset) else self.data.levels,
            channel_names=config.channel_names,
            unit=config.unit,
            classes=labels.classes if labels else (),
            class_shares=tuple(labels.rows(self.split.training).shares().tolist()) if labels else (),
        )

    def snapshot(self, state: TrainState) -> Snapshot:
        """Copy everything that a resumed run needs."""
        descriptions = {EMA_FILE: self.describe(state, "ema"), RAW_FILE: self.describe(state, "raw")}
        return take_snapshot(self.objects, state, as_dict(self.config), self.data.fingerprint, descriptions)

    def check_weights(self, state: TrainState) -> None:
        """Raise UserError if the weights are not finite, or not the same on every process."""
        trained = {name: network.network for name, network in self.gan.networks().items()}
        networks = {"ema_generator": self.gan.ema.network} | trained
        check_replicas(networks, state.step)
        check_weights(networks.values(), state.step, self.schedule.base_learning_rates)

    def fixed_latents(self, count: int, stream: str) -> Tensor:
        """Draw fixed latents [count, latent_dim] on the device."""
        config = self.config
        z = rng.latent(config.latent_distribution, config.seed, stream, 0, (count, config.latent_dim))
        return torch.as_tensor(z, dtype=DTYPES[config.dtype]).to(self.accelerator.device)

    def grid_inputs(self, grid: ImageSampleGrid | PointSampleGrid) -> tuple[Tensor, Tensor | None]:
        """Return the latents of a grid on the device, and the classes: every class has the same latents."""
        if isinstance(grid, PointSampleGrid) or not grid.classes:
            return self.fixed_latents(grid.count, "grid.z"), None
        z = self.fixed_latents(grid.columns, "grid.z")
        labels = torch.arange(len(grid.classes), device=z.device)
        return z.repeat(len(labels), 1), labels.repeat_interleave(len(z))

    def score(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the critic's scores in evaluation mode."""
        return eval_mode.score(self.gan.critic.network, samples, labels)


def build_run(config: Config, accelerator: Accelerator, data: Dataset) -> TrainingRun:
    """Build everything from the settings and the data.

    Raises:
        UserError: For settings that do not fit the data, the networks or the number of processes.
    """
    split = split_holdout(data, config.holdout)
    order = _batch_order(config, data, split)
    if not order.batches_per_epoch:
        samples = "points" if isinstance(data, PointDataset) else "images"
        raise UserError(
            f"batch_size={config.batch_size}: expected at most the number of {samples}, {len(split.training)}"
        )
    _check_are_images(config, data)
    check_held_out(config, split)
    schedule = make_schedule(config, order.batches_per_epoch)
    if schedule.certify and len(split.held_out) < LEAST_SAMPLES:
        raise UserError(
            f"certify_every={config.certify_every} with holdout={config.holdout:g}: holds out {len(split.held_out)} "
            f"samples; expected at least {LEAST_SAMPLES}"
        )
    evaluator = make_evaluator(config, data, split, accelerator.device) if schedule.evaluate else None
    early_stopping = make_early_stopping(config, schedule, evaluator)
    noise_sources = _noise_sources(config, accelerator.device)
    classes = len(data.labels.classes) if data.labels else 0
    gan = build_gan(config, accelerator, data.shape, classes)
    for setting, source in zip(("batch_size", "generator_batch_size"), noise_sources, strict=True):
        _check_minibatch_groups(config, gan, setting, source.rows)
    augmentation = make_strength(
        config.augment, config.augment_policy, accelerator.device, DTYPES[config.dtype], config.compile
    )
    return TrainingRun(
        config=config,
        accelerator=accelerator,
        data=data,
        split=split,
        schedule=schedule,
        evaluator=evaluator,
        early_stopping=early_stopping,
        gan=gan,
        generator_spec=network_specs(config, data.shape[0], classes)[0],
        noise=_training_noise(config, data, split, gan, *noise_sources, augmentation),
        real_batches=RealBatches(
            data.values if isinstance(data, PointDataset) else data.pixels,
            None if isinstance(data, PointDataset) else data.levels,
            order,
            split.training,
            noise_sources[0],
            fresh_per_critic_iteration=config.real_batch_per == "critic",
            flip=config.flip,
            workers=config.workers,
            labels=data.labels.values if data.labels else None,
        ),
        augmentation=augmentation,
    )


def _check_are_images(config: Config, data: Dataset) -> None:
    """Check that there are images for what only images have."""
    for setting, value in (("flip", config.flip), ("augment", config.augment)):
        if isinstance(data, PointDataset) and value not in (False, "none"):
            raise UserError(f"{setting}={show(value)}: is for images, and {data.name} are points")


def _noise_sources(config: Config, device: torch.device) -> tuple[NoiseSource, NoiseSource]:
    """Return the noise of the critic and of the generator, which differ in the batch size."""

    def source(setting: str, batch_size: int) -> NoiseSource:
        slices = distributed.micro_batch_slices(batch_size, config.accumulation, distributed.world(), setting)
        distribution, dtype = config.latent_distribution, DTYPES[config.dtype]
        return NoiseSource(config.seed, config.latent_dim, distribution, slices, device, dtype)

    generator_size = config.generator_batch_size or config.batch_size
    return source("batch_size", config.batch_size), source("generator_batch_size", generator_size)


def _check_minibatch_groups(config: Config, gan: GAN, setting: str, rows: int) -> None:
    """Check that a micro-batch of `rows` of one process, a part of `setting`, has whole groups of the critic."""
    compares = any(isinstance(module, MinibatchStandardDeviation) for module in gan.critic.network.modules())
    if compares and rows % MINIBATCH_GROUP:
        raise UserError(
            f"{setting}={getattr(config, setting)} with critic={config.critic}: it compares {MINIBATCH_GROUP} images, "
            f"and a micro-batch of a process has {rows}; expected a multiple of {MINIBATCH_GROUP}"
        )


def _batch_order(config: Config, data: Dataset, split: Split) -> BatchOrder:
    """Return the order in which the training samples are drawn."""
    if not config.class_balance:
        return GlobalBatchOrder(config.seed, len(split.training), config.batch_size)
    assert data.labels is not None  # only images have labels, and class_balance needs them
    return ClassBalancedOrder(config.seed, data.labels.values[split.training], config.batch_size)


def _class_shares(config: Config, data: Dataset, split: Split) -> NDArray[np.float64] | None:
    """Return the probability of each class, [classes], as it is trained on, or None without classes."""
    if data.labels is None:
        return None
    classes = len(data.labels.classes)
    return np.full(classes, 1.0 / classes) if config.class_balance else data.labels.rows(split.training).shares()


def _training_noise(
    config: Config,
    data: Dataset,
    split: Split,
    gan: GAN,
    critic: NoiseSource,
    generator: NoiseSource,
    augmentation: AugmentationStrength | None,
) -> TrainingNoise:
    network = gan.critic.network
    return TrainingNoise(
        critic_source=critic,
        generator_source=generator,
        penalty=PENALTIES.get(config.penalty),
        sample_shape=data.shape,
        delta_std=config.dragan_std,
        dropouts=network.dropouts if isinstance(network, (Critic, LabelledCritic)) else (),
        reuse_latents=config.reuse_latents,
        class_shares=_class_shares(config, data, split),
        is_relativistic=gan.is_relativistic,
        augmentation=augmentation,
    )
