"""The command that lists the recipes and shows one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wgan_dist.config.command_line import run_command
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.errors import UserError

USAGE = """
List the recipes of this package, for `python -m wgan_dist.train --recipe=NAME`, or show one.

  python -m wgan_dist.recipes  List the recipes, one on a line.
  python -m wgan_dist.recipes show NAME  Show a recipe with every setting that it decides, including its base's.
"""


@dataclass(frozen=True)
class RecipesSettings:
    """The arguments of the command."""

    words: tuple[str, ...] = setting((), "Nothing to list the recipes, show NAME to show one.", positional=True)


def recipe_to_show(flags: Mapping[str, Any]) -> str:
    """Return the name of the recipe that the arguments ask for, or an empty text for the list of all.

    Raises:
        UserError: For other arguments.
    """
    words = from_flags(RecipesSettings, flags).words
    if words and (words[0] != "show" or len(words) != 2):
        raise UserError(f"recipes {' '.join(words)}: expected nothing, or show NAME")
    return words[1] if words else ""


if __name__ == "__main__":
    run_command("wgan_dist.config.recipe_listing:print_recipes", RecipesSettings, USAGE, recipe_to_show)
