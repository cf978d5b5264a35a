"""Images in a .zip, .tar, .tar.gz or .tgz file, which are read in place: no file is unpacked."""

import gzip
import lzma
import stat
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from wgan_dist.data.sources.base import BadImageError, ImageListing, OpenedImage, Source, open_image_bytes
from wgan_dist.data.sources.class_names import DATASET_JSON, TABLE_LIMIT, ClassNames, folder_classes, table_classes
from wgan_dist.data.sources.other_files import count_by_suffix, may_be_image, only_others
from wgan_dist.data.sources.paths import error_line, hash_of, is_hidden, name_of_path, size_and_mtime
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import make_folder

ZIP, TAR, GZIPPED = ".zip", ".tar", (".tar.gz", ".tgz")
SUFFIXES = (ZIP, TAR, *GZIPPED)
# More than an uncompressed image of PIXEL_LIMIT takes.
MEMBER_LIMIT = 256 << 20
# The accepted uncompressed size of a .tar.gz: a gigabyte or fifty times its size, whichever is larger. Images are
# compressed already, whereas a decompression bomb grows a thousandfold.
GZIP_LIMIT, GZIP_RATIO = 1 << 30, 50
# A member of a .zip may grow a thousandfold, as an empty picture does, unless it is small.
ZIP_LEAST, ZIP_RATIO = 16 << 20, 1000
CHUNK = 1 << 20
# The bytes before the content of a member of a tar: names have some thousands, attributes at most 64 thousand each.
TAR_HEADER_LIMIT = 1 << 20
ENCRYPTED = 1
# What the libraries raise for damaged archives and unknown compression methods.
VALUE_ERRORS = (OSError, EOFError, ValueError, OverflowError, RuntimeError)
ARCHIVE_ERRORS = (*VALUE_ERRORS, struct.error, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Member:
    """A file inside an archive.

    Attributes:
        name: The path inside the archive.
        size: The uncompressed size in bytes.
        read: A function that returns the content; threads may call it at the same time.
        error: Why the member is not an image, if its header says so, or "".
    """

    name: str
    size: int
    read: Callable[[], bytes]
    error: str = ""


@contextmanager
def archive_errors(data: str) -> Iterator[None]:
    """Turn every error of reading an archive into a UserError that names it."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror}") from error
    except ARCHIVE_ERRORS as error:
        raise UserError(f"data={data}: damaged or cut short: {error_line(error)}") from error


def list_members(
    members: Iterable[Member], left_out: Mapping[str, int], classes: Callable[[], ClassNames | None]
) -> ImageListing:
    """Return the images of an archive's members; `left_out` counts the other files by suffix."""
    members = list(members)

    def open_member(index: int) -> OpenedImage:
        member = members[index]
        if member.error:
            raise BadImageError(member.error)
        if member.size > MEMBER_LIMIT:
            raise BadImageError(f"{member.size:,} bytes: more than {MEMBER_LIMIT:,}")
        try:
            content = member.read()
        except ARCHIVE_ERRORS as error:
            raise BadImageError(f"damaged in the archive: {error_line(error)}") from None
        return open_image_bytes(content)

    return ImageListing([member.name for member in members], open_member, left_out, classes=classes)


def read_text(member: Member, limit: int, data: str) -> bytes:
    """Return the content of a member that holds labels; raise UserError if it is damaged or larger than `limit`."""
    if member.error or member.size > limit:
        found = member.error or f"{member.size:,} bytes: more than {limit:,}"
        raise UserError(f"data={data}: {escape_unprintable(member.name)}: {found}")
    with archive_errors(data):
        return member.read()


def _is_visible(name: str) -> bool:
    """Return whether a member is neither hidden nor added by macOS."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return bool(parts) and not any(is_hidden(part) or part == "__MACOSX" for part in parts)


def _zip_members(path: Path, data: str) -> Iterator[Member]:
    with archive_errors(data):
        archive = zipfile.ZipFile(path)
    lock = threading.Lock()

    def read(info: zipfile.ZipInfo) -> bytes:
        with lock:
            return archive.read(info)

    for info in archive.infolist():
        if info.is_dir() or not _is_visible(info.filename):
            continue
        if info.flag_bits & ENCRYPTED:
            raise UserError(f"data={data}: the archive is encrypted; unpack it with its password")
        is_regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
        error = "" if is_regular else "a link or device, which is not followed"
        if info.file_size > max(ZIP_LEAST, ZIP_RATIO * info.compress_size):
            error = f"unpacks to {info.file_size:,} bytes, more than {ZIP_RATIO} times its size"
        yield Member(info.filename.removeprefix("./"), info.file_size, partial(read, info), error)


def _read_range(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


class _TarHeaders:
    """The file of a tar, as tarfile reads it: a member with a long header is refused before its header is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self.begin_member()

    def begin_member(self) -> None:
        """Count from here on the bytes of the next member's header."""
        self._left = TAR_HEADER_LIMIT

    def read(self, size: int) -> bytes:
        """Return the next bytes of the file."""
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError(f"a header of more than {TAR_HEADER_LIMIT:,} bytes")
        return self._read(size)


def _index_tar(file: IO[bytes], data: str, read: Callable[[int, int], bytes]) -> Iterator[Member]:
    """Yield the visible files of an uncompressed tar in their order; `read` takes an offset and a size in bytes."""
    count, headers = 0, _TarHeaders(file)
    with archive_errors(data), tarfile.open(fileobj=cast("IO[bytes]", headers), mode="r:") as archive:
        while (info := archive.next()) is not None:
            headers.begin_member()
            archive.members = []  # type: ignore[attr-defined] # otherwise memory grows with every member
            if info.isdir() or not _is_visible(info.name):
                continue
            count += 1
            is_regular = info.isreg() and not info.issparse()
            error = "" if is_regular else "a link, device or sparse file, which is not followed"
            yield Member(info.name.removeprefix("./"), info.size, partial(read, info.offset_data, info.size), error)
        file.seek(archive.offset)
        # tarfile takes a header that it cannot read for the end of the archive.
        is_complete = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    if not is_complete:
        raise UserError(f"data={data}: damaged or cut short: no end of the archive after {count:,} files")


def tar_members(path: Path, data: str) -> Iterator[Member]:
    """Yield the visible files of an uncompressed tar in their order.

    Raises:
        UserError: If the tar is damaged, cut short or cannot be read.
    """
    with archive_errors(data):
        file = path.open("rb")
    with file:
        yield from _index_tar(file, data, partial(_read_range, path))


def _unpack(path: Path, output: IO[bytes], data: str) -> None:
    limit = max(GZIP_LIMIT, GZIP_RATIO * path.stat().st_size)
    with gzip.open(path) as compressed:
        while chunk := compressed.read(CHUNK):
            if output.tell() + len(chunk) > limit:
                raise UserError(
                    f"data={data}: unpacks to more than {limit:,} bytes; if you trust it, unpack it yourself"
                )
            try:
                output.write(chunk)
                output.flush()
            except OSError as error:
                raise UserError(f"data={data}: cannot be unpacked into the cache: {error.strerror}") from error


def _gzipped_tar_members(path: Path, data: str, cache_dir: Path) -> Iterator[Member]:
    """Yield the visible files of a compressed tar in their order.

    A compressed stream cannot be read at any offset, so it is unpacked into a temporary file without a name, which
    disappears with its last reader or when the process is killed.
    """
    try:
        make_folder(cache_dir)
        file = tempfile.TemporaryFile(dir=cache_dir)  # noqa: SIM115 the members keep it open
    except OSError as error:
        raise UserError(f"cache_dir={cache_dir}: cannot be written: {error.strerror}") from error
    with archive_errors(data):
        _unpack(path, file, data)
    file.seek(0)
    lock = threading.Lock()

    def read(offset: int, size: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(size)

    yield from _index_tar(file, data, read)


def is_archive(path: Path) -> bool:
    """Return whether `path` is a file with the suffix of an archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def archive_source(path: Path, data: str, cache_dir: Path) -> Source:
    """Return the source of every visible file in an archive that may be an image, in the order that a folder has.

    Listing raises UserError if the archive is damaged, cut short, encrypted or empty. Of several files of one name
    the last counts, as after unpacking.
    """
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))

    def list_images() -> ImageListing:
        if suffix in GZIPPED:
            members = _gzipped_tar_members(path, data, cache_dir)
        else:
            members = _zip_members(path, data) if suffix == ZIP else tar_members(path, data)
        by_name = {member.name: member for member in members}
        names = sorted(name for name in by_name if may_be_image(name))
        left_out = count_by_suffix(by_name.keys() - names)
        if not names:
            raise UserError(f"data={data}: the archive holds no image{only_others(left_out)}")

        def classes() -> ClassNames | None:
            if DATASET_JSON in by_name:
                return table_classes(read_text(by_name[DATASET_JSON], TABLE_LIMIT, data), names, data)
            return folder_classes(names)

        return list_members((by_name[name] for name in names), left_out, classes)

    identity = hash_of([str(path.resolve()), *size_and_mtime(path)])
    return Source(name_of_path(path)[: -len(suffix)] or suffix, identity, list_images)
