"""The folder of a run: how it is made, and the names of what lies in it. An existing run is never overwritten."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from wgan_dist.config import Config, check_is_run, in_steps, is_run, read_config
from wgan_dist.utils.console import is_utf8
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import is_partial

RUNS = Path("runs")
CHECKPOINTS = "checkpoints"
METRICS_FILE, SAMPLES, TENSORBOARD, TRACKERS = "metrics.jsonl", "samples", "tensorboard", "trackers"
EVALUATIONS, PROFILE, LOCK_FILE = "evaluations", "profile", ".lock"
# What a run writes into, or appends to. Its other files are replaced, and a link with them.
WRITTEN = (CHECKPOINTS, METRICS_FILE, SAMPLES, TENSORBOARD, TRACKERS, EVALUATIONS, PROFILE, LOCK_FILE)
_CHECKPOINT_NAME = re.compile(r"step-([0-9]+)(?:\.([0-9]+))?")


def checkpoint_name(step: int, critic_iteration: int) -> str:
    """Return the folder name of a checkpoint after `step` steps and `critic_iteration` iterations of the next one."""
    return f"step-{step:08d}" + (f".{critic_iteration:03d}" if critic_iteration else "")


def checkpoint_position(name: str) -> tuple[int, int] | None:
    """Return (step, critic_iteration) of a checkpoint's folder name, or None for any other name."""
    match = _CHECKPOINT_NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def no_checkpoint_yet(folder: Path) -> str:
    """Return the sentence about a run that has saved nothing, which says when its first checkpoint comes."""
    every = read_config({"run_dir": str(folder), "resume": "true"}).checkpoint_every
    due = f"after step {every:,}" if isinstance(every, int) else f"after epoch {every.removesuffix('epoch')}"
    first = f"{due} (checkpoint_every={every}), or earlier, " if in_steps(every, 1) else ""
    return f"this run has no checkpoint yet; the first comes {first}when the run ends or is stopped by Ctrl-C"


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is in a folder when all links are followed, whether there is something or not."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _links(path: Path) -> Iterator[Path]:
    """Yield `path` and, if it is a folder, what is in it, where these are links."""
    if path.is_symlink():
        yield path
    elif path.is_dir():
        with os.scandir(path) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_symlink())


def check_parts_inside(folder: Path, parts: Iterable[str] = WRITTEN) -> None:
    """Raise UserError if a part of a run, or something directly in it, is a link that leads out of its folder.

    A stranger's run could otherwise write into, or prune, another one. The folder itself may be a link, and so may the
    folders above it.
    """
    for link in (link for part in parts for link in _links(folder / part)):
        if not is_inside(link, folder):
            target = os.path.realpath(link)
            raise UserError(f"{link}: is a link to {target}, outside of its run: expected a file or folder in the run")


def check_is_empty(folder: Path) -> None:
    """Raise UserError if the folder of a new run holds anything but what a start that was killed has left."""
    if folder.is_dir() and all(path.name == LOCK_FILE or is_partial(path) for path in folder.iterdir()):
        return
    raise UserError(f"run_dir={folder}: exists already; --resume continues it, another name starts a new run")


def check_run_dir(config: Config) -> None:
    """Raise UserError if a new run's folder exists and is not empty, or if there is no run that can be resumed.

    TensorBoard writes to no folder whose name is not UTF-8.
    """
    if not config.run_dir:
        return
    folder = Path(config.run_dir)
    if not is_utf8(config.run_dir):
        raise UserError(f"run_dir={folder}: expected a name in UTF-8")
    if config.resume == "true":
        check_is_run(folder)
    if is_run(folder) and config.resume != "false":
        check_parts_inside(folder)
    elif folder.exists():
        check_is_empty(folder)


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


def make_run_dir(config: Config) -> Path:
    """Return the folder of the run, made if it is new; without a name it is the next number below runs/.

    Raises:
        UserError: As `check_run_dir`, and when the folder cannot be made.
    """
    check_run_dir(config)
    folder = Path(config.run_dir) if config.run_dir else RUNS
    try:
        if not config.run_dir:
            return _make_numbered()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run_dir={folder}: cannot be made: {error.strerror}") from error
    return folder
