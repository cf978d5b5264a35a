"""Callbacks of the training loop: stopping, evaluation, logging, samples and checkpoints, in one written order.

At the end of each step: evaluate → certify → adapt the augmentation → log → sample → check → checkpoint
(`build_callbacks`). Every process runs every callback. The first process writes, and each one its own profile.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wgan_dist import distributed
from wgan_dist.checkpoints.background_writer import BackgroundWriter
from wgan_dist.checkpoints.best import improves
from wgan_dist.checkpoints.manager import CheckpointManager
from wgan_dist.checkpoints.run_dir import METRICS_FILE, checkpoint_name
from wgan_dist.checkpoints.train_state import Best, TrainState
from wgan_dist.evaluation.evaluator import Evaluator
from wgan_dist.evaluation.generated_set import Score
from wgan_dist.losses.modules import Metrics
from wgan_dist.models.lipschitz import LIPSCHITZ_TOLERANCE, lipschitz_bound
from wgan_dist.tracking.logger import MetricLogger
from wgan_dist.tracking.metric_names import METRICS, real_name
from wgan_dist.tracking.sample_grid import ImageSampleGrid, PointSampleGrid
from wgan_dist.tracking.throughput import ThroughputMeter
from wgan_dist.training.early_stopping import EarlyStopping
from wgan_dist.training.schedule import Schedule, is_due
from wgan_dist.training.steps import GAN
from wgan_dist.utils import profiler, signals
from wgan_dist.utils.console import print_now
from wgan_dist.utils.errors import Stopped, UserError

# What a process with a failed background task sends instead of a signal's number; above all of them.
FAILED = 1000

# Maps a generator, latents, and labels or None to samples.
Sample = Callable[[nn.Module, Tensor, Tensor | None], Tensor]


@dataclass
class StepResult:
    """The metrics of one step, as tensors [] on the device, and what was evaluated after it, as numbers."""

    metrics: Metrics
    evaluation: dict[str, float] = field(default_factory=dict)


class Callback:
    """Something that happens around the loop; every method does nothing unless a subclass overrides it."""

    def on_train_begin(self, state: TrainState) -> None:
        """Prepare; an error on one process is raised on all."""

    def on_step_begin(self, state: TrainState) -> None:
        """Act before a generator step and its critic iterations."""

    def on_critic_iteration_begin(self, state: TrainState) -> None:
        """Act before each critic iteration, where a run can be interrupted."""

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        """Act after a generator step."""

    def should_stop(self, state: TrainState) -> bool:
        """Return whether the run ends before the next step."""
        return False

    def on_train_end(self, state: TrainState) -> None:
        """Act after the last step of a run that was not interrupted."""

    def close(self) -> None:
        """Release what is held; runs after an error too."""


class Callbacks:
    """Run callbacks in their order, and in the reverse order at the end."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)

    @contextmanager
    def active(self, state: TrainState) -> Iterator[None]:
        """Call on_train_begin, run the block, then on_train_end in the reverse order; always close.

        The order is reversed because the last checkpoint flushes the records before the logger closes.
        """
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.callback(callback.close)
            distributed.run_on_all_ranks(lambda: self._begin(state))
            yield
            for callback in reversed(self.callbacks):
                callback.on_train_end(state)

    def _begin(self, state: TrainState) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(state)

    def on_step_begin(self, state: TrainState) -> None:
        """Run before a step."""
        for callback in self.callbacks:
            callback.on_step_begin(state)

    def on_critic_iteration_begin(self, state: TrainState) -> None:
        """Run before each critic iteration."""
        for callback in self.callbacks:
            callback.on_critic_iteration_begin(state)

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        """Run after a step."""
        for callback in self.callbacks:
            callback.on_step_end(state, result)

    def should_stop(self, state: TrainState) -> bool:
        """Return whether any callback ends the run."""
        return any(callback.should_stop(state) for callback in self.callbacks)


