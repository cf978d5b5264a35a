"""The folder of a run: a new one is made, an existing one is never written over; what its checkpoints are called."""

import re
from pathlib import Path

from wgan_dist.config import CONFIG_FILE, Config, is_run
from wgan_dist.utils.errors import UserError

RUNS = Path("runs")
CHECKPOINTS = "checkpoints"
METRICS_FILE, SAMPLES, EVALUATIONS = "metrics.jsonl", "samples", "evaluations"
_CHECKPOINT_NAME = re.compile(r"step-([0-9]+)(?:\.([0-9]+))?")


def checkpoint_name(step: int, iteration: int) -> str:
    """The folder of a checkpoint after `step` generator steps and `iteration` critic iterations of the next one."""
    return f"step-{step:08d}" + (f".{iteration:03d}" if iteration else "")


def checkpoint_position(name: str) -> tuple[int, int] | None:
    """The (step, iteration) of a checkpoint's folder, None for any other name, as a damaged one's."""
    found = _CHECKPOINT_NAME.fullmatch(name)
    return (int(found[1]), int(found[2] or 0)) if found else None


def check(config: Config) -> None:
    """Raises UserError when a new run's folder exists and is not empty, or when there is no run to continue."""
    if not config.run_dir:
        return
    folder = Path(config.run_dir)
    if config.resume == "true" and not is_run(folder):
        raise UserError(f"run_dir={folder}: there is no run to resume: no {CONFIG_FILE} in it")
    if is_run(folder) and config.resume != "false":
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"run_dir={folder}: exists already; --resume continues it, another name starts a new run")


def _make_numbered() -> Path:
    RUNS.mkdir(exist_ok=True)
    while True:
        numbers = [int(folder.name) for folder in RUNS.glob("*") if folder.name.isdecimal()]
        folder = RUNS / f"{max(numbers, default=0) + 1:04d}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another run took the number meanwhile
            continue


def make(config: Config) -> Path:
    """The folder of the run, made if it is new; without a name the next number below runs/.

    Raises UserError as `check` does, and when the folder cannot be made.
    """
    check(config)
    folder = Path(config.run_dir) if config.run_dir else RUNS
    try:
        if not config.run_dir:
            return _make_numbered()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run_dir={folder}: cannot be made: {error.strerror}") from error
    return folder
