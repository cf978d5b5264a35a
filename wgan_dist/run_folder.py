"""The folder of a run: a new one is made, an existing one is never written over."""

from pathlib import Path

from wgan_dist.config import CONFIG_FILE, Config, is_run
from wgan_dist.errors import UserError

RUNS = Path("runs")


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"run_dir={folder}: cannot be made: {error.strerror}") from error
    return folder


def _next_numbered() -> Path:
    numbers = [int(folder.name) for folder in RUNS.glob("*") if folder.name.isdecimal()]
    return RUNS / f"{max(numbers, default=0) + 1:04d}"


def claim(config: Config) -> Path:
    """Make the folder of a new run, or check that of a run to be continued.

    Raises UserError when a new run's folder exists and is not empty, when there is no run to continue, or when
    the folder cannot be made.
    """
    if not config.run_dir:
        return _make(_next_numbered())
    folder = Path(config.run_dir)
    if is_run(folder) and config.resume != "false":
        return folder
    if config.resume == "true":
        raise UserError(f"run_dir={folder}: there is no run to resume: no {CONFIG_FILE} in it")
    if folder.is_dir() and not any(folder.iterdir()):
        return folder
    if folder.exists():
        raise UserError(f"run_dir={folder}: exists already; --resume continues it, another name starts a new run")
    return _make(folder)
