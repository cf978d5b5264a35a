"""Files that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgan_dist.utils.errors import UserError

PARTIAL_SUFFIX = ".partial"


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a later rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing; each name is on the disk before this returns."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder, which loses its name before its first file; one that cannot be removed stays."""
    partial = _partial(path)
    with suppress(OSError):
        path.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder that nobody else writes to now."""
    for left in folder.glob(f".*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            left.unlink()


def _partial(path: Path) -> Path:
    # The process number keeps two writers of one path out of each other's way.
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well it is flushed and renamed to `path`, else removed.

    Raises UserError naming `path` when the disk is full, read-only or not permitted.
    """
    path = Path(path)
    partial = _partial(path)
    try:
        with _named_errors(path):
            make_folder(path.parent)
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well its files are flushed and it is renamed to `path`.

    Every file is on the disk before the name appears, and the name is on the disk before this returns.
    Raises UserError naming `path` when the disk is full, read-only or not permitted.
    """
    partial = _partial(path)
    try:
        with _named_errors(path):
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had our number
            make_folder(path.parent)
            partial.mkdir()
            yield partial
            for file in partial.iterdir():
                sync(file)
            sync(partial)
            partial.rename(path)
            sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def copy_file(source: Path, path: Path) -> None:
    """Write the content of `source`, whole or not at all, without a copy in memory; OSError where it is not there."""
    with source.open("rb") as content, atomic_file(path) as partial, partial.open("wb") as copy:
        shutil.copyfileobj(content, copy)
