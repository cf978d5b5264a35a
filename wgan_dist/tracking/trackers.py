"""Experiment trackers besides TensorBoard: those that accelerate knows or that are registered with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from wgan_dist.utils.console import print_to_stderr
from wgan_dist.utils.errors import UserError

PROJECT = "wgan_dist"


def available() -> list[str]:
    """Return the names of the trackers whose package is installed and of those registered with accelerate."""
    installed = {str(tracker) for tracker in get_available_trackers()}
    built_in = {str(tracker) for tracker in LoggerType}
    return [name for name in LOGGER_TYPE_TO_CLASS if name in installed or name not in built_in]


def check(names: Sequence[str]) -> None:
    """Check that all trackers can be used.

    Raises:
        UserError: For a name that accelerate does not know, one whose package is not installed, and one given twice.
    """
    if len(set(names)) < len(names):
        raise UserError(f"trackers={','.join(names)}: expected each name once")
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(f"trackers={name}: expected some of {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in available():
            raise UserError(f"trackers={name}: its package is not installed; installed are {', '.join(available())}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Trackers:
    """The trackers of a run. One that fails is left out from then on, with a warning, and the run continues."""

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        """Start the trackers with the settings of the run; those that write files write them to `folder`.

        Raises:
            UserError: For a tracker that cannot be started.
        """
        self.started: dict[str, GeneralTracker] = {}
        for name in names:
            tracker_class = LOGGER_TYPE_TO_CLASS[name]
            arguments = (PROJECT, folder) if tracker_class.requires_logging_directory else (PROJECT,)
            try:
                tracker = tracker_class(*arguments)
                tracker.start()
                tracker.store_init_configuration(dict(settings))
            except Exception as error:  # their exceptions have no common base
                raise UserError(f"trackers={name}: cannot be started: {_one_line(error)}") from error
            self.started[name] = tracker

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the values of a generator step to every tracker."""
        for name, tracker in list(self.started.items()):
            try:
                tracker.log(dict(values), step=step)
            except Exception as error:
                del self.started[name]
                print_to_stderr(f"trackers: {name} failed and is left out from step {step} on: {_one_line(error)}")

    def finish(self) -> None:
        """Close every tracker; one that cannot be closed gives a warning."""
        for name, tracker in self.started.items():
            try:
                tracker.finish()
            except Exception as error:
                print_to_stderr(f"trackers: {name} could not be closed: {_one_line(error)}")
        self.started.clear()
