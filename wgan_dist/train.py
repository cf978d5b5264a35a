"""The command line of training: `accelerate launch -m wgan_dist.train`, torchrun or plain python alike."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan_dist.checkpoints.run_dir import check_run_dir
from wgan_dist.config import Config, command_line, load_config
from wgan_dist.config.checks import check_files_exist
from wgan_dist.config.data_choices import check_data_exist
from wgan_dist.config.network_choices import check_networks
from wgan_dist.utils import signals
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.process import exit_without_teardown

USAGE = """
Train a Wasserstein GAN.

  python -m wgan_dist.train  Train on the embedded digits.
  python -m wgan_dist.train --data=photos/ --image_size=64 --run_dir=runs/a  Train on your own images.
  python -m wgan_dist.train --run_dir=runs/a --resume  Resume a run.
  python -m wgan_dist.train --data=photos/ --image_size=64 --dry_run  Check settings, data and networks.
  torchrun --nproc_per_node 2 -m wgan_dist.train --data=photos/  Train with two processes.
  accelerate launch --quiet -m wgan_dist.train --data=photos/  Train as accelerate config says.

Durations are generator steps (500, 10k) or epochs (2epoch). Batch sizes are global, over all processes.
"""


def train(settings: Mapping[str, Any]) -> Path | None:
    """Train a run from settings, as texts or values, and return its folder, or None after a dry run."""
    return train_config(load_config(settings))


def train_config(config: Config) -> Path | None:
    """Train a run from its checked settings; see `train`."""
    # Imported here because torch takes seconds, and --help and a wrong flag should not wait for it.
    from wgan_dist import distributed
    from wgan_dist.reporting.model_card import write_card
    from wgan_dist.training import run

    with distributed.report_lost_processes():
        run_dir = run.train(config)
        if run_dir is not None:
            distributed.broadcast_from_main(lambda: write_card(run_dir))
            run.print_results(run_dir, config)
        distributed.leave()
    return run_dir


def fit(**settings: Any) -> Path:
    """Train a run and return its folder.

    The settings are those of `python -m wgan_dist.train --help` under the same names, as texts or Python values:
    `fit(data=["a/", "b/"], betas=(0.0, 0.9), resume="auto")`. It prints what the command line prints.

    Raises:
        UserError: For settings, data or files that cannot be used.
        LostError: When another process is gone.
    """
    run_dir = train(settings)
    if run_dir is None:
        raise UserError("dry_run=true: expected on the command line, where it says what would be done")
    return run_dir


def parse_settings(flags: Mapping[str, Any]) -> Config:
    """Return the settings of flags, after the checks that need no torch.

    Several processes check their folders and data together when they have started.

    Raises:
        UserError: As `load_config`, and for networks, a run folder, data or files that cannot be used.
    """
    config = load_config(flags)
    check_networks(config)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        check_run_dir(config)
        check_data_exist(config.data)
        check_files_exist(config)
        if config.init_from and not Path(config.init_from).exists():
            raise UserError(f"init_from={config.init_from}: there is no such file or folder")
    return config


def _report_in_thread(arguments: threading.ExceptHookArgs) -> None:
    # TensorBoard's thread raises its error again in its next caller, which reports it in one line.
    if type(arguments.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(arguments)


def train_and_exit(config: Config) -> None:
    """Train a run and end the process, as the command line does."""
    train_config(config)
    exit_without_teardown()


def main() -> None:
    """Run the command line, which owns the signals and threads of its process."""
    signals.install_handlers()
    threading.excepthook = _report_in_thread
    command_line.run_command("wgan_dist.train:train_and_exit", Config, USAGE, parse_settings)


if __name__ == "__main__":
    main()