class StopSignal(Callback):
    """Save and stop between critic iterations when a signal asked any process to; raise errors of the background.

    With several processes a request is agreed upon while an iteration runs, and heeded at the next boundary.
    """

    def __init__(self, manager: CheckpointManager) -> None:
        self.manager = manager
        self._agreement = distributed.AsyncMax()

    def on_train_begin(self, state: TrainState) -> None:
        signals.defer_stop_signals()

    def on_critic_iteration_begin(self, state: TrainState) -> None:
        request = self._agreement.exchange(FAILED if self.manager.writer.failed else signals.requested_signal())
        if request == FAILED:
            distributed.run_on_all_ranks(self.manager.writer.check)
        elif request:
            self.manager.save_now(state)
            distributed.barrier()
            done = f" and {state.critic_iteration} critic iterations" if state.critic_iteration else ""
            raise Stopped(
                f"stopped by {signals.name(request)} after step {state.step}{done}; everything is saved. "
                f"To resume: the same command with --run_dir={self.manager.run_dir} --resume"
            )

    def on_train_end(self, state: TrainState) -> None:
        self._agreement.finish()  # the run is over and saved


class Profiling(Callback):
    """Record where the time of some steps goes."""

    def __init__(self, run_dir: Path, steps: int, device: torch.device) -> None:
        self.run_dir, self.steps, self.device = run_dir, steps, device
        self._recording, self._step = ExitStack(), ExitStack()
        self._after_step: Callable[[], None] = lambda: None

    def on_train_begin(self, state: TrainState) -> None:
        recording = profiler.recording(self.run_dir, self.steps, distributed.world().rank, self.device)
        self._after_step = self._recording.enter_context(recording)

    def on_step_begin(self, state: TrainState) -> None:
        self._step.enter_context(profiler.phase(profiler.STEP))

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        self._step.close()
        self._after_step()

    def close(self) -> None:
        self._step.close()
        self._recording.close()


class Evaluation(Callback):
    """Evaluate the averaged generator and keep the best one."""

    def __init__(
        self,
        evaluator: Evaluator,
        every: int,
        best_metric: str,
        generate: Callable[[slice], Tensor],
        score: Score | None,
        manager: CheckpointManager,
    ) -> None:
        """Evaluate samples of `generate`; `score` is the critic where its scores estimate a distance."""
        self.evaluator, self.every, self.best_metric = evaluator, every, best_metric
        self.generate, self.score, self.manager = generate, score, manager
        self._prints_real_values = True

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if not is_due(state.step, self.every):
            return
        try:
            result.evaluation |= self.evaluator.measure(self.generate, self.score) | self._real_values()
        except UserError:  # on every process; what is learned so far is worth more than the evaluation
            self.manager.save_now(state)
            raise
        metric = self.best_metric
        if metric in result.evaluation:
            self._keep_best(state, metric, result.evaluation[metric])

    def _real_values(self) -> dict[str, float]:
        """Return the metrics of real samples, which stay the same, under names of their own; print them once."""
        values = self.evaluator.real_values
        if self._prints_real_values and distributed.world().is_main:
            for name, found in values.items():
                print_now(f"{name}, real against real: {found.value:.4g} ± {found.spread:.2g} ({found.protocol})")
        self._prints_real_values = False
        return {real_name(name): found.value for name, found in values.items()}

    def _keep_best(self, state: TrainState, metric: str, value: float) -> None:
        lower_is_better = bool(METRICS[metric].lower_is_better)
        folder, protocol = checkpoint_name(state.step, state.critic_iteration), self.evaluator.protocol(metric)
        found = Best(metric, value, lower_is_better, state.step, folder, protocol)
        if improves(state.best, found):
            state.best = found


