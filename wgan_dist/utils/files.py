"""Atomic writes: a file or folder appears under its name complete and on the disk, or not at all. Bounded reads."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgan_dist.utils.errors import UserError

PARTIAL_SUFFIX = ".partial"


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that no later rename reaches the disk before its content.

    Windows opens no folder and flushes no file that is open for reading only.
    """
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; their names are on the disk when this returns."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder, after renaming it so that its name never stands for half of it; ignore errors."""
    partial = _partial(path)
    with suppress(OSError):
        path.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files of killed processes from a folder that no other process is writing to."""
    for partial in folder.glob(f".*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            partial.unlink()


def _partial(path: Path) -> Path:
    # The process id gives two writers of one path different partial files.
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write; flush it and rename it to `path` after the block, or remove it on an exception.

    A file of that name is replaced. Raises UserError, naming `path`, if the disk is full, read-only or not permitted.
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
    """Yield a temporary folder to fill; flush it and rename it to `path` after the block, or remove it on an exception.

    Every file is on the disk before the name appears, and the name is on the disk when this returns. `path` must not
    exist. Raises UserError, naming `path`, if the disk is full, read-only or not permitted.
    """
    partial = _partial(path)
    try:
        with _named_errors(path):
            shutil.rmtree(partial, ignore_errors=True)  # left by a killed process with the same id
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
    """Write `text` to `path` as UTF-8, atomically; what a name in another encoding holds besides becomes \\udcff."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def copy_file(source: Path, path: Path) -> None:
    """Copy `source` to `path` atomically and without holding it in memory. Raises OSError if there is no `source`."""
    with source.open("rb") as content, atomic_file(path) as partial, partial.open("wb") as copy:
        shutil.copyfileobj(content, copy)


# The most bytes of a file of text, of the records of a run, and of weights.
MAX_TEXT_BYTES, MAX_RECORD_BYTES, MAX_WEIGHT_BYTES = 1 << 24, 1 << 30, 1 << 34


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    The folder of a stranger may hold a pipe, which never answers, a device without an end, or a file of any size, under
    the name of any file.

    Raises:
        OSError: For a file that cannot be read, is not a regular one, or is larger. `strerror` says which.
    """
    # Opening a pipe waits for its other end unless it is told not to.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 of a descriptor
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {limit:,}", str(path))
        return file.read(limit)
