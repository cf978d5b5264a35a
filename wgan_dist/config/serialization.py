"""A run's settings as they are stored with it, shown to people, and compared when the run continues."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wgan_dist.config.config import UNSAVED, Config
from wgan_dist.config.fields import AUTO, show, typed_values
from wgan_dist.config.image_size import ImageSize
from wgan_dist.utils.errors import UserError

CONFIG_FILE = "config.yaml"


def is_run(folder: Path) -> bool:
    """Return True if a folder holds a run, finished or not."""
    return (folder / CONFIG_FILE).is_file()


def check_is_run(folder: Path) -> None:
    """Raise UserError if there is no run to resume in a folder."""
    if not folder.exists():
        raise UserError(f"run_dir={folder}: there is no run to resume: there is no such folder")
    if not is_run(folder):
        raise UserError(f"run_dir={folder}: there is no run to resume: there is no {folder / CONFIG_FILE}")


def _plain(value: Any) -> Any:
    """Return the value of a setting as YAML and JSON have it: a size as 64 or 48x96, other tuples as lists."""
    if isinstance(value, ImageSize):
        return value.height if value.height == value.width else str(value)
    return list(value) if isinstance(value, tuple) else value


def as_dict(config: Config) -> dict[str, Any]:
    """Return the settings that are stored with a run, as values for YAML or JSON."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in UNSAVED}
    return {name: _plain(value) for name, value in values.items()}


def to_yaml(config: Config) -> str:
    """Return the content of a run's config.yaml, which is a recipe too."""
    values = {name: AUTO if value is None else value for name, value in as_dict(config).items()}
    return str(yaml.safe_dump(values, sort_keys=False))


def changed_settings(config: Config) -> str:
    """Return the settings that differ from their defaults, on one line."""
    changed = {name: value for name, value in vars(config).items() if value != getattr(Config, name)}
    return " ".join(f"{name}={show(value)}" for name, value in changed.items())


def differences(config: Config, saved: Mapping[str, Any]) -> list[str]:
    """Return the settings that affect the result and differ from those of the run to continue.

    `saved` is what `as_dict` returned for that run. Each line is `name=value (was value)`.
    """
    before = Config(**typed_values(Config, saved))
    fixed = {field.name for field in dataclasses.fields(Config) if field.metadata["affects_result"]}
    if (config.lr_decay, before.lr_decay) != ("none", "none"):
        fixed.add("max_steps")  # the learning rate depends on it
    return [
        f"{name}={show(value)} (was {show(getattr(before, name))})"
        for name, value in vars(config).items()
        if name in fixed and value != getattr(before, name)
    ]