class Certification(Callback):
    """Record the distance of the averaged generator from held-out samples, as a critic on the side sees it.

    The first process measures; the run, its random numbers and its weights do not depend on it.
    """

    def __init__(self, measure: Callable[[], dict[str, float]], every: int) -> None:
        self.measure, self.every = measure, every

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if is_due(state.step, self.every):
            result.evaluation |= distributed.broadcast_from_main(self.measure)


class LipschitzCheck(Callback):
    """Record the bound of a Lipschitz critic's constant at the cadence of checkpoints, and warn where it is not 1."""

    def __init__(self, critic: nn.Module, every: int) -> None:
        self.critic, self.every = critic, every

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if is_due(state.step, self.every):
            result.evaluation |= {"lipschitz_constant": self._checked_bound(state)}

    def on_train_end(self, state: TrainState) -> None:
        self._checked_bound(state)

    def _checked_bound(self, state: TrainState) -> float:
        bound = lipschitz_bound(self.critic)
        if not bound <= 1.0 + LIPSCHITZ_TOLERANCE and distributed.world().is_main:
            print_now(
                f"warning: step {state.step}: the critic's layers bound its Lipschitz constant by {bound:.6g}, more "
                f"than 1 + {LIPSCHITZ_TOLERANCE:g}: divide W by it for a lower bound of the distance"
            )
        return bound


class Logging(Callback):
    """Record metrics at their cadence, and whenever something was evaluated. `logger` is None but on the first rank."""

    def __init__(
        self,
        open_logger: Callable[[TrainState], MetricLogger] | None,
        throughput: ThroughputMeter,
        gan: GAN,
        schedule: Schedule,
        batch_size: int,
        writer: BackgroundWriter,
    ) -> None:
        self.open_logger, self.throughput, self.gan = open_logger, throughput, gan
        self.schedule, self.batch_size, self.writer = schedule, batch_size, writer
        self.logger: MetricLogger | None = None

    def on_train_begin(self, state: TrainState) -> None:
        if self.open_logger:
            self.logger = self.open_logger(state)
        self.throughput.restart(state.step, state.total_critic_iterations)

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if self.logger:
            self.logger.progress.first(state.step)
        if not (is_due(state.step, self.schedule.log) or result.evaluation):
            return
        means = distributed.all_reduce_mean(torch.stack(list(result.metrics.values()))).tolist()
        if self.logger:
            with self.writer.keeping_errors():
                values = dict(zip(result.metrics, means, strict=True)) | result.evaluation
                self.logger.record(self._record(state, values))

    def _record(self, state: TrainState, values: dict[str, float]) -> dict[str, Any]:
        throughput = self.throughput.measure(state.step, state.total_critic_iterations)
        self.throughput.restart(state.step, state.total_critic_iterations)
        rates = self.schedule.learning_rates(state.step - 1)  # those of the step that has just ended
        return (
            {"step": state.step, "seen_images": state.seen_images(self.batch_size)}
            | throughput
            # JSON has no value for numbers that are not finite.
            | {name: value if math.isfinite(value) else None for name, value in values.items()}
            | {f"{network}_lr": rate for network, rate in rates.items()}
            | self._skipped_updates()
        )

    def _skipped_updates(self) -> dict[str, float]:
        scalers = {name: network.scaler for name, network in self.gan.networks().items()}
        states = {name: scaler.state() for name, scaler in scalers.items()}
        scales = {f"{name}_loss_scale": states[name].scale for name in states if scalers[name].dynamic}
        return {f"{name}_skipped": state.skipped for name, state in states.items()} | scales

    def sync(self) -> None:
        """Flush the records to the disk."""
        if self.logger:
            self.logger.sync()

    def on_train_end(self, state: TrainState) -> None:
        distributed.broadcast_from_main(self._close)

    def _close(self) -> None:
        if self.logger:
            logger, self.logger = self.logger, None
            logger.close()

    def close(self) -> None:
        with suppress(OSError):  # an error or a signal is under way, and the records of the last checkpoint are saved
            self._close()


