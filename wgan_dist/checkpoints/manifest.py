"""Checkpoint folders that are whole or absent: files, a manifest with their SHA-256, and the search for the newest."""

import hashlib
import json
import shutil
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wgan_dist.checkpoints.run_dir import checkpoint_position
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PARTIAL_SUFFIX, atomic_folder, remove_folder

MANIFEST = "manifest.json"
# Bytes; a manifest of a checkpoint has less than a thousand.
MANIFEST_LIMIT = 1 << 20
DAMAGED_SUFFIX = ".damaged"


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest(entries: dict[str, dict[str, Any]]) -> bytes:
    return json.dumps(entries, indent=1, sort_keys=True).encode()


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files and their manifest as `folder`, which appears on the disk whole or not at all.

    Raises:
        UserError: Naming the folder when the disk is full, read-only or not permitted.
    """
    with atomic_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        (partial / MANIFEST).write_bytes(_manifest({name: _entry(content) for name, content in files.items()}))


def _read_file(folder: Path, name: str, size: int | None = None) -> bytes:
    """Read a regular file of the folder. A stranger's manifest may name other places, links or devices."""
    path = folder / name
    status = path.lstat()
    if path.name != name or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name!r} is not a file in it")
    if status.st_size != (min(status.st_size, MANIFEST_LIMIT) if size is None else size):
        raise ValueError(f"{name} has {status.st_size} bytes, {size or 'too many'} were expected")
    return path.read_bytes()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint folder by name, verified against the manifest.

    Raises:
        UserError: Naming the file that is missing or not as it was written.
    """
    try:
        stored = _read_file(folder, MANIFEST)
        manifest = json.loads(stored)
        files = {name: _read_file(folder, name, manifest[name]["bytes"]) for name in manifest}
        entries = {name: _entry(content) for name, content in files.items()}
        wrong = [name for name in manifest if entries[name]["sha256"] != manifest[name]["sha256"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"checkpoint {folder}: damaged: {error}") from error
    # The manifest has no checksum: it must equal the one that its files give.
    if wrong or stored != _manifest(entries):
        raise UserError(f"checkpoint {folder}: damaged: {', '.join(wrong) or MANIFEST} is not as it was written")
    return files


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
    for leftover in checkpoints.glob(f".*{PARTIAL_SUFFIX}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _set_aside(folder: Path) -> None:
    number = len(list(folder.parent.glob(f"{folder.name}{DAMAGED_SUFFIX}*")))
    aside = folder.with_name(f"{folder.name}{DAMAGED_SUFFIX}{f'-{number + 1}' if number else ''}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise UserError(f"{folder}: damaged, and cannot be set aside: {error.strerror}") from error
    print(f"kept as {aside}", file=sys.stderr)


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
            print(f"{reason}; trying an older one", file=sys.stderr)
            if set_aside:
                _set_aside(folder)
    raise UserError(f"{checkpoints}: there is no complete checkpoint")
