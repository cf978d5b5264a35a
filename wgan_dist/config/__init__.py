"""Every setting of a run, and how it is read from flags and recipes."""

from wgan_dist.config.config import (
    CONFIG_FILE,
    RECIPE_NOTES,
    UNSAVED,
    Config,
    as_dict,
    check_together,
    differences,
    in_steps,
    is_run,
    load_config,
    parse_background,
    read_recipe,
    recipe_names,
    summary,
    to_yaml,
)

__all__ = [
    "CONFIG_FILE",
    "RECIPE_NOTES",
    "UNSAVED",
    "Config",
    "as_dict",
    "check_together",
    "differences",
    "in_steps",
    "is_run",
    "load_config",
    "parse_background",
    "read_recipe",
    "recipe_names",
    "summary",
    "to_yaml",
]
