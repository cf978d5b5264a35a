"""One training run from its settings: processes, data, networks, where it begins, the loop, and what it prints."""

import dataclasses
import shlex
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from wgan_dist import distributed
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import SAMPLES, check_is_empty, check_run_dir, make_run_dir
from wgan_dist.checkpoints.run_lock import RunLock
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import CONFIG_FILE, Config, changed_settings, check_together, is_run, to_yaml
from wgan_dist.config.config import NO_LABELS
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.data.datasets import Dataset, ImageDataset, open_images, open_points
from wgan_dist.data.decoding import ProgressCallback, progress_reporter
from wgan_dist.data.few_images import suggestion
from wgan_dist.data.image_settings import image_settings
from wgan_dist.data.labels import MAKES_CLASSES, named
from wgan_dist.data.points import are_points
from wgan_dist.data.sources.other_files import left_out_line
from wgan_dist.data.sources.paths import cache_folder
from wgan_dist.models.from_config import ASSUMED_CHANNELS, network_specs
from wgan_dist.tracking import trackers
from wgan_dist.tracking.metric_names import wasserstein_note
from wgan_dist.training.absolute_paths import with_absolute_paths
from wgan_dist.training.augmentation import with_holdout
from wgan_dist.training.build_callbacks import build_callbacks
from wgan_dist.training.build_run import TrainingRun, build_run
from wgan_dist.training.environment import describe_environment, idle_gpus, missing_kernels
from wgan_dist.training.init_from import init_from
from wgan_dist.training.resume import find_checkpoint, resume
from wgan_dist.training.trainer import Trainer
from wgan_dist.utils.console import note, print_lines
from wgan_dist.utils.device_settings import device_settings
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_text


def print_main(*lines: str) -> None:
    """Print lines on the first process only."""
    if distributed.world().is_main:
        print_lines(lines)


def open_data(config: Config) -> Dataset:
    """Open the data of a run on every process; one for each cache folder decodes the images into it."""

    def build(progress: ProgressCallback | None) -> ImageDataset:
        return open_images(config.data, image_settings(config), config.cache_dir, progress)

    if are_points(config.data):
        if config.labels != NO_LABELS:
            raise UserError(
                f"labels={config.labels}: {config.data[0]} are points, which have no classes; expected none"
            )
        return _checked(distributed.run_on_all_ranks(lambda: open_points(config.data[0])))
    folder = distributed.run_on_all_ranks(lambda: cache_folder(config.cache_dir))
    progress = progress_reporter("decoded") if distributed.world().is_main else None
    unreadable = distributed.fill_folder(folder, lambda: build(progress).bad)
    if unreadable and distributed.world().is_main:
        note(f"left out {len(unreadable)} unreadable images, the first: {unreadable[0]}")
    return _checked(distributed.run_on_all_ranks(lambda: build(None)))


def _checked(data: Dataset) -> Dataset:
    """Return the data after checking that every process has opened the same, and say what looks wrong about them."""
    _check_same_data(data)
    if distributed.world().is_main:
        for line in data.warnings:
            note(f"{data.name}: {line}")
    return data


def _check_same_data(data: Dataset) -> None:
    """Check that every process has opened the same samples: machines may have data folders of their own."""
    found = distributed.all_gather_objects((data.fingerprint, len(data)))
    for rank, (fingerprint, count) in enumerate(found):
        if fingerprint != found[0][0]:
            raise UserError(
                f"data: rank {rank} has {count:,} samples which are not the {found[0][1]:,} of rank 0: expected the "
                "same files on every machine"
            )


def class_lines(data: ImageDataset) -> list[str]:
    """Return a line about the classes of images, or about sub-folders that could be classes and are not used."""
    if data.labels is not None:
        return [f"classes: {data.labels}"]
    if not data.class_folders:
        return []
    folders = f"{len(data.class_folders):,} sub-folders are not used as classes: {named(data.class_folders)}"
    return [f"{folders}; {MAKES_CLASSES}"]


def check_channel_names(names: tuple[str, ...], channels: int) -> None:
    """Check that each channel has a name, if there are names."""
    if names and len(names) != channels:
        raise UserError(f"channel_names={','.join(names)}: expected {channels} names, one for each channel")


def _start_processes(config: Config) -> tuple[Config, Accelerator]:
    """Join the processes, set the device up and print what it is; return the settings with the precision decided."""
    accelerator = distributed.start(config.threads, config.timeout)
    device, world = accelerator.device, distributed.world()
    precision = distributed.mixed_precision(config.mixed_precision, device)
    if config.cuda_graphs and world.size > 1:
        raise UserError(
            f"cuda_graphs=true with {world.size} processes: expected one process; "
            "graphs that exchange gradients have not been tried on GPUs"
        )
    settings = device_settings(device, config.dtype, precision, config.tf32, config.deterministic)
    settings.apply()
    config = dataclasses.replace(config, mixed_precision=precision)
    print_main(describe_environment(config, device, settings))
    for line in filter(None, (idle_gpus(device), missing_kernels(config, device))):
        print_main(line)
    return config, accelerator


def _check_run(config: Config, lock: RunLock) -> None:
    """Check the folder of the run, and hold a run that is there already from now on."""
    check_run_dir(config)
    if config.run_dir and is_run(Path(config.run_dir)) and not config.dry_run:
        lock.acquire(Path(config.run_dir))


