"""Images in .npy and .npz files of numpy, and in the pages of one TIFF."""

import io
import math
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wgan_dist.data.sources.array_values import channels_first, check_dtype, choose_axes, shape_text
from wgan_dist.data.sources.base import DECODING_ERRORS, ImageListing, Source, check_picture, check_regular
from wgan_dist.data.sources.other_files import NPY, suffix_of
from wgan_dist.data.sources.paths import error_line, hash_of, name_of_path, size_and_mtime
from wgan_dist.data.sources.tiff import count_pages, is_read_fully, open_tiff, page_values, tiff_errors
from wgan_dist.utils.errors import UserError

NPZ, TIFFS = ".npz", (".tif", ".tiff")
ARRAY_SUFFIXES = (NPY, NPZ, *TIFFS)
# An array in a .npz is unpacked into memory, unlike a .npy, which is mapped.
NPZ_LIMIT = 1 << 30
# Headers of arrays that are images or points take some hundred bytes.
HEADER_LIMIT = 1 << 14
# The most images of one file: their names take a gigabyte.
IMAGE_LIMIT = 1 << 22
PAGE_LIMIT = 1 << 14
NAMES_SHOWN = 10


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether the first axis changes fastest, and the type of a .npy file of `size` bytes.

    The file is left at the first value.

    Raises:
        ValueError: If it is no such file, if its values are no real numbers, or if they are not all there.
    """
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    begin = io.BytesIO(file.read(HEADER_LIMIT))  # the header itself says how long it is, up to four gigabytes
    version = npy_format.read_magic(begin)
    if version not in readers:
        raise ValueError(f"a .npy file of version {version[0]}.{version[1]}; expected 1.0 or 2.0")
    shape, is_fortran, dtype = readers[version](begin)
    file.seek(begin.tell())
    check_dtype(dtype)
    expected = math.prod(shape) * dtype.itemsize
    if any(length < 1 for length in shape):
        raise ValueError(f"an array of shape {shape_text(shape)}; expected at least 1 along every axis")
    if file.tell() + expected > size:
        raise ValueError(f"an array of shape {shape_text(shape)}, {expected:,} bytes, in a file of {size:,}")
    return shape, is_fortran, dtype


def map_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, memory-mapped.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or its values are no real numbers.
    """
    with path.open("rb") as file:
        shape, is_fortran, dtype = _read_header(file, path.stat().st_size)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")


