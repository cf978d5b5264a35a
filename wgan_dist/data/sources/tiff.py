"""TIFF images that Pillow reads in part or not at all: several channels of 16 bits or floats, or many channels."""

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MISSING = 'a TIFF that needs tifffile: pip install "wgan_dist[arrays]"'
# The first bytes of a TIFF in both orders of bytes, and those of a BigTIFF.
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, SAMPLE_FORMAT = 258, 277, 339
SIGNED = 2
# Modes of Pillow that keep values of more than 8 bits.
DEEP_MODES = ("I;16", "I;16B", "I;16L", "F")
# The compressions that are read: none, LZW, deflate by both of its numbers, and runs of bytes.
DEFLATE = (8, 32946)
COMPRESSIONS = (1, 5, *DEFLATE, 32773)
# The most values of an image: as many as the pixels of the largest grey picture.
VALUE_LIMIT = 1 << 26
# What tifffile raises for damaged files, and for compressions that need another library.
TIFF_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ImportError, zlib.error)

# It also writes of every damage, without a file's name.
logging.getLogger("tifffile").disabled = True


def is_tiff(file: Path | IO[bytes]) -> bool:
    """Return whether a file begins as a TIFF does."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return is_tiff(opened)
    file.seek(0)
    return file.read(4) in SIGNATURES


def count_pages(file: IO[bytes], limit: int) -> int:
    """Return the number of pages of a TIFF, at most `limit`; raise ValueError if it is none or is cut short."""
    start = file.read(16)
    if start[:4] not in SIGNATURES:
        raise ValueError("not a TIFF")
    order = "<" if start[:2] == b"II" else ">"
    is_big = b"+" in start[:4]
    # The numbers of a page: how many tags it has, the bytes of a tag, and where the next page is.
    number_of_tags, tag_size, place = ("Q", 20, "Q") if is_big else ("H", 12, "I")

    def read(form: str) -> int:
        return int(struct.unpack(order + form, file.read(struct.calcsize(order + form)))[0])

    count = 0
    file.seek(8 if is_big else 4)
    while (offset := read(place)) and count < limit:
        file.seek(offset)
        file.seek(read(number_of_tags) * tag_size, os.SEEK_CUR)
        count += 1
    return count


def is_read_fully(image: Image.Image) -> bool:
    """Return whether Pillow keeps every bit and channel of this TIFF, except for an unused fourth channel."""
    tags = getattr(image, "tag_v2", {})
    samples = tags.get(SAMPLES_PER_PIXEL, 1)
    keeps_channels = samples == len(image.getbands()) or (image.mode == "RGB" and samples == 4)
    is_signed = SIGNED in tags.get(SAMPLE_FORMAT, (1,))
    keeps_bits = image.mode in DEEP_MODES or max(tags.get(BITS_PER_SAMPLE, (1,))) <= 8
    return keeps_channels and keeps_bits and not is_signed


def _check_deflate(page: Any) -> None:
    """Raise ValueError if a part of a page unpacks to more than its size, which tifffile does not limit."""
    limit = int(np.prod(page.chunks, dtype=object)) * page.dtype.itemsize
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        page.parent.filehandle.seek(offset)
        unpacking = zlib.decompressobj()
        unpacking.decompress(page.parent.filehandle.read(size), limit)
        if unpacking.unconsumed_tail:
            raise ValueError(f"a part of a TIFF that unpacks to more than its {limit:,} bytes")


def _check_page(page: Any) -> None:
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
        raise ValueError("a TIFF page that is neither a picture nor an array of channels")
    if page.size > VALUE_LIMIT:
        raise ValueError(f"{page.size:,} values: more than {VALUE_LIMIT:,}")
    if page.compression not in COMPRESSIONS:
        raise ValueError(f"a TIFF of compression {int(page.compression)}; expected none, LZW, deflate or PackBits")
    if page.compression in DEFLATE:
        _check_deflate(page)


def page_values(page: Any) -> NDArray[Any]:
    """Return the values of a page of tifffile as [c, h, w]; raise ValueError for one that is not read."""
    with tiff_errors():
        _check_page(page)
        values: NDArray[Any] = page.asarray(maxworkers=1)
    if values.shape != page.shape:
        raise ValueError("a damaged TIFF")
    if values.ndim == 2:
        return values[None]
    return values.transpose(2, 0, 1) if page.axes == "YXS" else values


@contextmanager
def tiff_errors() -> Iterator[None]:
    """Turn what tifffile raises for damaged files into a ValueError."""
    try:
        yield
    except TIFF_ERRORS as error:
        raise ValueError(f"a TIFF that cannot be read: {error}") from None


def open_tiff(file: Path | IO[bytes]) -> Any:
    """Return a file opened by tifffile; raise ValueError if it is damaged or the library is not installed."""
    try:
        from tifffile import TiffFile
    except ImportError:
        raise ValueError(MISSING) from None
    with tiff_errors():
        return TiffFile(file)


def read_tiff(file: Path | IO[bytes]) -> NDArray[Any]:
    """Return the first page of a TIFF as [c, h, w]; raise ValueError if it cannot be read."""
    if not isinstance(file, Path):
        file.seek(0)
    with open_tiff(file) as tiff:
        return page_values(tiff.pages[0])