def _image_lines(config: Config, data: ImageDataset) -> list[str]:
    """Return the lines about the values, the files and the classes of images."""
    lines = []
    if not data.levels.is_eight_bit:
        lines.append(f"values of -1 and 1: {data.levels}{config.unit and f' ({config.unit})'}")
    if data.left_out:
        lines.append(f"left out {left_out_line(data.left_out)}")
    return [*lines, *class_lines(data)]


def _prepare(config: Config, lock: RunLock) -> TrainingRun:
    """Start the processes, open the data and build the run, and print what they are."""
    config, accelerator = _start_processes(with_absolute_paths(config))
    distributed.broadcast_from_main(lambda: _check_run(config, lock))
    distributed.broadcast_from_main(lambda: trackers.check(config.trackers))
    network_specs(config, config.channels or ASSUMED_CHANNELS)  # a wrong name is known before the data are decoded
    data = open_data(config)
    samples = "points"
    if isinstance(data, ImageDataset):
        samples, config = "images", with_holdout(dataclasses.replace(config, channels=data.channels), len(data))
    check_channel_names(config.channel_names, data.shape[0])
    check_together(config)
    print_main(f"{len(data):,} {samples} of {data.name}; {changed_settings(config)}")
    if config.loss == "wasserstein":
        print_main(wasserstein_note(config.critic, config.penalty, config.spectral_norm))
    if isinstance(data, ImageDataset):
        print_main(*_image_lines(config, data))
    run = build_run(config, accelerator, data)
    run.settle_gradient_buckets()
    if config.holdout:
        purpose = ", to measure how far the critic overfits" if config.augment == "adaptive" else ""
        print_main(f"{len(run.split.held_out):,} of them are held out{purpose}")
    if isinstance(data, ImageDataset) and config.augment == "none":
        seen = run.schedule.max_steps * config.n_critic * config.batch_size
        print_main(*filter(None, [suggestion(len(data), seen / len(run.split.training))]))
    if run.evaluator:
        print_main(*str(run.evaluator).split("\n"))
        for name in run.evaluator.names:
            print_main(f"  {name}: {run.evaluator.protocol(name)}")
    return run


@dataclass(frozen=True)
class Start:
    """The state in which a run starts, whether it is resumed, and a description of where its weights are from."""

    state: TrainState
    resumed: bool
    description: str


def _initialise(run: TrainingRun) -> Start:
    """Resume the run, take the weights of another one, or start with new weights, as the settings say."""
    config = run.config
    if folder := find_checkpoint(config):
        state = distributed.run_on_all_ranks(
            lambda: resume(folder, config, run.data.fingerprint, run.schedule, run.objects)
        )
        end = " (the end: a greater --max_steps goes on)" if state.step >= run.schedule.max_steps else ""
        return Start(state, True, f"step {state.step} of {folder}{end}")
    if config.init_from:
        classes = run.data.labels.classes if run.data.labels else ()
        source, objects = Path(config.init_from), run.objects
        taken = init_from(source, config, run.generator_spec, classes, objects, run.gan.ema)
        return Start(TrainState(), False, taken)
    return Start(TrainState(), False, "new weights")


def _make_run_dir(config: Config, lock: RunLock) -> Path:
    """Make the folder of the run, with its settings in it; `lock` holds it."""

    def make() -> str:
        folder = make_run_dir(config)
        if not lock.is_held:
            lock.acquire(folder)
            check_is_empty(folder)  # another process may have made the run meanwhile
        write_text(folder / CONFIG_FILE, to_yaml(config))
        return str(folder)

    return Path(distributed.broadcast_from_main(make))


def train(config: Config) -> Path | None:
    """Train a run; return its folder, or None after a dry run.

    Raises:
        UserError: For settings, data or files that cannot be used.
        Stopped: When a signal stopped the run; everything is saved.
    """
    with closing(RunLock()) as lock:  # the main process's; the others hold nothing
        return _train(config, lock)


def _train(config: Config, lock: RunLock) -> Path | None:
    run = _prepare(config, lock)
    config = run.config
    start = _initialise(run)
    if config.dry_run:
        sizes = (
            f"{name} of {sum(parameter.numel() for parameter in trainable.network.parameters()):,} parameters"
            for name, trainable in run.gan.networks().items()
        )
        print_main(
            f"dry run: {start.description}; settings, data and networks fit: {', '.join(sizes)}. No run was written"
        )
        return None
    run_dir = _make_run_dir(config, lock)
    print_main(f"{run_dir}: {start.description}")
    callbacks = build_callbacks(run, run_dir, start.state, start.resumed)
    trainer = Trainer(run.gan, run.real_batches, run.noise, run.schedule, start.state, callbacks)
    try:
        trainer.train()
    except OSError as error:  # what a run reads and writes while it trains: a full disk, a removed folder
        raise UserError(f"run_dir={run_dir}: training stopped at step {start.state.step}: {error}") from error
    return run_dir


def print_results(run_dir: Path, config: Config) -> None:
    """Print where everything is and the commands that come next."""
    ckpt = shlex.quote(f"--ckpt={run_dir}")
    ckpt += f" --generator={config.generator}" if is_own_class(config.generator) else ""
    print_main(
        f"done: {run_dir}/{EMA_FILE}, pictures in {run_dir}/{SAMPLES}/",
        f"  python -m wgan_dist.sample {ckpt} --out=grid.png",
        f"  python -m export.onnx {ckpt} --out=generator.onnx",
        f"  tensorboard --logdir {shlex.quote(f'{run_dir}/tensorboard')}",
    )
