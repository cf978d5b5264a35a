"""The callbacks of a run, in the order in which they run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.checkpoints.background_writer import BackgroundWriter
from wgan_dist.checkpoints.manager import CheckpointManager
from wgan_dist.checkpoints.run_dir import SAMPLES
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.data.datasets import PointDataset
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.evaluation.lipschitz_distance import certified_values
from wgan_dist.models.lipschitz import is_lipschitz
from wgan_dist.tracking.logger import MetricLogger
from wgan_dist.tracking.sample_grid import CLASSES_DRAWN, POINTS_DRAWN, ImageSampleGrid, PointSampleGrid
from wgan_dist.tracking.throughput import ThroughputMeter
from wgan_dist.training import eval_mode
from wgan_dist.training.augmentation import AdaptiveAugmentation
from wgan_dist.training.build_run import TrainingRun
from wgan_dist.training.callbacks import (
    Callback,
    Callbacks,
    Certification,
    Checkpointing,
    DivergenceCheck,
    EarlyStoppingCallback,
    Evaluation,
    LipschitzCheck,
    Logging,
    Profiling,
    Sampling,
    StopSignal,
)
from wgan_dist.utils.files import remove_partial_files


def build_callbacks(run: TrainingRun, run_dir: Path, state: TrainState, resumed: bool) -> Callbacks:
    """Return the callbacks of a run, in the order in which they run."""
    config, schedule, gan, writer = run.config, run.schedule, run.gan, BackgroundWriter()
    throughput = ThroughputMeter(config.batch_size, gan.critic.loss, gan.generator.loss)
    open_logger = _logger_of(run, run_dir, resumed) if distributed.world().is_main else None
    logging = Logging(open_logger, throughput, gan, schedule, config.batch_size, writer)
    manager = CheckpointManager(run_dir, config.keep_checkpoints, writer, run.snapshot, run.check_weights, logging.sync)
    if resumed:
        manager.mark_saved(state)
    grid = _sample_grid(run, run_dir)
    z, labels = run.grid_inputs(grid)
    callbacks: list[Callback] = [
        StopSignal(manager),
        Profiling(run_dir, config.profile, run.accelerator.device),
        *_evaluation(run, manager),
        *_certification(run),
        *_lipschitz_check(run),
        *_adaptive_augmentation(run),
        logging,
        Sampling(
            schedule, gan, logging, writer, grid, z, labels, eval_mode.sample, run.score, config.weight_histograms
        ),
        DivergenceCheck(gan, schedule, config.max_skipped, manager),
        Checkpointing(manager, schedule.checkpoint),
        EarlyStoppingCallback(run.early_stopping, run_dir),
    ]
    return Callbacks(callbacks)


def _logger_of(run: TrainingRun, run_dir: Path, resumed: bool) -> Callable[[TrainState], MetricLogger]:
    def open_logger(state: TrainState) -> MetricLogger:
        for folder in (run_dir, run_dir / SAMPLES):
            remove_partial_files(folder)
        logger = MetricLogger(run_dir, run.config, state.step, run.schedule.max_steps, fresh=not resumed)
        if not resumed:
            z, labels = run.grid_inputs(_sample_grid(run, run_dir))
            logger.graph(run.gan.ema.network, z[:1], *([] if labels is None else [labels[:1]]))
        return logger

    return open_logger


def _sample_grid(run: TrainingRun, run_dir: Path) -> ImageSampleGrid | PointSampleGrid:
    if isinstance(run.data, PointDataset):
        return PointSampleGrid(run.data.spread(POINTS_DRAWN), run_dir / SAMPLES)
    classes = run.data.labels.classes if run.data.labels else ()
    return ImageSampleGrid(run.config.grid_images, classes[:CLASSES_DRAWN])


def _adaptive_augmentation(run: TrainingRun) -> list[Callback]:
    if run.augmentation is None or run.config.augment != "adaptive":
        return []
    return [AdaptiveAugmentation(run.augmentation, run.overfitting(), run.config.n_critic * run.config.batch_size)]


def _evaluation(run: TrainingRun, manager: CheckpointManager) -> list[Callback]:
    if run.evaluator is None:
        return []
    z = run.fixed_latents(run.evaluator.count, "evaluation.z")
    score = run.score if run.config.loss == "wasserstein" else None
    metric = run.early_stopping.metric

    labels = None if run.evaluator.labels is None else run.evaluator.labels.to(z.device)

    def generate(rows: slice) -> Tensor:
        return eval_mode.sample(run.gan.ema.network, z[rows], None if labels is None else labels[rows])

    return [Evaluation(run.evaluator, run.schedule.evaluate, metric, generate, score, manager)]


def _certification(run: TrainingRun) -> list[Callback]:
    if not run.schedule.certify:
        return []
    rows, seed, device = run.certified_rows, run.config.seed, run.accelerator.device
    z = run.fixed_latents(len(rows), "certify.z")
    labels = None if run.data.labels is None else torch.from_numpy(run.data.labels.values[rows]).to(device)

    def measure() -> dict[str, float]:
        real = to_network_inputs(torch.from_numpy(np.array(run.data.values[rows])), torch.float32)
        return certified_values(real, eval_mode.sample(run.gan.ema.network, z, labels), seed, device)

    return [Certification(measure, run.schedule.certify)]


def _lipschitz_check(run: TrainingRun) -> list[Callback]:
    critic = run.gan.critic.network
    return [LipschitzCheck(critic, run.schedule.checkpoint)] if is_lipschitz(critic) else []
