"""Files that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgan_dist.errors import UserError

PARTIAL_SUFFIX = ".partial"


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a later rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well it is flushed and renamed to `path`, else removed.

    Raises UserError naming `path` when the disk is full, read-only or not permitted.
    """
    path = Path(path)
    partial = _partial(path)
    try:
        with _named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well its files are flushed and it is renamed to `path`.

    Every file is on the disk before the name appears, and the name is on the disk before this returns.
    Raises UserError naming `path` when the disk is full, read-only or not permitted.
    """
    partial = _partial(path)
    try:
        with _named_errors(path):
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had our number
            partial.mkdir(parents=True)
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
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(content)
