"""Decoding of all images of several listings, in order and by several threads."""

import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

from wgan_dist.data.sources.base import BadImageError, ImageListing, OpenedImage, read_image
from wgan_dist.utils.console import print_to_stderr
from wgan_dist.utils.remaining_time import RemainingTime, duration_text

# The most images in one task of a thread: small images are decoded faster than threads switch.
IMAGES_PER_TASK = 32
# The images between two calls of the progress callback.
PROGRESS_EVERY = 512
SECONDS_BETWEEN_LINES = 2.0

# A function of the number of images done and of all images.
ProgressCallback = Callable[[int, int], None]
Result = TypeVar("Result")


def progress_reporter(verb: str) -> ProgressCallback:
    """Return a callback that prints the progress and the time left to standard error, at most every two seconds."""
    printed = time.monotonic()
    remaining_time = RemainingTime(printed, 0)

    def report(done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            left = remaining_time.estimate(printed, done, total)
            print_to_stderr(f"{verb} {done:,} of {total:,} images, {duration_text(left)} left")

    return report


@contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Ignore what Pillow warns of while images are read, in all threads.

    It warns without an image's name of damaged EXIF data, which are not needed, and of large images, which are refused
    with their names.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _map_in_order(
    function: Callable[[int], list[Result]], arguments: Iterable[int], threads: int
) -> Generator[Result, None, None]:
    """Yield the elements of `function(argument)` in order; a few calls run ahead, so that memory stays bounded."""
    pool, running = ThreadPoolExecutor(threads), deque[Future[list[Result]]]()
    try:
        for argument in arguments:
            running.append(pool.submit(function, argument))
            if len(running) > 2 * threads:
                yield from running.popleft().result()
        for future in running:
            yield from future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_images(
    listings: list[ImageListing], function: Callable[[OpenedImage], Result], progress: ProgressCallback
) -> Generator[Result | BadImageError, None, None]:
    """Yield `function(image)` for every image in order, or a BadImageError with the image's name."""
    images = [(listing, index) for listing in listings for index in range(len(listing))]
    threads = os.cpu_count() or 1
    per_task = max(1, min(IMAGES_PER_TASK, len(images) // (4 * threads)))

    def apply(listing: ImageListing, index: int) -> Result | BadImageError:
        try:
            return read_image(listing, index, function)
        except BadImageError as error:
            return BadImageError(f"{listing.names[index]!r}: {error}")

    def run_task(start: int) -> list[Result | BadImageError]:
        return [apply(*image) for image in images[start : start + per_task]]

    numbers = range(0, len(images), per_task)
    with without_pillow_warnings(), closing(_map_in_order(run_task, numbers, threads)) as results:
        for done, result in enumerate(results, start=1):
            yield result
            if done % PROGRESS_EVERY == 0 or done == len(images):
                progress(done, len(images))
