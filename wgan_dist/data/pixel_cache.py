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

from wgan_dist.data.content import ContentCounter, ContentSummary
from wgan_dist.data.decoding import ProgressCallback, map_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.base import BadImageError, ImageListing, Source
from wgan_dist.data.sources.other_files import add_up
from wgan_dist.data.transforms import GREY, RGB, natural_channels, to_pixels
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PRIVATE, atomic_file, is_partial, make_folder, write_text

# A part of every cache key. Raise it when the transform, the formats or the choice of a source's images change.
CACHE_VERSION = 4
BAD_SHOWN = 10
# Decoding stops at so many unreadable images: the source holds something else.
BAD_LIMIT = 1000

Pixels = NDArray[np.uint8]


def check_unreadable(errors: list[str], skip_bad_images: bool) -> None:
    """Raise UserError if there are unreadable images that are not to be skipped."""
    if errors and not skip_bad_images:
        more = f"; and {len(errors) - BAD_SHOWN} more" if len(errors) > BAD_SHOWN else ""
        raise UserError(
            f"{len(errors)} unreadable images: {'; '.join(errors[:BAD_SHOWN])}{more} "
            "(--skip_bad_images leaves them out)"
        )


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
    """The pixels uint8 [n, channels, height, width] of a set, memory-mapped.

    Attributes:
        fingerprint: The SHA-256 of the shape and all pixels.
        content: What the images contain.
        bad: A message for each unreadable image that was left out.
        left_out: The number of files that are no images by their names, by suffix.
    """

    pixels: Pixels
    fingerprint: str
    content: ContentSummary
    bad: list[str]
    left_out: dict[str, int]


@dataclass(frozen=True)
class PixelCache:
    """The cached pixels of all images of `sources`, read as `settings` say.

    Two files in `folder`, which are for their owner alone: raw pixels, and an index in JSON that is written last, so
    that its presence says that the pixels are complete. The index holds their shape, their fingerprint, what the images
    contain, the errors of unreadable images, and the number of files that are no images by suffix.
    """

    folder: Path
    sources: list[Source]
    settings: ImageSettings

    def _file(self, suffix: str) -> Path:
        identities = [source.identity for source in self.sources]
        settings = self.settings
        parts = [CACHE_VERSION, identities, str(settings.size), settings.channels, settings.background, settings.resize]
        return self.folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}{suffix}"

    def load(self, progress: ProgressCallback) -> CachedPixels:
        """Return the cached images. They are decoded unless they are cached; of several processes, one decodes."""
        index = self._read_index() or self._build(progress)
        shape = tuple(index["shape"])
        is_empty = not shape[0]
        pixels = np.zeros(shape, np.uint8) if is_empty else np.memmap(self._file(".pixels"), np.uint8, "r", shape=shape)
        return CachedPixels(
            pixels, index["fingerprint"], ContentSummary(**index["content"]), index["bad"], index["left_out"]
        )

    def _read_index(self) -> dict[str, Any] | None:
        """Return the index, or None if the cache is missing or incomplete."""
        try:
            index: dict[str, Any] = json.loads(self._file(".json").read_text(encoding="utf-8"))
            is_complete = self._file(".pixels").stat().st_size == math.prod(index["shape"])
            parts = {"fingerprint", "content", "bad", "left_out"}
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
        """Write the pixels into `file` and return the index."""
        listings = [source.list_images() for source in self.sources]
        # Images are decoded as grey until one is not, which usually is the first: a pass over the headers costs more.
        index = self._write(listings, self.settings.channels, file, progress) or self._write(
            listings, RGB, file, progress
        )
        assert index is not None
        return index | {"left_out": dict(add_up(listing.left_out for listing in listings))}

    def _write(
        self, listings: list[ImageListing], channels: int | None, file: Path, progress: ProgressCallback
    ) -> dict[str, Any] | None:
        """Write the pixels and return the index. If `channels` is None, return None as soon as an image is not grey."""
        settings = self.settings

        def convert(image: Image.Image) -> Pixels | None:
            if channels is None and natural_channels(image) != GREY:
                return None
            return to_pixels(image, settings.size, channels or GREY, settings.background, settings.resize)

        shape = (channels or GREY, *settings.size)
        sha256, errors = hashlib.sha256(repr(shape).encode()), list[str]()
        counter = ContentCounter(shape[0])
        with closing(map_images(listings, convert, progress)) as results, file.open("wb") as output:
            for pixels in results:
                if pixels is None:
                    return None
                if isinstance(pixels, BadImageError):
                    errors.append(str(pixels))
                    if len(errors) == BAD_LIMIT:
                        check_unreadable(errors, settings.skip_bad_images)
                    continue
                output.write(pixels.data)
                sha256.update(pixels.data)
                counter.add(pixels)
        content = counter.summary()
        return {
            "shape": [content.count, *shape],
            "fingerprint": sha256.hexdigest(),
            "content": dataclasses.asdict(content),
            "bad": errors,
        }
