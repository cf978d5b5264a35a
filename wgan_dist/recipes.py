"""The command line that lists the recipes and shows one."""

import sys

from wgan_dist.config import RECIPE_NOTES, Config, command_line, load_config, read_recipe, recipe_names
from wgan_dist.config.fields import show
from wgan_dist.utils.errors import UserError

USAGE = """
The recipes of this package, for `python -m wgan_dist.train --recipe=NAME`.

  python -m wgan_dist.recipes             a line for each
  python -m wgan_dist.recipes show NAME   one, with every setting it decides, its base's included
"""


def listing() -> str:
    """A line for each recipe: name, data and size, method, source, what to expect."""
    lines = []
    for name in recipe_names():
        config, notes = load_config({"recipe": name}), read_recipe(name)
        images = "" if config.generator == "points" else f" {config.image_size}×{config.image_size}"
        facts = [f"{','.join(config.data)}{images}", *(str(notes[note]) for note in RECIPE_NOTES)]
        lines.append(f"{name:<16} {' | '.join(facts)}")
    return "\n".join(lines)


def shown(name: str) -> str:
    """A recipe's notes and settings, those of its base included, as lines of YAML; raises UserError if unknown."""
    values, config = read_recipe(name), load_config({"recipe": name})
    notes = [f"# {note}: {values[note]}" for note in RECIPE_NOTES if note in values]
    decided = [key for key in Config.__dataclass_fields__ if key in values]
    return "\n".join([*notes, *(f"{key}: {show(getattr(config, key))}" for key in decided)])


def main(arguments: list[str]) -> str:
    """What the arguments ask for; raises UserError for others."""
    if {"-h", "--help"} & set(arguments):
        return USAGE.strip()
    if not arguments:
        return listing()
    if arguments[0] != "show" or len(arguments) != 2:
        raise UserError(f"recipes {' '.join(arguments)}: expected nothing, or show NAME")
    return shown(arguments[1])


if __name__ == "__main__":
    command_line.guarded(lambda: print(main(sys.argv[1:])))
