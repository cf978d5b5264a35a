"""The checkpoint folders of a run: which there are, which is the newest undamaged one, and which are pruned."""

import itertools
from collections.abc import Collection
from pathlib import Path

from wgan_dist.checkpoints.manifest import read_folder
from wgan_dist.checkpoints.run_dir import checkpoint_position
from wgan_dist.utils.console import print_to_stderr
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import remove_folder, remove_partial_folders

DAMAGED_SUFFIX = ".damaged"


def checkpoint_folders(checkpoints: Path) -> list[Path]:
    """Return the checkpoint folders, oldest first, damaged or not."""
    positions = {folder: checkpoint_position(folder.name) for folder in checkpoints.glob("*")}
    return [folder for _, folder in sorted((position, folder) for folder, position in positions.items() if position)]


def prune(checkpoints: Path, keep: int, spared: Collection[str] = ()) -> None:
    """Remove all but the newest `keep` checkpoints and those named in `spared`.

    Leftovers of killed processes are removed too: a run has one writer, and it is the caller.
    """
    for old in checkpoint_folders(checkpoints)[:-keep]:
        if old.name not in spared:
            remove_folder(old)
    remove_partial_folders(checkpoints)


def _set_aside(folder: Path) -> None:
    names = (f"{folder.name}{DAMAGED_SUFFIX}{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    aside = next(path for path in map(folder.with_name, names) if not path.exists())
    try:
        folder.rename(aside)
    except OSError as error:
        raise UserError(f"{folder}: damaged, and cannot be set aside: {error.strerror}") from error
    print_to_stderr(f"kept as {aside}")


def newest_checkpoint(checkpoints: Path, set_aside: bool) -> Path:
    """Return the newest undamaged checkpoint folder.

    Damaged newer ones are reported, and renamed if `set_aside`; nothing is deleted.

    Raises:
        UserError: If there is no undamaged checkpoint.
    """
    for folder in reversed(checkpoint_folders(checkpoints)):
        try:
            read_folder(folder)
            return folder
        except UserError as reason:
            print_to_stderr(f"{reason}; trying an older one")
            if set_aside:
                _set_aside(folder)
    raise UserError(f"{checkpoints}: there is no complete checkpoint")
