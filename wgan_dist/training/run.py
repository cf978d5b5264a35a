"""One training run from its settings: processes, data, networks, where it begins, the loop, and what it prints."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from wgan_dist import __version__, distributed
from wgan_dist.checkpoints.background_writer import BackgroundWriter
from wgan_dist.checkpoints.checkpoint import Snapshot, TrainingObjects, take_snapshot
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE, Description
from wgan_dist.checkpoints.manager import CheckpointManager
from wgan_dist.checkpoints.run_dir import SAMPLES, check_run_dir, make_run_dir
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import CONFIG_FILE, Config, as_dict, changed_settings, check_together, to_yaml
from wgan_dist.config.command_line import print_now
from wgan_dist.data.datasets import Dataset, ImageDataset, PointDataset, open_images, open_points
from wgan_dist.data.decoding import progress_reporter
from wgan_dist.data.holdout import Split, split_holdout
from wgan_dist.data.samplers import GlobalBatchOrder
from wgan_dist.data.synthetic import are_points
from wgan_dist.evaluation.evaluator import Evaluator, make_evaluator
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.models.from_config import ASSUMED_CHANNELS, network_specs
from wgan_dist.models.layers import Critic
from wgan_dist.models.registry import NetworkSpec, is_own_class
from wgan_dist.tracking import trackers
from wgan_dist.tracking.logger import MetricLogger
from wgan_dist.tracking.sample_grid import ImageSampleGrid, PointSampleGrid
from wgan_dist.tracking.throughput import ThroughputMeter
from wgan_dist.training import callbacks, inference
from wgan_dist.training.build import DTYPES, build_gan
from wgan_dist.training.divergence import check_weights
from wgan_dist.training.early_stopping import EarlyStopping, make_early_stopping
from wgan_dist.training.initialise import find_checkpoint, init_from, resume
from wgan_dist.training.noise import NoiseSource, TrainingNoise
from wgan_dist.training.real_batches import RealBatches
from wgan_dist.training.schedule import Schedule, make_schedule
from wgan_dist.training.steps import GAN
from wgan_dist.training.trainer import Trainer
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import remove_partial_files, write_text


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
    spec: NetworkSpec
    noise: TrainingNoise
    real_batches: RealBatches

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
        )

    def describe(self, state: TrainState, weights: str) -> Description:
        """Return the metadata of a generator file of this run; `weights` is ema or raw."""
        config = self.config
        return Description(
            network=self.spec,
            latent_distribution=config.latent_distribution,
            weights=weights,
            steps=state.step,
            seen_images=state.total_critic_iterations * config.batch_size,
            data=self.data.name,
            description=config.description,
            license=config.license,
            package_version=__version__,
        )

    def snapshot(self, state: TrainState) -> Snapshot:
        """Copy everything that a resumed run needs."""
        descriptions = {EMA_FILE: self.describe(state, "ema"), RAW_FILE: self.describe(state, "raw")}
        return take_snapshot(self.objects, state, as_dict(self.config), self.data.fingerprint, descriptions)

    def check_weights(self, state: TrainState) -> None:
        """Raise UserError if the weights are not finite."""
        networks = (self.gan.ema.network, self.gan.generator.network, self.gan.critic.network)
        check_weights(networks, state.step, self.schedule.base_learning_rates)

    def latents(self, count: int, stream: str) -> Tensor:
        """Draw fixed latents [count, latent_dim] on the device."""
        config = self.config
        z = rng.latent(config.latent_distribution, config.seed, stream, 0, (count, config.latent_dim))
        return torch.as_tensor(z, dtype=DTYPES[config.dtype]).to(self.accelerator.device)

    def score(self, samples: Tensor) -> Tensor:
        """Return the critic's scores in evaluation mode."""
        return inference.score(self.gan.critic.network, samples)


def build_run(config: Config, accelerator: Accelerator, data: Dataset) -> TrainingRun:
    """Build everything from the settings and the data.

    Raises:
        UserError: For settings that do not fit the data, the networks or the number of processes.
    """
    parts = split_holdout(data.values, config.holdout)
    order = GlobalBatchOrder(config.seed, len(parts.training), config.batch_size)
    if not order.batches_per_epoch:
        samples = "points" if isinstance(data, PointDataset) else "images"
        raise UserError(
            f"batch_size={config.batch_size}: expected at most the number of {samples}, {len(parts.training)}"
        )
    if config.flip and isinstance(data, PointDataset):
        raise UserError(f"flip=true: is for images, and {data.name} are points")
    schedule = make_schedule(config, order.batches_per_epoch)
    evaluator = make_evaluator(config, data, parts, accelerator.device) if schedule.evaluate else None
    early_stopping = make_early_stopping(config, schedule, evaluator)
    noise_sources = _noise_sources(config, accelerator.device)
    gan = build_gan(config, accelerator, data.shape)
    return TrainingRun(
        config=config,
        accelerator=accelerator,
        data=data,
        split=parts,
        schedule=schedule,
        evaluator=evaluator,
        early_stopping=early_stopping,
        gan=gan,
        spec=network_specs(config, data.shape[0])[0],
        noise=_training_noise(config, data, gan, *noise_sources),
        real_batches=RealBatches(
            data.values,
            order,
            parts.training,
            noise_sources[0],
            fresh_per_critic_iteration=config.real_batch_per == "critic",
            flip=config.flip,
            workers=config.workers,
        ),
    )


