"""The command that shows both networks of a run: layers, shapes, parameters and multiply-adds."""

from collections.abc import Mapping
from typing import Any

from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import run_command
from wgan_dist.config.network_choices import check_networks

USAGE = """
Show the networks that a recipe or settings describe: layers, parameters and multiply-adds.

  python -m wgan_dist.summary --recipe=catfaces64
  python -m wgan_dist.summary --recipe=catfaces64 --generator_features=8 --critic_features=8 --batch_size=8

The settings are those of training. The data are not opened: images have 3 channels unless the recipe or --channels says
otherwise or the data are the embedded digits.
"""


def parse_settings(flags: Mapping[str, Any]) -> Config:
    """Return the settings of flags; raise UserError for networks that do not exist or do not support them."""
    config = load_config(flags)
    check_networks(config)
    return config


if __name__ == "__main__":
    run_command("wgan_dist.models.summary:print_summary", Config, USAGE, parse_settings)