@contextmanager
def _open_npz(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield the only array of a .npz file, and its size in bytes.

    Raises:
        ValueError: If there are others, or if it is too large.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != 1:
            names = ", ".join(error_line(ValueError(member.filename)) for member in members[:NAMES_SHOWN])
            raise ValueError(f"expected one array, found {len(members):,}: {names}")
        (member,) = members
        if member.file_size > NPZ_LIMIT:
            raise ValueError(f"unpacks to {member.file_size:,} bytes, more than {NPZ_LIMIT:,}; write a .npy file")
        with archive.open(member) as file:
            yield file, member.file_size


def _read_npz(path: Path) -> NDArray[Any]:
    """Return the only array of a .npz file; raise ValueError as `_open_npz` does."""
    with _open_npz(path) as (file, _):
        content = io.BytesIO(file.read(NPZ_LIMIT + 1))
    shape, is_fortran, dtype = _read_header(content, len(content.getbuffer()))
    values = np.frombuffer(content.getbuffer(), dtype, math.prod(shape), content.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, memory-mapped, or the only array of a .npz file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, holds several arrays, or its values are no real numbers.
        zipfile.BadZipFile: If it is a damaged .npz file.
    """
    return map_npy(path) if suffix_of(path.name) == NPY else _read_npz(path)


def array_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the array of a .npy or .npz file without reading its values; raise as `read_array` does."""
    if suffix_of(path.name) == NPY:
        return map_npy(path).shape
    with _open_npz(path) as (file, size):
        return _read_header(file, size)[0]


def open_npy_image(path: Path, axes: str) -> NDArray[Any]:
    """Return the image of a .npy file, [c, h, w].

    Raises:
        BadImageError: If `path` is a folder, pipe or device.
        OSError: If the file cannot be read.
        ValueError: If it does not hold one image.
    """
    check_regular(path)
    values = map_npy(path)
    if values.ndim not in (2, 3):
        raise ValueError(f"an array of shape {shape_text(values.shape)}; expected one image: [h, w] or three axes")
    return channels_first(values, choose_axes(values.shape, axes) if values.ndim == 3 else axes)


def _listing_of_array(name: str, values: NDArray[Any], axes: str) -> ImageListing:
    if values.ndim not in (3, 4):
        raise ValueError(
            f"an array of shape {shape_text(values.shape)}; expected images [n, c, h, w] or [n, h, w], or points [n, d]"
        )
    if len(values) > IMAGE_LIMIT:
        raise ValueError(f"{len(values):,} images: more than {IMAGE_LIMIT:,}")
    order = choose_axes(values.shape, axes) if values.ndim == 4 else axes
    names = [f"{name}[{index}]" for index in range(len(values))]
    return ImageListing(names, lambda index: channels_first(values[index], order))


def _list_pictures(path: Path, names: list[str]) -> ImageListing | None:
    """Return the pages of a TIFF whose first page Pillow reads fully, or None."""
    try:
        image = Image.open(path, formats=("TIFF",))
    except UnidentifiedImageError:
        return None
    if not is_read_fully(image):
        image.close()
        return None
    lock = threading.Lock()

    def open_page(index: int) -> Image.Image:
        with lock:
            image.seek(index)
            check_picture(image)
            if not is_read_fully(image):
                raise ValueError("a page of more bits or channels than the first one")
            return image.copy()

    return ImageListing(names, open_page)


def _list_pages(path: Path, names: list[str]) -> ImageListing:
    """Return the pages of a TIFF by tifffile."""

    tiff, lock = open_tiff(path), threading.Lock()  # a file that is opened anew finds all pages anew

    def open_page(index: int) -> NDArray[Any]:
        with lock, tiff_errors():
            return page_values(tiff.pages[index])

    return ImageListing(names, open_page)


def _list_tiff(path: Path, name: str) -> ImageListing:
    with path.open("rb") as file:
        count = count_pages(file, PAGE_LIMIT + 1)
    if count > PAGE_LIMIT:
        raise ValueError(f"a TIFF of more than {PAGE_LIMIT:,} pages; write them into a .npy file")
    names = [f"{name}[{index}]" for index in range(count)]
    return _list_pictures(path, names) or _list_pages(path, names)


def _list_images(path: Path, name: str, axes: str) -> ImageListing:
    if suffix_of(path.name) in TIFFS:
        return _list_tiff(path, name)
    return _listing_of_array(name, read_array(path), axes)


@contextmanager
def array_errors(data: str) -> Iterator[None]:
    """Raise what reading the file that `--data` names raises as UserError."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror}") from error
    except (*DECODING_ERRORS, zipfile.BadZipFile) as error:
        raise UserError(f"data={data}: {error_line(error)}") from error


def is_array_file(path: Path) -> bool:
    """Return whether `path` is a file with the suffix of an array or a TIFF."""
    return suffix_of(path.name) in ARRAY_SUFFIXES and path.is_file()


def array_source(path: Path, data: str, axes: str) -> Source:
    """Return the source of a file of images: an array, [n, c, h, w] by `axes` or [n, h, w], or the pages of a TIFF.

    Listing raises UserError if the file is damaged or holds anything else.
    """
    name = name_of_path(path)

    def list_images() -> ImageListing:
        with array_errors(data):
            return _list_images(path, name, axes)

    return Source(name[: -len(path.suffix)], hash_of([str(path.resolve()), *size_and_mtime(path)]), list_images)
