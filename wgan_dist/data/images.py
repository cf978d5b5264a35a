"""All pictures of a run, decoded once into a memory-mapped array that every process shares."""

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.data.sources import BadImageError, Source, open_source, read
from wgan_dist.data.transform import GREY, natural_channels, to_pixels
from wgan_dist.errors import UserError
from wgan_dist.files import whole_file, write_text

# Part of every cache key: raise it when the transform changes.
CACHE_VERSION = 1
BAD_SHOWN = 10
# So many are enough to know that a folder holds something else.
BAD_LIMIT = 1000
# Pictures decoded ahead of the writer: bounds memory, whatever the size of the set.
CHUNK = 512

Notify = Callable[[int, int], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """`pixels` uint8 [n, channels, image_size, image_size]; `fingerprint` is the SHA-256 of all of them.

    `bad` says what is wrong with each picture that was left out.
    """

    name: str
    pixels: Pixels
    fingerprint: str
    bad: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def values(self) -> Pixels:
        """The samples, by the name that all kinds of data share."""
        return self.pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.pixels.shape[1:])


def _each(sources: list[Source], use: Callable[[Image.Image], object], notify: Notify) -> Iterator[object]:
    """`use(picture)` for every picture in order, or the BadImageError with the picture's name."""
    pictures = [(source, index) for source in sources for index in range(len(source.names))]

    def one(item: tuple[Source, int]) -> object:
        source, index = item
        try:
            return read(source, index, use)
        except BadImageError as error:
            return BadImageError(f"{source.names[index]!r}: {error}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(pictures), CHUNK):
            yield from pool.map(one, pictures[start : start + CHUNK])
            notify(min(start + CHUNK, len(pictures)), len(pictures))


def _until_hopeless(rows: Iterator[object], skip_bad_images: bool) -> Iterator[object]:
    """The same rows; raises UserError at BAD_LIMIT unreadable ones that are not to be skipped."""
    bad: list[str] = []
    for row in rows:
        if isinstance(row, BadImageError):
            bad.append(str(row))
            if len(bad) == BAD_LIMIT:
                _check_bad(tuple(bad), skip_bad_images)
        yield row


def _common_channels(sources: list[Source], skip_bad_images: bool) -> int:
    """Grey if every readable picture is, RGB otherwise; from the headers alone."""
    found = _until_hopeless(_each(sources, natural_channels, lambda done, total: None), skip_bad_images)
    return max((channels for channels in found if isinstance(channels, int)), default=GREY)


def _write_pixels(file: Path, rows: Iterator[object], shape: tuple[int, ...]) -> dict[str, object]:
    """Raw pixels into a file; returns what describes it."""
    digest, bad, count = hashlib.sha256(repr(shape).encode()), [], 0
    with file.open("wb") as out:
        for row in rows:
            if isinstance(row, BadImageError):
                bad.append(str(row))
                continue
            assert isinstance(row, np.ndarray)
            out.write(row.data)
            digest.update(row.data)
            count += 1
    return {"shape": [count, *shape], "fingerprint": digest.hexdigest(), "bad": bad}


def _build(
    sources: list[Source],
    pixels: Path,
    index: Path,
    size: int,
    channels: int | None,
    background: str,
    skip_bad_images: bool,
    notify: Notify,
) -> None:
    """Decode everything into `pixels`, then write `index`, whose presence says that `pixels` is complete."""
    depth = channels or _common_channels(sources, skip_bad_images)
    use = functools.partial(to_pixels, image_size=size, channels=depth, background=background)
    with whole_file(pixels) as partial:
        rows = _until_hopeless(_each(sources, use, notify), skip_bad_images)
        description = _write_pixels(partial, rows, (depth, size, size))
    write_text(index, json.dumps(description))


def _read_index(pixels: Path, index: Path) -> dict[str, Any] | None:
    """What describes the cached pixels, or None if there are none or they are not whole."""
    try:
        description: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        whole = pixels.stat().st_size == math.prod(description["shape"])
        return description if whole and {"fingerprint", "bad"} <= set(description) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_bad(bad: tuple[str, ...], skip_bad_images: bool) -> None:
    if bad and not skip_bad_images:
        shown = "; ".join(bad[:BAD_SHOWN])
        more = f"; and {len(bad) - BAD_SHOWN} more" if len(bad) > BAD_SHOWN else ""
        raise UserError(f"{len(bad)} unreadable images: {shown}{more} (--skip_bad_images leaves them out)")


def _map(pixels: Path, shape: list[int]) -> Pixels:
    if not shape[0]:
        return np.zeros(shape, np.uint8)
    return np.memmap(pixels, np.uint8, "r", shape=tuple(shape))


def open_images(
    data: tuple[str, ...],
    image_size: int,
    channels: int | None,
    background: str,
    skip_bad_images: bool,
    cache_dir: str,
    notify: Notify = lambda done, total: None,
) -> Images:
    """Every picture of the named sources, merged in order; decoded now unless the cache has them.

    `channels` None means grey if all pictures are, RGB otherwise. `notify(done, total)` is called while
    decoding. Raises UserError for a source that cannot be opened, for unreadable pictures unless
    `skip_bad_images`, and when none is left.
    """
    folder = Path(cache_dir).expanduser()
    sources = [open_source(each, folder) for each in data]
    parts = [CACHE_VERSION, [source.identity for source in sources], image_size, channels, background]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    pixels, index = folder / f"{key}.pixels", folder / f"{key}.json"
    description = _read_index(pixels, index)
    if description is None:
        _build(sources, pixels, index, image_size, channels, background, skip_bad_images, notify)
        description = json.loads(index.read_text(encoding="utf-8"))
    bad = tuple(description["bad"])
    _check_bad(bad, skip_bad_images)
    if not description["shape"][0]:
        raise UserError(f"data={','.join(data)}: no readable image")
    name = "+".join(source.name for source in sources)
    return Images(name, _map(pixels, description["shape"]), description["fingerprint"], bad)
