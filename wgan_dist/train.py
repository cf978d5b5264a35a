"""The command line of training: `accelerate launch -m wgan_dist.train`, torchrun or plain python alike."""

import dataclasses
import shlex
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan_dist.config import CONFIG_FILE, Config, check_together, command_line, load_config, summary, to_yaml
from wgan_dist.utils import signals
from wgan_dist.utils.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import; --help and a wrong flag should not wait for it
    from accelerate import Accelerator

    from wgan_dist.data import Dataset, ImageDataset
    from wgan_dist.training.trainer import Trainer

USAGE = """
Train a Wasserstein GAN.

  accelerate launch -m wgan_dist.train                                  the embedded digits
  accelerate launch -m wgan_dist.train --data=photos/ --run_dir=runs/a  your own images
  torchrun --nproc_per_node 2 -m wgan_dist.train                        two processes
  python -m wgan_dist.train --run_dir=runs/a --resume                   go on

Durations are generator steps (500) or epochs (1epoch). Batch sizes are global.
"""


def _open_data(config: Config) -> "Dataset":
    from wgan_dist import distributed
    from wgan_dist.data import are_points, decoding_voice, open_images, open_points

    def build(notify: bool) -> "ImageDataset":
        return open_images(
            config.data,
            config.image_size,
            config.channels,
            config.background,
            config.skip_bad_images,
            config.cache_dir,
            *([decoding_voice("decoded")] if notify else []),
        )

    if are_points(config.data):
        return open_points(config.data[0])
    # The first process fills the cache, and its error is everyone's; then all of them map it.
    bad = distributed.broadcast_from_main(lambda: build(notify=True).bad)
    if bad and distributed.world().is_main:
        print(f"left out {len(bad)} unreadable images, the first: {bad[0]}", file=sys.stderr)
    return build(notify=False)


def _say_where(config: Config, accelerator: "Accelerator") -> None:
    """What computes, before anything takes long: launchers may start fewer processes than were asked for."""
    import torch

    from wgan_dist import distributed

    size, count = distributed.world().size, torch.get_num_threads()
    precision = config.mixed_precision
    autocast = "" if precision == "no" else f" with {precision} autocast"
    processes = f"{size} process{'es' * (size > 1)} on {accelerator.device.type}"
    _say(f"{processes} ({count} CPU thread{'s' * (count > 1)} each), {config.dtype}{autocast}")


def _say(text: str) -> None:
    """One voice over many processes."""
    from wgan_dist import distributed

    if distributed.world().is_main:
        command_line.say(text)


def _find_checkpoint(config: Config) -> str:
    """The checkpoint to go on from, or nothing for a run that starts."""
    from wgan_dist.checkpoints import checkpoint
    from wgan_dist.checkpoints.run_dir import CHECKPOINTS

    checkpoints = Path(config.run_dir) / CHECKPOINTS
    if config.resume == "false":
        return ""
    if not checkpoint.any_in(checkpoints):
        if config.resume == "auto":
            return ""
        raise UserError(f"run_dir={config.run_dir}: nothing was saved yet; --resume=auto starts it again")
    return str(checkpoint.newest(checkpoints, set_aside=not config.dry_run))


def _place(config: Config, trainer: "Trainer") -> str:
    """Bring the trainer to where the run begins; says where that is."""
    from wgan_dist import distributed

    if folder := distributed.broadcast_from_main(lambda: _find_checkpoint(config)):
        return trainer.resume(Path(folder))
    return trainer.start_from(Path(config.init_from)) if config.init_from else "fresh weights"


def _make_run_folder(config: Config) -> Path:
    """The folder of the run, with its settings in it."""
    from wgan_dist import distributed
    from wgan_dist.checkpoints.run_dir import make
    from wgan_dist.utils.files import write_text

    def make_on_main() -> str:
        folder = make(config)
        write_text(folder / CONFIG_FILE, to_yaml(config))
        return str(folder)

    return Path(distributed.broadcast_from_main(make_on_main))


def _write_card(run_dir: Path) -> None:
    """The model card of a finished run, unless somebody wrote a README.md there."""
    from wgan_dist import distributed

    def write() -> None:
        from wgan_dist.reporting.model_card import write_card

        write_card(run_dir)

    distributed.broadcast_from_main(write)


