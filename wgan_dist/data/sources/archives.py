"""Pictures inside a .zip, .tar, .tar.gz or .tgz file, read where they are: nothing is unpacked into a folder."""

import gzip
import io
import lzma
import stat
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from wgan_dist.data.sources.base import (
    FORMATS,
    BadImageError,
    Pictures,
    Source,
    digest,
    is_hidden,
    name_of,
    said,
    stamp,
)
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import make_folder

ZIP, TAR, GZIPPED = ".zip", ".tar", (".tar.gz", ".tgz")
SUFFIXES = (ZIP, TAR, *GZIPPED)
# More than any picture that is small enough to be decoded takes without compression.
MEMBER_LIMIT = 256 << 20
# A .tar.gz may become a gigabyte, or fifty times its size: pictures are compressed already, bombs are a thousandfold.
GZIP_LIMIT, GZIP_RATIO = 1 << 30, 50
COPY = 1 << 20
BLOCK = tarfile.BLOCKSIZE
ENCRYPTED = 1
# What the libraries raise of damaged archives and of kinds that they do not know.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Member:
    """A file in a tar: its place among the tar's bytes. `wrong` says why it is no picture, if that is known."""

    name: str
    start: int
    size: int
    wrong: str = ""


@contextmanager
def whole_archive(data: str) -> Iterator[None]:
    """What goes wrong with an archive as such, as a UserError that names it."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror}") from error
    except DAMAGE as error:
        raise UserError(f"data={data}: damaged or cut short: {said(error)}") from error


def _visible(name: str) -> bool:
    """Neither hidden, nor what macOS adds to a zip."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return bool(parts) and not any(is_hidden(part) or part == "__MACOSX" for part in parts)


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _decodable(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _check_size(size: int) -> None:
    if size > MEMBER_LIMIT:
        raise BadImageError(f"{size:,} bytes: more than {MEMBER_LIMIT:,}")


def _zip_wrong(member: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(member.external_attr >> 16)
    return "a link or device, which is not followed" if kind not in (0, stat.S_IFREG) else ""


def _zip_pictures(path: Path, data: str) -> Pictures:
    with whole_archive(data):
        archive = zipfile.ZipFile(path)
    # As after unpacking: of members of one name the last, in the order of a folder's files.
    found = {_plain(each.filename): each for each in archive.infolist() if not each.is_dir()}
    names = sorted(name for name in found if _visible(name))
    if any(found[name].flag_bits & ENCRYPTED for name in names):
        raise UserError(f"data={data}: the archive is encrypted; unpack it with its password")
    lock = threading.Lock()

    def read_member(member: zipfile.ZipInfo) -> bytes:
        _check_size(member.file_size)
        with lock:  # the archive counts its readers; they themselves may read at the same time
            reader = archive.open(member)
        try:
            return reader.read()
        finally:
            with lock:
                reader.close()

    def open_member(index: int) -> Image.Image:
        member = found[names[index]]
        if wrong := _zip_wrong(member):
            raise BadImageError(wrong)
        try:
            content = read_member(member)
        except DAMAGE as error:
            raise BadImageError(f"damaged in the archive: {said(error)}") from None
        return _decodable(content)

    return Pictures(names, open_member)


def _member(each: tarfile.TarInfo) -> Member:
    if not each.isreg() or each.issparse():
        return Member(_plain(each.name), 0, 0, "a link, device or sparse file, which is not followed")
    return Member(_plain(each.name), each.offset_data, each.size)


def members_at(path: Path, data: str) -> list[Member]:
    """`tar_members` of the tar at `path`, which raises UserError too when it cannot be read."""
    with whole_archive(data):
        file = path.open("rb")
    with file:
        return tar_members(file, data)


def tar_members(file: IO[bytes], data: str) -> list[Member]:
    """The visible files of an uncompressed tar, in its order; raises UserError when it is damaged or cut short."""
    members = []
    with whole_archive(data), tarfile.open(fileobj=file, mode="r:") as archive:
        while (each := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined] # or it keeps all that it ever read
            if not each.isdir() and _visible(each.name):
                members.append(_member(each))
        file.seek(archive.offset)
        end = file.read(BLOCK)
    # tarfile takes a header that it cannot read for the end.
    if end != bytes(BLOCK):
        raise UserError(f"data={data}: damaged or cut short: no end after {len(members):,} files")
    return members


def tar_pictures(members: list[Member], content: Callable[[int, Member], bytes]) -> Pictures:
    """The members as pictures; `content(number, member)` reads one's bytes."""

    def open_member(index: int) -> Image.Image:
        member = members[index]
        if member.wrong:
            raise BadImageError(member.wrong)
        _check_size(member.size)
        return _decodable(content(index, member))

    return Pictures([member.name for member in members], open_member)


def content_of(path: Path, member: Member) -> bytes:
    """The bytes of a member of the tar at `path`; threads and processes may read at the same time."""
    with path.open("rb") as file:
        file.seek(member.start)
        return file.read(member.size)


def _as_folder(members: list[Member]) -> list[Member]:
    """As after unpacking: of members of one name the last, in the order of a folder's files."""
    found = {member.name: member for member in members}
    return [found[name] for name in sorted(found)]


def _tar_pictures(path: Path, data: str) -> Pictures:
    members = members_at(path, data)
    return tar_pictures(_as_folder(members), lambda _, member: content_of(path, member))


def _unpack(path: Path, out: IO[bytes], data: str) -> None:
    limit, done = max(GZIP_LIMIT, GZIP_RATIO * path.stat().st_size), 0
    with gzip.open(path) as packed:
        while part := packed.read(COPY):
            done += len(part)
            if done > limit:
                raise UserError(f"data={data}: becomes more than {limit:,} bytes; unpack it yourself if it is no bomb")
            _write(out, part, data)


def _write(out: IO[bytes], part: bytes, data: str) -> None:
    try:
        out.write(part)
        out.flush()
    except OSError as error:
        raise UserError(f"data={data}: cannot be unpacked into the cache: {error.strerror}") from error


def _gzipped_pictures(path: Path, cache_dir: Path, data: str) -> Pictures:
    """A compressed stream has no places to go to, so it is unpacked: into a file without a name, gone with the last
    reader and with a killed process, and only when the cache has the pictures not yet.
    """
    try:
        make_folder(cache_dir)
        file = tempfile.TemporaryFile(dir=cache_dir)  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cache_dir={cache_dir}: cannot be written: {error.strerror}") from error
    with whole_archive(data):
        _unpack(path, file, data)
    file.seek(0)
    lock = threading.Lock()

    def content(_: int, member: Member) -> bytes:
        with lock:
            file.seek(member.start)
            return file.read(member.size)

    return tar_pictures(_as_folder(tar_members(file, data)), content)


def is_archive(path: Path) -> bool:
    """Whether a file is to be read as one, by its name."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def archive_source(path: Path, data: str, cache_dir: Path) -> Source:
    """Every file in an archive, nested or flat, in the order that a folder of them has.

    Listing raises UserError for an archive that is damaged, cut short, encrypted, or holds nothing.
    """
    name = path.name.lower()

    def pictures() -> Pictures:
        if name.endswith(GZIPPED):
            found = _gzipped_pictures(path, cache_dir, data)
        else:
            found = _zip_pictures(path, data) if name.endswith(ZIP) else _tar_pictures(path, data)
        if not found.names:
            raise UserError(f"data={data}: the archive holds no image")
        return found

    suffix = next(each for each in SUFFIXES if name.endswith(each))
    identity = digest([str(path.resolve()), *stamp(path)])
    return Source(name_of(path)[: -len(suffix)] or suffix, identity, pictures)
