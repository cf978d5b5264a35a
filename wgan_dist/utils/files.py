"""Atomic writes: a file or folder appears under its name complete and on the disk, or not at all. Bounded reads."""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgan_dist.utils.errors import UserError

# The permissions of what everybody may read, before the umask, and of what is for its owner alone.
SHARED, PRIVATE = 0o666, 0o600
_PARTIAL_NAME = re.compile(r"\..+\.wgan_dist-[0-9a-f]{8}\.partial", re.DOTALL)


def partial_path(path: Path) -> Path:
    """Return a new temporary name beside `path`, which nobody can guess and which tells what this package wrote."""
    return path.with_name(f".{path.name}.wgan_dist-{secrets.token_hex(4)}.partial")


def is_partial(path: Path) -> bool:
    """Return whether a file or folder has a temporary name of this package."""
    return bool(_PARTIAL_NAME.fullmatch(path.name))


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


def make_private_folder(path: Path) -> None:
    """Make a folder that is for its owner alone, and its missing parents; one that exists keeps its permissions."""
    make_folder(path.parent)
    path.mkdir(0o700, exist_ok=True)


def other_writers(folder: Path) -> str:
    """Say who else can write to a folder, in words that follow "which"; empty if nobody else can, or it is not known.

    The group counts unless it is this user's own.
    """
    if not hasattr(os, "getuid"):  # Windows
        return ""
    try:
        status = folder.stat()
    except OSError:
        return ""
    if status.st_uid not in (os.getuid(), 0):
        return "belongs to another user"
    shared = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != os.getgid() else 0)
    return "other users can write to" if status.st_mode & shared else ""


def remove_folder(path: Path) -> None:
    """Remove a folder, after renaming it so that its name never stands for half of it; ignore errors."""
    partial = partial_path(path)
    with suppress(OSError):
        path.rename(partial)
        shutil.rmtree(partial)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files of killed processes from a folder that no other process is writing to."""
    for partial in filter(is_partial, folder.glob(".*")):
        with suppress(OSError):
            partial.unlink()


def remove_partial_folders(folder: Path) -> None:
    """Remove the partial folders of killed processes from a folder that no other process is writing to."""
    for partial in filter(is_partial, folder.glob(".*")):
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_file(path: Path | str, mode: int = SHARED) -> Iterator[Path]:
    """Yield a temporary file to write; flush it and rename it to `path` after the block, or remove it on an exception.

    A file of that name is replaced. The temporary file is a new one, so that no link leads elsewhere; `mode` are its
    permissions before the umask. Raises UserError, naming `path`, if the disk is full, read-only or not permitted.
    """
    path = Path(path)
    partial = partial_path(path)
    with _named_errors(path):
        make_folder(path.parent)
        partial.touch(mode, exist_ok=False)
        try:
            yield partial
            sync(partial)
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()
        sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; flush it and rename it to `path` after the block, or remove it on an exception.

    Every file is on the disk before the name appears, and the name is on the disk when this returns. `path` must not
    exist. Raises UserError, naming `path`, if the disk is full, read-only or not permitted.
    """
    partial = partial_path(path)
    with _named_errors(path):
        make_folder(path.parent)
        partial.mkdir()
        try:
            yield partial
            for file in partial.iterdir():
                sync(file)
            sync(partial)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync(path.parent)


def write_text(path: Path, text: str, mode: int = SHARED) -> None:
    """Write `text` to `path` as UTF-8, atomically; `mode` as in `atomic_file`.

    What a name in another encoding holds besides becomes \\udcff.
    """
    with atomic_file(path, mode) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_bytes(path: Path, content: bytes, mode: int = SHARED) -> None:
    """Write `content` to `path`, atomically; `mode` as in `atomic_file`."""
    with atomic_file(path, mode) as partial:
        partial.write_bytes(content)


def copy_file(source: Path, path: Path) -> None:
    """Copy `source` to `path` atomically and without holding it in memory. Raises OSError if there is no `source`."""
    with source.open("rb") as content, atomic_file(path) as partial, partial.open("wb") as copy:
        shutil.copyfileobj(content, copy)


# The most bytes of a file of text, of the records of a run, and of weights.
MAX_TEXT_BYTES, MAX_RECORD_BYTES, MAX_WEIGHT_BYTES = 1 << 24, 1 << 30, 1 << 34


def read_file(path: Path, limit: int, most: int = -1) -> bytes:
    """Return the content of a regular file of at most `limit` bytes, or only its first `most` bytes.

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
        # Files of the system may have content beyond their size.
        return file.read(status.st_size if most < 0 else min(most, status.st_size))