def _say_results(run_dir: Path, config: Config) -> None:
    from wgan_dist.models.registry import is_own_class

    of = shlex.quote(f"--ckpt={run_dir}")
    of += f" --generator={config.generator}" if is_own_class(config.generator) else ""
    _say(
        f"done: {run_dir}/generator.safetensors, pictures in {run_dir}/samples/\n"
        f"  python -m wgan_dist.sample {of} --out=grid.png\n"
        f"  python -m export.onnx {of} --out=generator.onnx\n"
        f"  tensorboard --logdir {shlex.quote(f'{run_dir}/tensorboard')}"
    )


def _run(trainer: "Trainer", run_dir: Path) -> None:
    try:
        trainer.run(run_dir)
    except OSError as error:  # what a run reads and writes while it trains: a full disk, a folder gone
        raise UserError(f"run_dir={run_dir}: training stopped at step {trainer.step}: {error}") from error


def train(flags: Mapping[str, Any]) -> Path | None:
    """Train a run from settings, as texts or values; what the command line does. The run's folder, None if dry."""
    config = load_config(flags)
    from wgan_dist import distributed

    with distributed.report_lost_processes():
        run_dir = _train(config)
        distributed.leave()
    return run_dir


def fit(**settings: Any) -> Path:
    """Train a run and return its folder.

    The settings are those of `python -m wgan_dist.train --help`, under the same names, as texts or as Python has them:
    `fit(data=["a/", "b/"], betas=(0.0, 0.9), resume="auto")`. It prints what the command line prints. Where a launcher
    started several processes, each ends here when the run is done.

    Raises UserError for settings, data or files that cannot be used, and LostError when another process is gone.
    """
    run_dir = train(settings)
    if run_dir is None:
        raise UserError("dry_run=true: expected on the command line, where it says what would be done")
    return run_dir


def _train(config: Config) -> Path | None:
    from wgan_dist import distributed
    from wgan_dist.checkpoints.run_dir import check
    from wgan_dist.data import ImageDataset
    from wgan_dist.models.from_config import ASSUMED_CHANNELS, network_specs
    from wgan_dist.tracking import trackers
    from wgan_dist.training.trainer import Trainer

    config = dataclasses.replace(config, mixed_precision=distributed.mixed_precision(config.mixed_precision))
    accelerator = distributed.start(config.threads, config.timeout, config.deterministic, config.tf32)
    _say_where(config, accelerator)
    distributed.broadcast_from_main(lambda: check(config))
    distributed.broadcast_from_main(lambda: trackers.check(config.trackers))
    network_specs(config, config.channels or ASSUMED_CHANNELS)  # a wrong name is known before the data are decoded
    data = _open_data(config)
    kind = "points"
    if isinstance(data, ImageDataset):
        kind, config = "images", dataclasses.replace(config, channels=data.channels)
    check_together(config)
    _say(f"{len(data):,} {kind} of {data.name}; {summary(config)}")
    trainer = Trainer(config, accelerator, data)
    if config.holdout:
        _say(f"{len(trainer.split.held_out):,} of them are held out")
    if trainer.evaluation:
        _say(str(trainer.evaluation))
        for name in trainer.evaluation.names:
            _say(f"  {name}: {trainer.evaluation.protocol(name)}")
    began = _place(config, trainer)
    if config.dry_run:
        sizes = (f"{name} of {count:,} parameters" for name, count in trainer.parameters().items())
        _say(f"dry run: {began}; settings, data and networks fit: {', '.join(sizes)}. No run was written")
        return None
    run_dir = _make_run_folder(config)
    _say(f"{run_dir}: {began}")
    _run(trainer, run_dir)
    _write_card(run_dir)
    _say_results(run_dir, config)
    return run_dir


def _report_in_thread(about: threading.ExceptHookArgs) -> None:
    # TensorBoard's thread hands its error to its next caller, who tells it in one line.
    if type(about.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(about)


def _command(flags: dict[str, str]) -> None:
    train(flags)
    from wgan_dist import distributed

    distributed.end()


def main() -> None:
    """The process of the command line: what signals and threads do in it is its own."""
    signals.listen()
    threading.excepthook = _report_in_thread
    command_line.run(_command, Config, USAGE)


if __name__ == "__main__":
    main()
