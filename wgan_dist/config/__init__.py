"""The settings of a run, and how they are read from flags and recipes."""

from wgan_dist.config.checks import check_together
from wgan_dist.config.config import UNSAVED, Config, in_steps, parse_background
from wgan_dist.config.loading import load_config, read_config
from wgan_dist.config.recipe_files import RECIPE_NOTES, read_recipe, recipe_names
from wgan_dist.config.serialization import (
    CONFIG_FILE,
    as_dict,
    changed_settings,
    check_is_run,
    differences,
    is_run,
    to_yaml,
)

__all__ = [
    "CONFIG_FILE",
    "RECIPE_NOTES",
    "UNSAVED",
    "Config",
    "as_dict",
    "check_is_run",
    "check_together",
    "differences",
    "in_steps",
    "is_run",
    "load_config",
    "parse_background",
    "read_config",
    "read_recipe",
    "recipe_names",
    "changed_settings",
    "to_yaml",
]
