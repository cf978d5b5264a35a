"""Programs that watch a run besides TensorBoard: all that accelerate knows, or that was registered with it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from wgan_dist.utils.errors import UserError

PROJECT = "wgan_dist"


def usable() -> list[str]:
    """The names that can be used here: those whose package is installed, and those registered with accelerate."""
    installed = {str(each) for each in get_available_trackers()}
    known = {str(each) for each in LoggerType}
    return [name for name in LOGGER_TYPE_TO_CLASS if name in installed or name not in known]


def check(names: Sequence[str]) -> None:
    """Raises UserError for a name that is none of accelerate's, for one whose package is not installed, and for one
    that is given twice."""
    if len(set(names)) < len(names):
        raise UserError(f"trackers={','.join(names)}: expected each name once")
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(f"trackers={name}: expected some of {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in usable():
            raise UserError(f"trackers={name}: its package is not installed; installed are {', '.join(usable())}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Trackers:
    """The trackers of one run. One that fails while the run goes on is left out from then on, with a line that says so:
    a run does not end because something that watches it does.
    """

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        """Start them, with the settings of the run; what they keep in files goes to `folder`.

        Raises UserError for one that cannot be started.
        """
        self.started: dict[str, GeneralTracker] = {}
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            try:
                tracker = kind(PROJECT, folder) if kind.requires_logging_directory else kind(PROJECT)
                tracker.start()
                tracker.store_init_configuration(dict(settings))
            except Exception as error:  # their exceptions have nothing in common
                raise UserError(f"trackers={name}: cannot be started: {_line(error)}") from error
            self.started[name] = tracker

    def log(self, values: Mapping[str, float], step: int) -> None:
        """One record of metrics, of generator step `step`."""
        for name, tracker in list(self.started.items()):
            try:
                tracker.log(dict(values), step=step)
            except Exception as error:
                del self.started[name]
                print(f"trackers: {name} failed and is left out from step {step} on: {_line(error)}", file=sys.stderr)

    def finish(self) -> None:
        """Close them; what fails in that is told, and no more."""
        for name, tracker in self.started.items():
            try:
                tracker.finish()
            except Exception as error:
                print(f"trackers: {name} could not be closed: {_line(error)}", file=sys.stderr)
        self.started.clear()
