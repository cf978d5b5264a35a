"""Flags over a recipe, or over the settings of the run to continue → Config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan_dist.config.checks import check_together
from wgan_dist.config.config import Config
from wgan_dist.config.fields import typed_values
from wgan_dist.config.programs import check_programs_are_named
from wgan_dist.config.recipe_files import RECIPE_NOTES, read_recipe, read_yaml, settings_for_data
from wgan_dist.config.serialization import CONFIG_FILE, check_is_run, is_run
from wgan_dist.utils.errors import UserError

DEFAULT_RECIPE = "digits"


def _continues_run(flags: Mapping[str, Any]) -> bool:
    resume, run_dir = flags.get("resume", "false"), flags.get("run_dir", "")
    return bool(run_dir) and (resume == "true" or (resume == "auto" and is_run(Path(run_dir))))


def _recipe_settings(recipe: str, data: tuple[str, ...] | None) -> dict[str, Any]:
    values = settings_for_data(read_recipe(recipe), data) if recipe else {}
    return {name: value for name, value in values.items() if name not in RECIPE_NOTES} | {"recipe": recipe}


def _read(given: dict[str, Any]) -> tuple[Config, str]:
    """Return the settings that converted flags describe, and the recipe or run folder below them."""
    continues = _continues_run(given)
    if continues:
        check_is_run(Path(given["run_dir"]))
    source = given["run_dir"] if continues else given.get("recipe") or ("" if "data" in given else DEFAULT_RECIPE)
    try:
        values = read_yaml(Path(source) / CONFIG_FILE) if continues else _recipe_settings(source, given.get("data"))
        config = Config(**(typed_values(Config, values) | given))
    except UserError as error:
        raise UserError(str(error) if source in str(error) else f"{error} (in {source})") from error
    check_together(config)
    return config, source


def read_config(flags: Mapping[str, Any]) -> Config:
    """Return the settings of a run as `load_config` does, to show or compare them: a file may name programs in them.

    Raises:
        UserError: As `load_config` does, except for a program that a file names.
    """
    return _read(typed_values(Config, flags))[0]


def load_config(flags: Mapping[str, Any]) -> Config:
    """Return the settings of a run: the defaults, overridden by a recipe, overridden by `flags`.

    The recipe is the one that the flags name, or `digits` if they name neither a recipe nor data. If they continue a
    run, that run's settings replace the recipe. If they name other data than the recipe, the recipe's description and
    licence do not apply.

    Args:
        flags: Settings by name, as the texts of a command line or as Python values.

    Raises:
        UserError: For an unknown setting, a value of the wrong type or out of bounds, an unreadable recipe, settings
            that contradict one another, and a program that the recipe or the run names and the flags do not.
    """
    given = typed_values(Config, flags)
    config, source = _read(given)
    check_programs_are_named(config, given, source)
    return config