class Sampling(Callback):
    """Draw a grid of fixed noise from the averaged and the last generator."""

    def __init__(
        self,
        schedule: Schedule,
        gan: GAN,
        logging: Logging,
        writer: BackgroundWriter,
        grid: ImageSampleGrid | PointSampleGrid,
        z: Tensor,
        labels: Tensor | None,
        sample: Sample,
        score: Callable[[Tensor], Tensor],
        weight_histograms: bool,
    ) -> None:
        """Draw the samples of latents z [n, latent_dim], with classes of `labels` [n], as `grid` lays them out."""
        self.schedule, self.gan, self.logging, self.writer = schedule, gan, logging, writer
        self.grid, self.z, self.labels, self.sample, self.score = grid, z, labels, sample, score
        self.weight_histograms = weight_histograms

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if is_due(state.step, self.schedule.sample) or state.step == self.schedule.max_steps:
            with self.writer.keeping_errors():
                self._draw(state)

    def _draw(self, state: TrainState) -> None:
        logger, gan = self.logging.logger, self.gan
        if not logger:
            return
        for name, network in (("raw", gan.generator.network), ("ema", gan.ema.network)):
            samples = self.sample(network, self.z, self.labels)
            logger.picture(name, state.step, self.grid.picture(name, state.step, samples, self.score))
        if self.weight_histograms:
            logger.weights(state.step, {name: network.network for name, network in gan.networks().items()})


class DivergenceCheck(Callback):
    """Stop a run that skipped `max_skipped` updates in a row: it learns nothing, and its last good weights are saved.

    The counts are read only where something is recorded anyway, since reading them waits for the device.
    """

    def __init__(self, gan: GAN, schedule: Schedule, max_skipped: int, manager: CheckpointManager) -> None:
        self.gan, self.schedule, self.max_skipped, self.manager = gan, schedule, max_skipped, manager

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        if not self.schedule.is_recorded(state.step):
            return
        for name, network in self.gan.networks().items():
            skipped = network.scaler.state().skipped_in_a_row
            if skipped >= self.max_skipped:
                self.manager.save_now(state)
                raise UserError(
                    f"training has diverged: {skipped} updates of the {name} in a row, up to step {state.step}, were "
                    f"skipped because their gradients were not finite (max_skipped={self.max_skipped}); the weights "
                    f"before them are saved. Lower {name}_lr={self.schedule.base_learning_rates[name]:g}"
                )


class Checkpointing(Callback):
    """Save the run at its cadence, after each best evaluation, and at its end."""

    def __init__(self, manager: CheckpointManager, every: int) -> None:
        self.manager, self.every = manager, every

    def on_train_begin(self, state: TrainState) -> None:
        if self.manager.is_main:
            self.manager.publish_again(state)

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        improved = state.best is not None and state.best.step == state.step and bool(result.evaluation)
        if improved or is_due(state.step, self.every):
            self.manager.save(state)

    def on_train_end(self, state: TrainState) -> None:
        self.manager.save_now(state)

    def close(self) -> None:
        self.manager.writer.wait()


class EarlyStoppingCallback(Callback):
    """End the run when the criterion of early stopping is met."""

    def __init__(self, criterion: EarlyStopping, run_dir: Path) -> None:
        self.criterion, self.run_dir = criterion, run_dir
        self._first_step = 0

    def on_train_begin(self, state: TrainState) -> None:
        self._first_step = state.step

    def should_stop(self, state: TrainState) -> bool:
        criterion = self.criterion
        if criterion.rule == "no" or state.critic_iteration:
            return False
        if state.step != self._first_step and not is_due(state.step, criterion.every):
            return False
        metrics_file = self.run_dir / METRICS_FILE
        reason = distributed.broadcast_from_main(lambda: criterion.reason(state.step, state.best, metrics_file))
        if reason and distributed.world().is_main:
            print_now(f"early stop after step {state.step}: {reason}")
        return bool(reason)
