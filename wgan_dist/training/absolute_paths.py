"""The paths of a run's settings, made independent of the folder in which the run was started."""

import dataclasses
import os
from typing import Any

from wgan_dist.config import Config
from wgan_dist.config.text_lists import is_label_table
from wgan_dist.data.sources.registry import absolute_data

# The settings that are paths, if they are not empty.
PATHS = ("init_from", "feature_extractor", "classifier", "inception_weights")


def _absolute(path: str) -> str:
    return path and os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 a Path raises for an unknown ~user


def with_absolute_paths(config: Config) -> Config:
    """Return settings whose paths mean the same from every folder, to be kept with the run."""
    paths: dict[str, Any] = {name: _absolute(getattr(config, name)) for name in PATHS}
    if config.recipe.endswith((".yaml", ".yml")):
        paths["recipe"] = _absolute(config.recipe)
    if is_label_table(config.labels):
        paths["labels"] = _absolute(config.labels)
    return dataclasses.replace(config, data=tuple(map(absolute_data, config.data)), **paths)
