"""Checkpoint folders that are whole or absent: files, and a manifest with their SHA-256."""

import hashlib
import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_WEIGHT_BYTES, atomic_folder, read_file

MANIFEST = "manifest.json"
# Bytes; a manifest of a checkpoint has less than a thousand.
MANIFEST_LIMIT = 1 << 20


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest(entries: dict[str, dict[str, Any]]) -> bytes:
    return json.dumps(entries, indent=1, sort_keys=True).encode()


def write_folder(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files, by name and one at a time, and their manifest as `folder`, which appears whole or not at all.

    Raises:
        UserError: Naming the folder when the disk is full, read-only or not permitted.
    """
    with atomic_folder(folder) as partial:
        entries = {}
        for name, content in files:
            (partial / name).write_bytes(content)
            entries[name] = _entry(content)
        (partial / MANIFEST).write_bytes(_manifest(entries))


def _read_file(folder: Path, name: str, size: int | None = None) -> bytes:
    """Read a regular file of the folder. A stranger's manifest may name other places, links or devices."""
    path = folder / name
    status = path.lstat()
    if path.name != name or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name!r} is not a file in it")
    if size is None and status.st_size > MANIFEST_LIMIT:
        raise ValueError(f"{name} has {status.st_size:,} bytes, more than {MANIFEST_LIMIT:,}")
    if size is not None and status.st_size != size:
        raise ValueError(f"{name} has {status.st_size:,} bytes, {size!r} were expected")
    return read_file(path, MAX_WEIGHT_BYTES)


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
