"""The course of a run: critic × n_critic, generator × 1, and what is logged, drawn, measured and saved on the way."""

import contextlib
import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import wgan_dist
from wgan_dist import distributed
from wgan_dist.checkpoints import best, checkpoint, generator_file, safetensors_io, train_state
from wgan_dist.checkpoints.background_writer import BackgroundWriter
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_name
from wgan_dist.config import Config, as_dict, differences
from wgan_dist.config.command_line import say
from wgan_dist.data import Dataset, Order, PointDataset, ShareSampler, as_inputs, micro_batches, mirrored, split
from wgan_dist.evaluation.evaluator import make_evaluator
from wgan_dist.losses.gradient_penalty import PENALTIES, clip_weights
from wgan_dist.losses.modules import Metrics
from wgan_dist.models.layers import Critic
from wgan_dist.tracking.logger import METRICS_FILE, SAMPLES, MetricLogger
from wgan_dist.tracking.throughput import ThroughputMeter
from wgan_dist.training.build import DTYPES, build_gan, make_engine
from wgan_dist.training.early_stopping import make_early_stopping
from wgan_dist.training.schedule import critic_iterations_at, is_due, learning_rate, make_schedule
from wgan_dist.training.steps import (
    CriticNoise,
    NoiseSource,
    TrainableNetwork,
    critic_iteration,
    critic_noise,
    generator_step,
)
from wgan_dist.utils import profiler, rng, signals
from wgan_dist.utils.errors import Stopped, UserError
from wgan_dist.utils.files import copy_file, remove_partial_files, write_bytes
from wgan_dist.utils.images import ImageGallery, PointGallery
from wgan_dist.utils.profiler import phase

# Images at a time: what they take beside a step's memory is what a run takes more of.
SAMPLING_BATCH = 16
CRITIC_FILE = "critic.safetensors"
# What a process tells the others at a boundary, above the numbers of all signals.
FAILED = 1000


@torch.no_grad()
def _sample(generator: nn.Module, z: Tensor) -> Tensor:
    """Images of z in evaluation mode; the generator's mode is left as it was."""
    was_training = generator.training
    generator.eval()
    images = torch.cat([generator(part) for part in z.split(SAMPLING_BATCH)])
    generator.train(was_training)
    return images


