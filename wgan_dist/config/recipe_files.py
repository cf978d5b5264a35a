"""Recipes: YAML files of settings, each of which may extend another."""

from pathlib import Path
from typing import Any

import yaml

from wgan_dist.config.config import UNSAVED, Config
from wgan_dist.config.fields import typed_values, unknown_name
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import read_file

RECIPES = Path(__file__).parent / "recipes"
# The keys of a recipe that inform the reader: its method, where that is from, and what to expect of a run.
RECIPE_NOTES = ("method", "source", "expect")
# The settings of a recipe that hold for its data only: what the images show, and what their licence allows.
DATA_SETTINGS = ("description", "license")
MAX_BYTES = 1 << 16
MAX_DEPTH = 8


class _Loader(yaml.BaseLoader):
    """A loader of texts that refuses a setting that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the keys and values of a mapping."""
        values = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            raise ValueError("a setting is given twice")
        return values


def _safe_text(path: Path) -> str:
    """Return the text of a YAML file that cannot exhaust the memory: a few lines with aliases can mean gigabytes."""
    text = read_file(path, MAX_BYTES).decode()
    depth = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise ValueError("expected settings whose values are texts or lists of texts, without aliases")
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file and their values as texts or lists of texts, as flags have them.

    YAML's own types would read `no` as false and 000000 as 0.

    Raises:
        UserError: For a file that cannot be read, or is not a YAML mapping of moderate size, and for settings that are
            given on the command line only.
    """
    try:
        content = yaml.load(_safe_text(path), _Loader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected lines of the form setting: value")
    for name in UNSAVED:
        if name in content:
            raise UserError(f"{path}: {name} is given on the command line, not in a file")
    return content


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package, sorted."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def _recipe_path(recipe: str) -> Path:
    if recipe.endswith((".yaml", ".yml")):
        return Path(recipe)
    if recipe not in recipe_names():
        raise unknown_name("recipe", recipe, recipe_names())
    return RECIPES / f"{recipe}.yaml"


def _base_path(recipe: Path, base: str) -> Path:
    try:
        path = recipe.parent / _recipe_path(base)  # an absolute path replaces the parent
    except UserError as error:
        raise UserError(f"recipe {recipe}: base={base}: {error}") from None
    if not path.is_file():
        raise UserError(f"recipe {recipe}: base={base}: there is no such file")
    return path


def settings_for_data(values: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return the keys of a recipe that apply to `data`, a value of the setting of that name; None for the recipe's own.

    The description and the licence of a recipe's data do not apply to other data.

    Raises:
        UserError: For data of the wrong type.
    """
    if data is None or "data" not in values:
        return values
    own, used = (typed_values(Config, {"data": each}) for each in (values["data"], data))
    return values if own == used else {name: value for name, value in values.items() if name not in DATA_SETTINGS}


def _read_with_base(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    base_path, chain = _base_path(path, str(base)), (*extended_by, path)
    if len(chain) > MAX_DEPTH:
        raise UserError(f"recipe {chain[0]}: extends more than {MAX_DEPTH} recipes, one after another")
    if base_path.resolve() in [recipe.resolve() for recipe in chain]:
        raise UserError(f"recipe {path}: base={base} leads back to itself")
    return settings_for_data(_read_with_base(base_path, chain), values.get("data")) | values


def read_recipe(recipe: str) -> dict[str, Any]:
    """Return the settings and notes of a recipe and, below them, those of its base, as texts or lists of texts.

    `recipe` is a recipe's name or a YAML file, and so is the base; a file is relative to the recipe that names it. A
    recipe with other data than its base does not take over the base's description and licence.

    Raises:
        UserError: For a recipe or base that does not exist, bases that extend each other, and settings that are
            given on the command line only.
    """
    return _read_with_base(_recipe_path(recipe), ())
