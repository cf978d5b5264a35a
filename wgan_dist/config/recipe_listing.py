"""The recipes of the package as texts for people."""

from wgan_dist.config.fields import show
from wgan_dist.config.loading import read_config
from wgan_dist.config.recipe_files import RECIPE_NOTES, read_recipe, recipe_names
from wgan_dist.utils.console import print_lines


def list_recipes() -> list[str]:
    """Return a line for each recipe: name, data and image size, method, source, what to expect."""
    lines = []
    for name in recipe_names():
        config, values = read_config({"recipe": name}), read_recipe(name)
        size = "" if config.generator == "points" else f" {config.image_size.in_words}"
        columns = [f"{','.join(config.data)}{size}", *(str(values[note]) for note in RECIPE_NOTES)]
        lines.append(f"{name:<16} {' | '.join(columns)}")
    return lines


def show_recipe(name: str) -> list[str]:
    """Return a recipe's notes and settings as lines of YAML, including those of its base.

    Raises:
        UserError: For a recipe that does not exist or cannot be read.
    """
    values, config = read_recipe(name), read_config({"recipe": name})
    notes = [f"# {note}: {values[note]}" for note in RECIPE_NOTES if note in values]
    return [*notes, *(f"{key}: {show(value)}" for key, value in vars(config).items() if key in values)]


def print_recipes(name: str) -> None:
    """Print the list of recipes, or the recipe `name` if it is not empty."""
    print_lines(show_recipe(name) if name else list_recipes())
