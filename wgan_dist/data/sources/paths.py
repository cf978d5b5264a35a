"""Names, messages and identities of files, as all sources write them."""

import hashlib
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import make_private_folder


def error_line(error: BaseException) -> str:
    """Return the message of an exception as one printable line."""
    return escape_unprintable(" ".join(str(error).split())) or type(error).__name__


def expand_home(path: str, setting: str) -> Path:
    """Return `path` with a leading `~` expanded; raise UserError naming `setting` if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{setting}: there is no such folder, since the user of its ~ does not exist") from None


def cache_folder(cache_dir: str) -> Path:
    """Return the folder of a `--cache_dir`, made for its owner alone if it is missing.

    A folder that cannot be made is an error where it is written. Raises UserError if there is no such user as its ~.
    """
    folder = expand_home(cache_dir, f"cache_dir={cache_dir}")
    with suppress(OSError):
        make_private_folder(folder)
    return folder


def how_to_download(data: str, cache_dir: Path) -> str:
    """Return how to download data that only a file names; the text of a file is quoted for a shell."""
    flags = f"{shlex.quote(f'--data={data}')} {shlex.quote(f'--cache_dir={cache_dir}')}"
    return f"what only a file names is not downloaded; python -m wgan_dist.data inspect {flags} downloads it"


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden; sources leave hidden files out."""
    return name.startswith(".")


def hash_of(parts: Sequence[object]) -> str:
    """Return the SHA-256 of the representation of `parts`."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def size_and_mtime(path: Path | str) -> tuple[int, int]:
    """Return a file's size in bytes and modification time in nanoseconds, or (-1, -1) for a dangling link."""
    try:
        status = os.stat(path)  # noqa: PTH116 a Path for each of 100,000 files takes a second
    except OSError:
        return (-1, -1)  # decoding it reports the error
    return (status.st_size, status.st_mtime_ns)


def name_of_path(path: Path) -> str:
    """Return the name of the data at `path`: its last part as valid Unicode."""
    name = path.resolve().name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return name or "images"