def _noise_sources(config: Config, device: torch.device) -> tuple[NoiseSource, NoiseSource]:
    """Return the noise of the critic and of the generator, which differ in the batch size."""

    def source(setting: str, batch_size: int) -> NoiseSource:
        slices = distributed.micro_batch_slices(batch_size, config.accumulation, distributed.world(), setting)
        distribution, dtype = config.latent_distribution, DTYPES[config.dtype]
        return NoiseSource(config.seed, batch_size, config.latent_dim, distribution, slices, device, dtype)

    generator_size = config.generator_batch_size or config.batch_size
    return source("batch_size", config.batch_size), source("generator_batch_size", generator_size)


def _training_noise(
    config: Config, data: Dataset, gan: GAN, critic: NoiseSource, generator: NoiseSource
) -> TrainingNoise:
    network = gan.critic.network
    return TrainingNoise(
        critic_source=critic,
        generator_source=generator,
        penalty=PENALTIES.get(config.penalty),
        sample_shape=data.shape,
        delta_std=config.dragan_std,
        dropouts=network.dropouts if isinstance(network, Critic) else (),
        reuse_latents=config.reuse_latents,
    )


def build_callbacks(run: TrainingRun, run_dir: Path, state: TrainState, resumed: bool) -> callbacks.Callbacks:
    """Return the callbacks of a run, in the order in which they run."""
    config, schedule, gan, writer = run.config, run.schedule, run.gan, BackgroundWriter()
    throughput = ThroughputMeter(config.batch_size, gan.critic.loss, gan.generator.loss)
    open_logger = _logger_of(run, run_dir, resumed) if distributed.world().is_main else None
    logging = callbacks.Logging(open_logger, throughput, gan, schedule, config.batch_size, writer)
    manager = CheckpointManager(run_dir, config.keep_checkpoints, writer, run.snapshot, run.check_weights, logging.sync)
    if resumed:
        manager.mark_saved(state)
    grid = _sample_grid(run, run_dir)
    z = run.latents(grid.count, "grid.z")
    parts: list[callbacks.Callback] = [
        callbacks.StopSignal(manager),
        callbacks.Profiling(run_dir, config.profile),
        *_evaluation(run, manager),
        logging,
        callbacks.Sampling(logging, grid, z, inference.sample, run.score, config.weight_histograms),
        callbacks.DivergenceCheck(gan, schedule, config.max_skipped, manager),
        callbacks.Checkpointing(manager, schedule.checkpoint),
        callbacks.EarlyStop(run.early_stopping, run_dir),
    ]
    return callbacks.Callbacks(parts)


def _logger_of(run: TrainingRun, run_dir: Path, resumed: bool) -> Callable[[TrainState], MetricLogger]:
    def open_logger(state: TrainState) -> MetricLogger:
        for folder in (run_dir, run_dir / SAMPLES):
            remove_partial_files(folder)
        logger = MetricLogger(run_dir, run.config, state.step, run.schedule.max_steps, fresh=not resumed)
        if not resumed:
            logger.graph(run.gan.ema.network, run.latents(1, "grid.z"))
        return logger

    return open_logger


def _sample_grid(run: TrainingRun, run_dir: Path) -> ImageSampleGrid | PointSampleGrid:
    if isinstance(run.data, PointDataset):
        return PointSampleGrid(run.data.values, run_dir / SAMPLES)
    return ImageSampleGrid(run.config.grid_images)


def _evaluation(run: TrainingRun, manager: CheckpointManager) -> list[callbacks.Callback]:
    if run.evaluator is None:
        return []
    z = run.latents(run.evaluator.count, "evaluation.z")
    score = run.score if run.config.loss == "wasserstein" else None
    metric = run.early_stopping.metric

    def generate(rows: slice) -> Tensor:
        return inference.sample(run.gan.ema.network, z[rows])

    return [callbacks.Evaluation(run.evaluator, run.schedule.evaluate, metric, generate, score, manager)]


def print_main(text: str) -> None:
    """Print on the first process only."""
    if distributed.world().is_main:
        print_now(text)


def _describe_environment(config: Config, accelerator: Accelerator) -> str:
    """Return what computes; launchers may start fewer processes than were asked for."""
    processes, threads = distributed.world().size, torch.get_num_threads()
    precision = config.mixed_precision
    autocast = "" if precision == "no" else f" with {precision} autocast"
    return (
        f"{processes} process{'es' * (processes > 1)} on {accelerator.device.type} "
        f"({threads} CPU thread{'s' * (threads > 1)} each), {config.dtype}{autocast}"
    )


