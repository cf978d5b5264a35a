"""The cache of decoded pixels: all images of a run are decoded once into a file, which every process maps."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.data.content import ContentCounter, ContentSummary, count_content
from wgan_dist.data.decoding import ProgressCallback, map_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.base import BadImageError, ImageListing, OpenedImage, Source, read_image
from wgan_dist.data.sources.other_files import add_up
from wgan_dist.data.transforms import (
    GREY,
    PixelFormat,
    fits_channels,
    lossy_conversions,
    natural_format,
    to_values,
)
from wgan_dist.data.value_ranges import ValueRanges, value_ranges
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PRIVATE, atomic_file, is_partial, make_folder, write_text
from wgan_dist.utils.levels import UINT8

# A part of every cache key. Raise it when the transform, the formats or the choice of a source's images change.
CACHE_VERSION = 6
BAD_SHOWN = 10
# Decoding stops at so many unreadable images: the source holds something else.
BAD_LIMIT = 1000

Pixels = NDArray[Any]


def check_unreadable(errors: list[str], skip_bad_images: bool) -> None:
    """Raise UserError if there are unreadable images that are not to be skipped."""
    if errors and not skip_bad_images:
        more = f"; and {len(errors) - BAD_SHOWN} more" if len(errors) > BAD_SHOWN else ""
        raise UserError(
            f"{len(errors)} unreadable images: {'; '.join(errors[:BAD_SHOWN])}{more} "
            "(--skip_bad_images leaves them out)"
        )


def _check_channels(listing: ImageListing, channels: int) -> None:
    """Check the channels of the first image, if it is an array: all images of one array have as many.

    Raises:
        UserError: If it cannot be kept in `channels`.
    """

    def check(image: OpenedImage) -> None:
        if isinstance(image, np.ndarray) and not fits_channels(image, channels):
            raise UserError(
                f"channels={channels}: {listing.names[0]!r} has {len(image)} channels; "
                f"expected channels={len(image)} or auto"
            )

    with suppress(BadImageError):  # decoding reports it
        if listing.names:
            read_image(listing, 0, check)


@contextmanager
def _exclusive(lock_file: Path) -> Iterator[None]:
    """Hold a lock between processes; the system releases it if the process is killed."""
    try:
        make_folder(lock_file.parent)
        lock = FileLock(lock_file, mode=PRIVATE)
        lock.acquire()
    except OSError as error:
        raise UserError(f"cannot write {lock_file}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock_file.unlink()  # a process that waits for it finds the cache
        lock.release()


@dataclass(frozen=True)
class CachedPixels:
    """The values [n, channels, height, width] of a set in uint8, uint16 or float32, memory-mapped.

    Attributes:
        fingerprint: The SHA-256 of the shape, of a type other than uint8, and of all values.
        ranges: The ranges of the values, None if there is no image.
        content: What the images contain.
        rows: The numbers of the images [n] among all images of the sources, unreadable ones included.
        bad: A message for each unreadable image that was left out.
        left_out: The number of files that are no images by their names, by suffix.
        notes: A line for each way in which images lost precision when they were read.
    """

    pixels: Pixels
    fingerprint: str
    ranges: ValueRanges | None
    content: ContentSummary
    rows: NDArray[np.int64]
    bad: list[str]
    left_out: dict[str, int]
    notes: list[str]


@dataclass(frozen=True)
class PixelCache:
    """The cached pixels of all images of `sources`, read as `settings` say.

    Two files in `folder`, which are for their owner alone: raw pixels, and an index in JSON that is written last, so
    that its presence says that the pixels are complete. The index holds their shape, their fingerprint, what the images
    contain, the errors and numbers of unreadable images, and the number of files that are no images by suffix.
    """

    folder: Path
    sources: list[Source]
    settings: ImageSettings

    def _file(self, suffix: str) -> Path:
        identities = [source.identity for source in self.sources]
        settings = self.settings
        parts = [CACHE_VERSION, identities, str(settings.size), settings.channels, settings.background, settings.resize]
        parts.append(settings.axes)
        return self.folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}{suffix}"

    def load(self, progress: ProgressCallback) -> CachedPixels:
        """Return the cached images. They are decoded unless they are cached; of several processes, one decodes."""
        index = self._read_index() or self._build(progress)
        shape = tuple(index["shape"])
        dtype, is_empty = index["dtype"], not shape[0]
        pixels = np.zeros(shape, dtype) if is_empty else np.memmap(self._file(".pixels"), dtype, "r", shape=shape)
        return CachedPixels(
            pixels,
            index["fingerprint"],
            None if is_empty else ValueRanges(**index["ranges"]),
            ContentSummary(**index["content"]),
            np.delete(np.arange(shape[0] + len(index["bad"])), index["bad_rows"]),
            index["bad"],
            index["left_out"],
            index["notes"],
        )

    def _read_index(self) -> dict[str, Any] | None:
        """Return the index, or None if the cache is missing or incomplete."""
        try:
            index: dict[str, Any] = json.loads(self._file(".json").read_text(encoding="utf-8"))
            size = math.prod(index["shape"]) * np.dtype(index["dtype"]).itemsize
            is_complete = self._file(".pixels").stat().st_size == size
            parts = {"fingerprint", "ranges", "content", "bad", "bad_rows", "left_out", "notes"}
            return index if is_complete and parts <= set(index) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _build(self, progress: ProgressCallback) -> dict[str, Any]:
        pixels_file = self._file(".pixels")
        with _exclusive(self._file(".lock")):
            if index := self._read_index():
                return index
            for partial in filter(is_partial, self.folder.glob(f".{pixels_file.stem}.*")):
                partial.unlink(missing_ok=True)  # of a killed process
            with atomic_file(pixels_file, PRIVATE) as partial:
                index = self._decode(partial, progress)
            write_text(self._file(".json"), json.dumps(index), PRIVATE)
            return index

    def _decode(self, file: Path, progress: ProgressCallback) -> dict[str, Any]:
        """Write the values into `file` and return the index."""
        listings = [source.list_images() for source in self.sources]
        if self.settings.channels is not None and not self.settings.skip_bad_images:
            for listing in listings:
                _check_channels(listing, self.settings.channels)
        # Images are decoded in the format of the first one until one needs a wider format, which seldom happens: a pass
        # over all headers costs more.
        pixel_format, written = PixelFormat(self.settings.channels or GREY, UINT8), None
        is_known = False
        while written is None:
            found = self._write(listings, pixel_format, is_known, file, progress)
            if isinstance(found, PixelFormat):
                pixel_format, is_known = found, True
            else:
                written = found
        left_out = dict(add_up(listing.left_out for listing in listings))
        notes = set[str](written["notes"]).union(*(listing.notes for listing in listings))
        beside = {"left_out": left_out, "notes": sorted(notes)}
        return written | self._describe(file, tuple(written["shape"]), pixel_format) | beside

    def _describe(self, file: Path, shape: tuple[int, ...], pixel_format: PixelFormat) -> dict[str, Any]:
        """Return the parts of the index that are computed from all values."""
        dtype = pixel_format.dtype
        if not shape[0]:
            content = ContentCounter(pixel_format.channels).summary()
            return {"dtype": dtype, "ranges": None, "content": dataclasses.asdict(content)}
        values = np.memmap(file, dtype, "r", shape=shape)
        ranges = value_ranges(values)
        content = count_content(values, ranges)
        return {"dtype": dtype, "ranges": dataclasses.asdict(ranges), "content": dataclasses.asdict(content)}

    def _write(
        self,
        listings: list[ImageListing],
        pixel_format: PixelFormat,
        is_known: bool,
        file: Path,
        progress: ProgressCallback,
    ) -> dict[str, Any] | PixelFormat:
        """Write the values and return the index, or the format that holds an image as well which this one does not.

        Unless `is_known`, the format is that of the first image.
        """
        settings = self.settings

        def convert(image: Image.Image | NDArray[Any]) -> NDArray[Any] | PixelFormat:
            needed = natural_format(image)
            if settings.channels is not None:
                needed = PixelFormat(settings.channels, needed.dtype)
            needed = pixel_format.with_image(needed) if is_known else needed
            if needed != pixel_format:
                return needed
            notes.update(lossy_conversions(image, pixel_format.channels, settings.background))
            return to_values(image, settings, pixel_format)

        shape, dtype = (pixel_format.channels, *settings.size), pixel_format.dtype
        kind = shape if dtype == UINT8 else (shape, dtype)
        sha256, errors, notes = hashlib.sha256(repr(kind).encode()), dict[int, str](), set[str]()
        with closing(map_images(listings, convert, progress)) as results, file.open("wb") as output:
            for row, values in enumerate(results):
                if isinstance(values, PixelFormat):
                    return values
                if isinstance(values, BadImageError):
                    errors[row] = str(values)
                    if len(errors) == BAD_LIMIT:
                        check_unreadable([*errors.values()], settings.skip_bad_images)
                    continue
                output.write(values.data)
                sha256.update(values.data)
        bad = {"bad": [*errors.values()], "bad_rows": [*errors]}
        count = sum(map(len, listings)) - len(errors)
        return {"shape": [count, *shape], "fingerprint": sha256.hexdigest(), "notes": sorted(notes)} | bad
