"""All pictures of a run, decoded once into a memory-mapped array that every process shares."""

import functools
import hashlib
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.data.sources.base import BadImageError, Pictures, Source, expanded, read
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import GREY, RGB, natural_channels, to_pixels
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PARTIAL_SUFFIX, atomic_file, make_folder, write_text

# Part of every cache key: raise it when the transform changes, or what is taken for a picture.
CACHE_VERSION = 2
BAD_SHOWN = 10
# So many are enough to know that a folder holds something else.
BAD_LIMIT = 1000
# Most pictures that a thread takes at a time: small ones are decoded faster than threads take turns.
TOGETHER = 32
# Pictures between two words on how far decoding is.
CHUNK = 512
SECONDS_BETWEEN_WORDS = 2.0

Notify = Callable[[int, int], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Wanted:
    """What is made of every picture; `channels` None: grey if all are, RGB otherwise."""

    image_size: int
    channels: int | None
    background: str
    skip_bad_images: bool


@dataclass(frozen=True)
class ImageDataset:
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


def decoding_voice(verb: str) -> Notify:
    """Says on standard error how far it is, at most every two seconds."""
    started = spoken = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal spoken
        if time.monotonic() - spoken >= SECONDS_BETWEEN_WORDS:
            spoken = time.monotonic()
            left = (spoken - started) / done * (total - done)
            print(f"{verb} {done:,} of {total:,} images, {left:.0f} s left", file=sys.stderr, flush=True)

    return say


def _in_order(use: Callable[[int], list[object]], starts: Iterable[int], threads: int) -> Generator[object]:
    """The rows of every lot in the order of the lots, of which a few are begun ahead: memory is bounded."""
    pool, begun = ThreadPoolExecutor(threads), deque[Future[list[object]]]()
    try:
        for start in starts:
            begun.append(pool.submit(use, start))
            if len(begun) > 2 * threads:
                yield from begun.popleft().result()
        for lot in begun:
            yield from lot.result()
    finally:
        pool.shutdown(cancel_futures=True)


def each_picture(listed: list[Pictures], use: Callable[[Image.Image], object], notify: Notify) -> Generator[object]:
    """`use(picture)` for every picture in order, or the BadImageError with the picture's name."""
    items = [(pictures, index) for pictures in listed for index in range(len(pictures.names))]
    cores = os.cpu_count() or 1
    together = max(1, min(TOGETHER, len(items) // (4 * cores)))

    def one(pictures: Pictures, index: int) -> object:
        try:
            return read(pictures, index, use)
        except BadImageError as error:
            return BadImageError(f"{pictures.names[index]!r}: {error}")

    def several(start: int) -> list[object]:
        return [one(*item) for item in items[start : start + together]]

    with closing(_in_order(several, range(0, len(items), together), cores)) as rows:
        for done, row in enumerate(rows, start=1):
            yield row
            if done % CHUNK == 0 or done == len(items):
                notify(done, len(items))


def _until_hopeless(rows: Iterator[object], skip_bad_images: bool) -> Iterator[object]:
    """The same rows; raises UserError at BAD_LIMIT unreadable ones that are not to be skipped."""
    bad: list[str] = []
    for row in rows:
        if isinstance(row, BadImageError):
            bad.append(str(row))
            if len(bad) == BAD_LIMIT:
                _check_bad(tuple(bad), skip_bad_images)
        yield row


def _pixels_if_grey(picture: Image.Image, image_size: int, background: str) -> Pixels | None:
    """None for a picture that is not grey."""
    return to_pixels(picture, image_size, GREY, background) if natural_channels(picture) == GREY else None


def _write_pixels(file: Path, rows: Iterator[object], shape: tuple[int, ...]) -> dict[str, object] | None:
    """Raw pixels into a file; returns what describes it, or None as soon as a row is None."""
    digest, bad, count = hashlib.sha256(repr(shape).encode()), [], 0
    with file.open("wb") as out:
        for row in rows:
            if row is None:
                return None
            if isinstance(row, BadImageError):
                bad.append(str(row))
                continue
            assert isinstance(row, np.ndarray)
            out.write(row.data)
            digest.update(row.data)
            count += 1
    return {"shape": [count, *shape], "fingerprint": digest.hexdigest(), "bad": bad}


def _decode(listed: list[Pictures], file: Path, wanted: _Wanted, notify: Notify) -> dict[str, object]:
    """All pictures as raw pixels into `file`; returns what describes it."""

    def write(use: Callable[..., object], channels: int) -> dict[str, object] | None:
        bound = functools.partial(use, image_size=wanted.image_size, background=wanted.background)
        with closing(each_picture(listed, bound, notify)) as rows:
            shape = (channels, wanted.image_size, wanted.image_size)
            return _write_pixels(file, _until_hopeless(rows, wanted.skip_bad_images), shape)

    # Grey until a picture is not, which most often is the first: the headers need no pass of their own.
    described = write(_pixels_if_grey, GREY) if wanted.channels is None else None
    if described is None:
        channels = wanted.channels or RGB
        described = write(functools.partial(to_pixels, channels=channels), channels)
    assert described is not None
    return described


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Of several processes one at a time; the system frees the lock of a killed one."""
    try:
        make_folder(lock.parent)
        held = FileLock(lock)
        held.acquire()
    except OSError as error:
        raise UserError(f"cannot write {lock}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # who waits for it finds the cache
        held.release()


def _build(sources: list[Source], pixels: Path, index: Path, wanted: _Wanted, notify: Notify) -> dict[str, Any]:
    """Decode everything into `pixels`, then write `index`, whose presence says that `pixels` is complete.

    Of several processes that want the same, one decodes, and the others wait for it.
    """
    with _alone(index.with_suffix(".lock")):
        if description := _read_index(pixels, index):
            return description
        for left in pixels.parent.glob(f".{pixels.stem}.*{PARTIAL_SUFFIX}"):
            left.unlink(missing_ok=True)  # of a killed process
        with atomic_file(pixels) as partial:
            description = _decode([source.pictures() for source in sources], partial, wanted, notify)
        write_text(index, json.dumps(description))
        return description


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
) -> ImageDataset:
    """Every picture of the named sources, merged in order; decoded now unless the cache has them.

    `channels` None means grey if all pictures are, RGB otherwise. `notify(done, total)` is called while
    decoding. Raises UserError for a source that cannot be opened, for unreadable pictures unless
    `skip_bad_images`, and when none is left.
    """
    folder = expanded(cache_dir, f"cache_dir={cache_dir}")
    sources = [open_source(each, folder) for each in data]
    parts = [CACHE_VERSION, [source.identity for source in sources], image_size, channels, background]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    pixels, index = folder / f"{key}.pixels", folder / f"{key}.json"
    wanted = _Wanted(image_size, channels, background, skip_bad_images)
    description = _read_index(pixels, index) or _build(sources, pixels, index, wanted, notify)
    bad = tuple(description["bad"])
    _check_bad(bad, skip_bad_images)
    if not description["shape"][0]:
        raise UserError(f"data={','.join(data)}: no readable image")
    name = "+".join(source.name for source in sources)
    return ImageDataset(name, _map(pixels, description["shape"]), description["fingerprint"], bad)
