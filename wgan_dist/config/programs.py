"""Tell which files and settings are programs. A program that a file names is run only if the user names it too."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wgan_dist.config.config import Config
from wgan_dist.config.fields import show
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.utils.errors import UserError

# The files of networks that are data: to read or to compute them runs none of their author's code.
DATA_SUFFIXES = (".onnx", ".safetensors")


def is_program(path: str | Path) -> bool:
    """Return whether the file of a network can run any code when it is opened: TorchScript, torch's programs."""
    return Path(path).suffix.lower() not in DATA_SUFFIXES


def _is_program_or_none(file: str) -> bool:
    return bool(file) and is_program(file)


# The settings that can name a program, and whether a value of theirs does. Trackers are programs of other packages that
# send what a run records to other places.
PROGRAM_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "generator": is_own_class,
    "critic": is_own_class,
    "feature_extractor": _is_program_or_none,
    "classifier": _is_program_or_none,
    "trackers": bool,
}


def flag_to_trust(name: str, value: Any) -> str:
    """Return the flag that names a program, quoted for a shell: its text may come from a stranger's file."""
    return shlex.quote(f"--{name}={show(value)}")


def check_programs_are_named(config: Config, given: Mapping[str, Any], source: str) -> None:
    """Check that the user named every program of the settings.

    Args:
        config: The settings.
        given: Those of them that the user gave.
        source: The recipe or run folder that the others are from.

    Raises:
        UserError: For programs that only `source` names; the message has the flags that name them.
    """
    programs = {
        name: value
        for name, names_program in PROGRAM_SETTINGS.items()
        if name not in given and names_program(value := getattr(config, name))
    }
    if programs:
        named = ", ".join(f"{name}={show(value)}" for name, value in programs.items())
        flags = " ".join(flag_to_trust(name, value) for name, value in programs.items())
        raise UserError(f"{named} (in {source}): a program runs only if you name it yourself; if you trust it: {flags}")