def open_data(config: Config) -> Dataset:
    """Open the data of a run on every process; the first one decodes images into the cache."""

    def build(notify: bool) -> ImageDataset:
        return open_images(
            config.data,
            config.image_size,
            config.channels,
            config.background,
            config.skip_bad_images,
            config.cache_dir,
            *([progress_reporter("decoded")] if notify else []),
        )

    if are_points(config.data):
        return open_points(config.data[0])
    # An error of the first process is raised on all; afterwards all map the cache.
    bad = distributed.broadcast_from_main(lambda: build(notify=True).bad)
    if bad and distributed.world().is_main:
        print(f"left out {len(bad)} unreadable images, the first: {bad[0]}", file=sys.stderr)
    return build(notify=False)


def _prepare(config: Config) -> TrainingRun:
    """Start the processes, open the data and build the run, and print what they are."""
    config = dataclasses.replace(config, mixed_precision=distributed.mixed_precision(config.mixed_precision))
    accelerator = distributed.start(config.threads, config.timeout, config.deterministic, config.tf32)
    print_main(_describe_environment(config, accelerator))
    distributed.broadcast_from_main(lambda: check_run_dir(config))
    distributed.broadcast_from_main(lambda: trackers.check(config.trackers))
    network_specs(config, config.channels or ASSUMED_CHANNELS)  # a wrong name is known before the data are decoded
    data = open_data(config)
    samples = "points"
    if isinstance(data, ImageDataset):
        samples, config = "images", dataclasses.replace(config, channels=data.channels)
    check_together(config)
    print_main(f"{len(data):,} {samples} of {data.name}; {changed_settings(config)}")
    run = build_run(config, accelerator, data)
    if config.holdout:
        print_main(f"{len(run.split.held_out):,} of them are held out")
    if run.evaluator:
        print_main(str(run.evaluator))
        for name in run.evaluator.names:
            print_main(f"  {name}: {run.evaluator.protocol(name)}")
    return run


def _initialise(run: TrainingRun) -> tuple[TrainState, bool, str]:
    """Return where the run begins, whether it is resumed, and that in words."""
    config = run.config
    if folder := find_checkpoint(config):
        state = resume(folder, config, run.data.fingerprint, run.schedule, run.objects)
        end = " (the end: a greater --max_steps goes on)" if state.step >= run.schedule.max_steps else ""
        return state, True, f"step {state.step} of {folder}{end}"
    if config.init_from:
        source = Path(config.init_from)
        return TrainState(), False, init_from(source, config, run.spec, run.objects, run.gan.ema)
    return TrainState(), False, "new weights"


def _make_run_dir(config: Config) -> Path:
    """Make the folder of the run, with its settings in it."""

    def make() -> str:
        folder = make_run_dir(config)
        write_text(folder / CONFIG_FILE, to_yaml(config))
        return str(folder)

    return Path(distributed.broadcast_from_main(make))


def train(config: Config) -> Path | None:
    """Train a run; return its folder, or None after a dry run.

    Raises:
        UserError: For settings, data or files that cannot be used.
        Stopped: When a signal stopped the run; everything is saved.
    """
    run = _prepare(config)
    config = run.config
    state, resumed, beginning = _initialise(run)
    if config.dry_run:
        sizes = (
            f"{name} of {sum(parameter.numel() for parameter in network.network.parameters()):,} parameters"
            for name, network in run.gan.networks().items()
        )
        print_main(f"dry run: {beginning}; settings, data and networks fit: {', '.join(sizes)}. No run was written")
        return None
    run_dir = _make_run_dir(config)
    print_main(f"{run_dir}: {beginning}")
    around = build_callbacks(run, run_dir, state, resumed)
    trainer = Trainer(run.gan, run.real_batches, run.noise, run.schedule, state, around)
    try:
        trainer.train()
    except OSError as error:  # what a run reads and writes while it trains: a full disk, a removed folder
        raise UserError(f"run_dir={run_dir}: training stopped at step {state.step}: {error}") from error
    return run_dir


def print_results(run_dir: Path, config: Config) -> None:
    """Print where everything is and the commands that come next."""
    ckpt = shlex.quote(f"--ckpt={run_dir}")
    ckpt += f" --generator={config.generator}" if is_own_class(config.generator) else ""
    print_main(
        f"done: {run_dir}/{EMA_FILE}, pictures in {run_dir}/{SAMPLES}/\n"
        f"  python -m wgan_dist.sample {ckpt} --out=grid.png\n"
        f"  python -m export.onnx {ckpt} --out=generator.onnx\n"
        f"  tensorboard --logdir {shlex.quote(f'{run_dir}/tensorboard')}"
    )