def _is_finite(values: Tensor) -> bool:
    """Whether all are. One sum tells it in a tenth of the time, unless it overflows."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


class Trainer:
    """Two networks, their data, and where they are in the schedule."""

    def __init__(self, config: Config, accelerator: Accelerator, data: Dataset) -> None:
        """Raises UserError for settings that do not fit the data, the networks or the number of processes."""
        self.config, self.accelerator, self.data = config, accelerator, data
        self.device, self.dtype = accelerator.device, DTYPES[config.dtype]
        self.is_main = distributed.world().is_main
        self.split = split(data.values, config.holdout)
        training = len(self.split.training)
        self.order = Order(config.seed, training, config.batch_size)
        if not self.order.batches_per_epoch:
            kind = "points" if isinstance(data, PointDataset) else "images"
            raise UserError(f"batch_size={config.batch_size}: expected at most the number of {kind}, {training}")
        if config.flip and isinstance(data, PointDataset):
            raise UserError(f"flip=true: is for images, and {data.name} are points")
        self.schedule = make_schedule(config, self.order.batches_per_epoch)
        self.evaluation = make_evaluator(config, data, self.split, self.device) if self.schedule.evaluate else None
        self.ending = make_early_stopping(config, self.schedule, self.evaluation)
        self.draws = self._make_draws("batch_size", config.batch_size)
        self.generator_draws = self._make_draws(
            "generator_batch_size", config.generator_batch_size or config.batch_size
        )
        self.step = self.iteration = self.critic_iterations = 0
        self.saved: tuple[int, int] | None = None
        self.best: best.Best | None = None
        self.observer: MetricLogger | None = None
        self.behind = BackgroundWriter()
        self.engine = make_engine(config, accelerator)
        players = build_gan(config, accelerator, data.shape)
        self.generator, self.critic = players.generator, players.critic
        self.average, self.spec = players.average, players.spec
        self.pace = ThroughputMeter(config.batch_size, self.critic.objective, self.generator.objective)
        critic = self.critic.network
        self.dropouts = critic.dropouts if isinstance(critic, Critic) else ()

    def _make_draws(self, setting: str, batch_size: int) -> NoiseSource:
        config = self.config
        return NoiseSource(
            seed=config.seed,
            batch_size=batch_size,
            latent_dim=config.latent_dim,
            distribution=config.latent_distribution,
            shares=distributed.micro_batch_slices(batch_size, config.accumulation, distributed.world(), setting),
            device=self.device,
            dtype=self.dtype,
        )

    @property
    def seen_images(self) -> int:
        """Real images that the critic has been trained on, over all processes, repetitions counted."""
        return self.critic_iterations * self.config.batch_size

    # --- the schedule ---

    def run(self, run_dir: Path) -> None:
        """Train from where the networks are to max_steps; leaves a checkpoint and generator.safetensors.

        Raises Stopped, with everything saved, when a signal asked any process to stop.
        """
        signals.wait_for_boundary()
        self.began = self.step
        distributed.broadcast_from_main(lambda: self._begin(run_dir))
        self.pace.restart(self.step, self.critic_iterations)
        try:
            recording = profiler.recording(run_dir, self.config.profile, distributed.world().rank)
            with contextlib.closing(self._real_batches()) as reals, recording as after_step:
                while self.step < self.schedule.max_steps and not self._is_over(run_dir):
                    with phase(profiler.STEP):
                        terms = self._train_step(run_dir, reals)
                    after_step()
                    self._after_step(run_dir, terms)
            self._save(run_dir)
            distributed.broadcast_from_main(self._finish)
        finally:
            self.behind.wait()
            if self.observer:  # an error or a signal is under way, and the last checkpoint's records are on the disk
                with contextlib.suppress(OSError):
                    self.observer.close()

    def _begin(self, run_dir: Path) -> None:
        """On the first process, before it trains: a kill may have come between a checkpoint and what is published."""
        for folder in (run_dir, run_dir / SAMPLES):
            remove_partial_files(folder)
        self.observer = self._observe(run_dir)
        if self.critic_iterations:
            averaged = generator_file.to_bytes(self.average.network.state_dict(), self._describe("ema"))
            write_bytes(run_dir / generator_file.EMA_FILE, averaged)
        # It may be gone where a damaged checkpoint was left for an older one; what was published of it is there.
        if self.best and (run_dir / CHECKPOINTS / self.best.checkpoint).is_dir():
            best.publish(run_dir, self.best)

    def _finish(self) -> None:
        """On the first process, at the end: nothing is in flight any more, and nothing failed unseen."""
        self.behind.finish()
        if self.observer:
            self.observer.close()
            self.observer = None

    def _observe(self, run_dir: Path) -> MetricLogger:
        fresh = not self.critic_iterations
        observer = MetricLogger(run_dir, self.config, self.step, self.schedule.max_steps, fresh)
        if isinstance(self.data, PointDataset):
            self.gallery: ImageGallery | PointGallery = PointGallery(self.data.values, run_dir / SAMPLES)
        else:
            self.gallery = ImageGallery(self.config.grid_images)
        if fresh:
            observer.graph(self.average.network, self._fixed_noise(1))
        return observer

    def _heed(self, run_dir: Path) -> None:
        """Between critic iterations: what one process was told, or failed in, is everyone's."""
        news = distributed.all_reduce_max(FAILED if self.behind.failed else signals.requested())
        if news == FAILED:
            distributed.run_on_all_ranks(self.behind.check)
        elif news:
            self._stop(run_dir, news)

    def _stop(self, run_dir: Path, signal_number: int) -> None:
        """Save what there is, wait until it is on the disk, and leave."""
        self._save_now(run_dir)
        distributed.barrier()
        within = f" and {self.iteration} critic iterations" if self.iteration else ""
        raise Stopped(
            f"stopped by {signals.name(signal_number)} after step {self.step}{within}; all is saved. "
            f"To go on: the same command with --run_dir={run_dir} --resume"
        )

    def _real_batches(self) -> Generator[list[Tensor]]:
        """This process's micro-batches of each global batch, as the critic takes them, from where the run is."""
        consumed = self.critic_iterations if self.config.real_batch_per == "critic" else self.step
        shares = self.draws.shares
        sampler = ShareSampler(self.order, consumed, shares, self.split.training)
        values = micro_batches(self.data.values, sampler, self.config.workers, pin_memory=self.device.type == "cuda")
        for number in itertools.count(consumed):
            parts = [next(values).to(self.device, non_blocking=True) for _ in shares]
            if self.config.flip:
                flips = self.draws.flips("critic.flip", number)
                parts = [mirrored(part, which) for part, which in zip(parts, flips, strict=True)]
            yield [as_inputs(part, self.dtype) for part in parts]

    def _critic_draws(self) -> CriticNoise:
        penalty = PENALTIES.get(self.config.penalty)
        return critic_noise(
            self.draws, penalty, self.critic_iterations, self.data.shape, self.config.dragan_std, self.dropouts
        )

    def _train_step(self, run_dir: Path, reals: Iterator[list[Tensor]]) -> Metrics:
        config = self.config
        self._set_learning_rates()
        iterations = critic_iterations_at(self.step, config.n_critic, config.critic_warmup)
        batch: list[Tensor] = []
        while self.iteration < iterations:
            self._heed(run_dir)
            if not batch or config.real_batch_per == "critic":
                with phase("data"):
                    batch = next(reals)
            with phase("noise"):
                drawn = self._critic_draws()
            terms = critic_iteration(self.critic, self.generator.network, batch, drawn, self.engine)
            if config.penalty == "clip":
                clip_weights(list(self.critic.network.parameters()), config.clip_value)
            self.critic_iterations, self.iteration = self.critic_iterations + 1, self.iteration + 1
        draws = self.generator_draws
        latents = drawn.latents if config.reuse_latents else draws.latents("generator.z", self.step)
        masks = draws.masks("generator.dropout", self.step, self.dropouts)
        terms |= generator_step(self.generator, latents, masks, self.engine)
        self.generator.optimizer.zero_grad()  # memory that the critic's iterations can have
        with phase("average"):
            self.average.update(self.step)
        self.step, self.iteration = self.step + 1, 0
        return terms

    def _rates(self) -> dict[str, float]:
        config, total = self.config, self.schedule.max_steps
        return {
            "critic_lr": learning_rate(config.critic_lr, self.step, total, config.lr_decay),
            "generator_lr": learning_rate(config.generator_lr, self.step, total, config.lr_decay),
        }

    def _set_learning_rates(self) -> None:
        rates = self._rates()
        for name, player in self._players().items():
            for group in player.optimizer.param_groups:
                group["lr"] = rates[f"{name}_lr"]

    def _after_step(self, run_dir: Path, terms: Metrics) -> None:
        step, every = self.step, self.schedule
        if self.observer:
            self.observer.progress.first(step)
        try:
            measured = self._measure()
        except UserError:  # on every process; what was learnt so far is worth more than the measurement
            self._save_now(run_dir)
            raise
        if is_due(step, every.log) or measured:
            means = distributed.all_reduce_mean(torch.stack(list(terms.values()))).tolist()
            with self.behind.keeping_errors():
                self._record(dict(zip(terms, means, strict=True)) | measured)
        if is_due(step, every.sample) or step == every.max_steps:
            with self.behind.keeping_errors():
                self._draw()
        if step == every.max_steps or any(is_due(step, each) for each in (every.log, every.evaluate, every.checkpoint)):
            self._check_skips(run_dir)
        improved = bool(measured) and self._note_best(measured)
        if improved or is_due(step, every.checkpoint):
            self._save(run_dir)

    def _note_best(self, measured: dict[str, float]) -> bool:
        """Whether the generator is now the best that was measured; then it is worth a checkpoint of its own."""
        metric = self.ending.metric
        if not self.evaluation or metric not in measured or not best.improves(self.best, metric, measured[metric]):
            return False
        folder, protocol = checkpoint_name(self.step, self.iteration), self.evaluation.protocol(metric)
        self.best = best.Best(metric, measured[metric], self.step, folder, protocol)
        return True

    def _is_over(self, run_dir: Path) -> bool:
        """Whether the early stop ends the run here: by what was measured last, so wherever it is continued from."""
        if (
            self.ending.rule == "no"
            or self.iteration
            or (self.step != self.began and not is_due(self.step, self.schedule.evaluate))
        ):
            return False
        reason: str = distributed.broadcast_from_main(
            lambda: self.ending.reason(self.step, self.best, run_dir / METRICS_FILE)
        )
        if reason and self.is_main:
            say(f"early stop after step {self.step}: {reason}")
        return bool(reason)

    # --- what it leaves behind ---

    def _measure(self) -> dict[str, float]:
        """What is measured of the averaged generator, if it is time; the run itself takes no notice."""
        if self.evaluation is None or not is_due(self.step, self.schedule.evaluate):
            return {}
        z = self._fixed_noise(self.evaluation.count, "evaluation.z")
        score = self._score if self.config.loss == "wasserstein" else None
        return self.evaluation.measure(lambda part: _sample(self.average.network, z[part]), score)

    def _record(self, values: dict[str, float]) -> None:
        """One record of metrics."""
        if not self.observer:
            return
        record: dict[str, Any] = {"step": self.step, "seen_images": self.seen_images}
        record |= self.pace.measure(self.step, self.critic_iterations)
        self.pace.restart(self.step, self.critic_iterations)
        # JSON has no word for what is not a number.
        record |= {name: value if math.isfinite(value) else None for name, value in values.items()} | self._rates()
        self.observer.record(record | self._skips())

    def _skips(self) -> dict[str, float]:
        """Updates left out so far, and the loss scales where there are any."""
        tallies = {name: player.guard.tally() for name, player in self._players().items()}
        scales = {f"{name}_loss_scale": tally.scale for name, tally in tallies.items()}
        skipped = {f"{name}_skipped": tally.skipped for name, tally in tallies.items()}
        return skipped | (scales if self.config.mixed_precision == "fp16" else {})

    def _check_skips(self, run_dir: Path) -> None:
        """Stop where nothing is learned any more. What is saved is the last good state: no bad update was taken."""
        for name, player in self._players().items():
            in_a_row = player.guard.tally().in_a_row
            if in_a_row >= self.config.max_skipped:
                self._save_now(run_dir)
                raise UserError(
                    f"training has diverged: {in_a_row} updates of the {name} in a row, up to step {self.step}, were "
                    f"left out, since their gradients were not finite (max_skipped={self.config.max_skipped}); the "
                    f"weights before them are saved. Lower {name}_lr={self._rates()[f'{name}_lr']:g}"
                )

    def _fixed_noise(self, count: int, stream: str = "grid.z") -> Tensor:
        z = rng.latent(self.config.latent_distribution, self.config.seed, stream, 0, (count, self.config.latent_dim))
        return torch.as_tensor(z, dtype=self.dtype).to(self.device)

    @torch.no_grad()
    def _score(self, samples: Tensor) -> Tensor:
        """The critic's scores in evaluation mode."""
        critic = self.critic.network
        was_training = critic.training
        scores: Tensor = critic.eval()(samples.to(self.device, self.dtype))
        critic.train(was_training)
        return scores

    def _draw(self) -> None:
        if not self.observer:
            return
        z = self._fixed_noise(self.gallery.count)
        for kind, network in (("raw", self.generator.network), ("ema", self.average.network)):
            picture = self.gallery.picture(kind, self.step, _sample(network, z), self._score)
            self.observer.picture(kind, self.step, picture)
        if self.config.weight_histograms:
            self.observer.weights(self.step, {name: player.network for name, player in self._players().items()})

    def _describe(self, kind: str) -> Description:
        return Description(
            network=self.spec,
            latent_distribution=self.config.latent_distribution,
            weights=kind,
            steps=self.step,
            seen_images=self.seen_images,
            data=self.data.name,
            description=self.config.description,
            license=self.config.license,
            package_version=wgan_dist.__version__,
        )

    def _state(self, optimizer_groups: dict[str, list[dict[str, Any]]]) -> train_state.State:
        return train_state.State(
            step=self.step,
            iteration=self.iteration,
            critic_iterations=self.critic_iterations,
            config=as_dict(self.config),
            data_fingerprint=self.data.fingerprint,
            tallies={name: player.guard.tally() for name, player in self._players().items()},
            best=self.best,
            optimizer_groups=optimizer_groups,
        )

    def _files(self) -> Iterator[tuple[str, Iterable[bytes | memoryview]]]:
        """A checkpoint's files: everything that decides how the run goes on, as it is now."""
        yield generator_file.EMA_FILE, generator_file.pieces(self.average.network.state_dict(), self._describe("ema"))
        yield generator_file.RAW_FILE, generator_file.pieces(self.generator.network.state_dict(), self._describe("raw"))
        yield CRITIC_FILE, safetensors_io.pieces(self.critic.network.state_dict())
        groups = {}
        for name, player in self._players().items():
            moments, groups[name] = checkpoint.optimizer_state(player.optimizer)
            yield f"{name}_optimizer.safetensors", safetensors_io.pieces(moments)
        yield train_state.STATE_FILE, [train_state.to_bytes(self._state(groups), wgan_dist.__version__)]

    def _players(self) -> dict[str, TrainableNetwork]:
        """Both players, by name."""
        return {"critic": self.critic, "generator": self.generator}

    def parameters(self) -> dict[str, int]:
        """How many numbers each network learns."""
        return {
            name: sum(parameter.numel() for parameter in player.network.parameters())
            for name, player in self._players().items()
        }

    def _check_finite(self) -> None:
        """Broken weights must not replace good ones. Every process has the same, so every process stops."""
        for network in (self.average.network, self.generator.network, self.critic.network):
            if not all(map(_is_finite, network.state_dict().values())):
                raise UserError(
                    f"training has diverged: weights at step {self.step} are not finite; nothing was overwritten. "
                    f"Lower critic_lr={self.config.critic_lr:g} and generator_lr={self.config.generator_lr:g}"
                )

    def _save(self, run_dir: Path) -> None:
        """Save where the run is, once: the first process writes it now; training goes on while the disk takes it."""
        if self.saved == (self.step, self.iteration):
            return
        self._check_finite()
        self.saved = (self.step, self.iteration)
        if not self.is_main:
            return
        self.behind.wait()  # one draft at a time
        if not self.behind.failed:
            with self.behind.keeping_errors():
                folder = run_dir / CHECKPOINTS / checkpoint_name(self.step, self.iteration)
                self.behind.start(self._finishing(checkpoint.Draft(folder, self._files()), run_dir))

    def _save_now(self, run_dir: Path) -> None:
        """Save, and wait until it is on the disk."""
        self._save(run_dir)
        distributed.broadcast_from_main(self.behind.finish)

    def _finishing(self, draft: checkpoint.Draft, run_dir: Path) -> Callable[[], None]:
        """What the background does: what it leaves does not depend on what the run does meanwhile."""
        observer, keep, chosen = self.observer, self.config.keep_checkpoints, self.best

        def complete(folder: Path) -> None:
            if observer:
                observer.sync()  # a checkpoint must not outlive the records before it
            for name in (generator_file.EMA_FILE, generator_file.RAW_FILE):
                with (folder / name).open("r+b") as file:
                    generator_file.seal(file)

        def finish() -> None:
            draft.finish(keep, [chosen.checkpoint] if chosen else [], complete)
            copy_file(draft.folder / generator_file.EMA_FILE, run_dir / generator_file.EMA_FILE)
            if chosen and chosen.checkpoint == draft.folder.name:
                best.publish(run_dir, chosen)

        return finish

    # --- where it starts ---

    def resume(self, folder: Path) -> str:
        """Continue from a checkpoint folder; says where that is.

        Raises UserError when it is damaged, was written by a newer version, or belongs to a run whose data or
        mathematics were others.
        """
        files = checkpoint.read(folder)
        saved = train_state.from_bytes(checkpoint.part(files, train_state.STATE_FILE, folder), str(folder))
        if saved.step > self.schedule.max_steps:
            raise UserError(f"max_steps={self.config.max_steps}: the run is at step {saved.step} already")
        self._check_same_run(saved)
        self._load_networks(folder, files)
        safetensors_io.load_into(
            self.average.network, checkpoint.part(files, generator_file.EMA_FILE, folder), str(folder)
        )
        for name, player in self._players().items():
            moments = checkpoint.part(files, f"{name}_optimizer.safetensors", folder)
            tensors = safetensors_io.from_bytes(moments, str(folder))
            checkpoint.load_optimizer_state(player.optimizer, tensors, saved.optimizer_groups[name])
            if tally := saved.tallies[name]:
                player.guard.load(tally)
        self.step, self.iteration, self.critic_iterations = saved.step, saved.iteration, saved.critic_iterations
        self.saved, self.best = (saved.step, saved.iteration), saved.best
        end = " (the end: a greater --max_steps goes on)" if self.step >= self.schedule.max_steps else ""
        return f"step {self.step} of {folder}{end}"

    def _check_same_run(self, saved: train_state.State) -> None:
        if saved.iteration >= critic_iterations_at(saved.step, self.config.n_critic, self.config.critic_warmup):
            raise UserError(f"resume: {saved.iteration} critic iterations within step {saved.step}: there are fewer")
        changed = differences(self.config, saved.config)
        if changed:
            raise UserError(f"resume: settings that decide the result differ from the run's: {'; '.join(changed)}")
        if saved.data_fingerprint != self.data.fingerprint:
            raise UserError(f"resume: data={','.join(self.config.data)}: its images are not those the run began with")

    def _load_networks(self, source: Path, files: dict[str, bytes]) -> None:
        safetensors_io.load_into(
            self.generator.network, checkpoint.part(files, generator_file.RAW_FILE, source), str(source)
        )
        safetensors_io.load_into(self.critic.network, checkpoint.part(files, CRITIC_FILE, source), str(source))

    def start_from(self, source: Path) -> str:
        """Take the weights of another run (its folder or a checkpoint) or of a generator file; says which.

        Raises UserError when there are none, or when they belong to networks of another shape.
        """
        taken = self._take_generator(source) if source.is_file() else self._take_pair(source)
        self.average.restart()
        return taken

    def _take_generator(self, source: Path) -> str:
        loaded = generator_file.load(source, self.config.generator)
        distribution = loaded.description.latent_distribution
        if distribution != self.config.latent_distribution:
            raise UserError(
                f"latent_distribution={self.config.latent_distribution}: {source} was trained with {distribution}"
            )
        safetensors_io.copy_into(self.generator.network, loaded.network.state_dict(), str(source))
        return f"generator of {source}; its critic is not in the file and starts fresh"

    def _take_pair(self, source: Path) -> str:
        def find() -> str:
            if (source / CRITIC_FILE).exists():
                return str(source)
            if not source.is_dir():
                raise UserError(f"init_from={source}: there is no such file or folder")
            return str(checkpoint.newest(source / CHECKPOINTS, set_aside=False))

        folder = Path(distributed.broadcast_from_main(find))  # a run that goes on may save another meanwhile
        files = checkpoint.read(folder)
        try:
            self._load_networks(folder, files)
        except UserError as error:
            theirs = generator_file.describe(folder / generator_file.RAW_FILE).network
            raise UserError(f"{error}. The generator there is {theirs}; here it is {self.spec}") from error
        return f"generator and critic of {folder}"
