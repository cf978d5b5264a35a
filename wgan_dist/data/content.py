"""The content of a data set's pictures: levels, empty pictures and copies, and warnings where they look wrong."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wgan_dist.data.value_ranges import ValueRanges, choose_levels
from wgan_dist.utils.images import to_uint8
from wgan_dist.utils.levels import FLOAT32, UINT8, UINT16

# The samples that are read at a time, so that memory stays bounded.
CHUNK = 1024
Hashes = NDArray[np.uint64]

LEVELS, COLOURS = 256, 3
# A picture is nearly empty if this share of its pixels has one colour.
EMPTY_SHARE = 0.99
# Nearly empty pictures and copies are told from this share of the set on: a few of them are usual.
NOTABLE_SHARE = 0.01
# The levels of a set are too few if the middle 99 % of its values span less than a tenth of the levels.
RANGE_SHARE, LEAST_SPAN = 0.99, LEVELS // 10
# What is said where the levels are too few, by the type of the values.
ADVICE = {
    UINT8: "; --levels=auto stretches each channel's range",
    UINT16: "; they are read as 0 to 65,535, and --levels=auto stretches each channel's range",
    FLOAT32: "; --levels=robust leaves outliers out of the range",
}


def _content_hash(sample: NDArray[Any]) -> int:
    """Return the first 64 bits of the SHA-256 of a sample's values: equal samples have equal hashes."""
    return int.from_bytes(hashlib.sha256(sample.tobytes()).digest()[:8], "little")


def content_hashes(values: NDArray[Any]) -> Hashes:
    """Return a hash of the content of each sample in `values` [n, …], uint64 [n]; equal samples have equal hashes.

    What is chosen by these hashes depends neither on the order of a data set nor on its names.
    """
    chunks = (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
    hashes = (_content_hash(sample) for chunk in chunks for sample in chunk)
    return np.fromiter(hashes, np.uint64, len(values))


def tell_copies_apart(hashes: Hashes) -> Hashes:
    """Return hashes uint64 [n] in which the first copy of a sample keeps its hash, and every further one has another.

    The n-th copy has the same hash in every set, so that a random choice by these hashes is one of samples, and not of
    the values that they have.
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))[: len(hashes)]
    copies = np.empty(len(hashes), np.uint64)
    copies[order] = np.arange(len(hashes)) - np.repeat(starts, np.diff([*starts, len(hashes)]))
    return hashes + copies * np.uint64(0x9E3779B97F4A7C15)  # the odd constant of SplitMix64


@dataclass(frozen=True)
class ContentSummary:
    """The content of the pictures of a set.

    Attributes:
        count: The number of pictures.
        histogram: For each channel, the number of pixels of each of the 256 levels.
        constant: The number of pictures that are of one colour.
        nearly_empty: The number of other pictures of which 99 % of the pixels or more are of one colour.
        distinct: The number of pictures that differ from one another.
    """

    count: int
    histogram: list[list[int]]
    constant: int
    nearly_empty: int
    distinct: int

    def level_range(self, channel: int) -> tuple[int, int]:
        """Return the lowest and the highest level of the middle 99 % of a channel's pixels."""
        counts = np.cumsum(self.histogram[channel])
        tail = (1.0 - RANGE_SHARE) / 2 * counts[-1]
        return int(np.searchsorted(counts, tail, "right")), int(np.searchsorted(counts, counts[-1] - tail))

    def warnings(self, dtype: str = UINT8, levels_are_chosen: bool = False) -> list[str]:
        """Return a line for each thing that makes training on these pictures pointless or biased.

        `dtype` is the type of their values, of which the levels are 256 steps: of the whole range of integers, and from
        the least to the greatest of other numbers. Nothing is said of levels that the user has chosen.
        """
        of_levels = [] if levels_are_chosen else self._level_warnings(ADVICE[dtype])
        return [*of_levels, *self._picture_warnings()]

    def _level_warnings(self, advice: str) -> Iterator[str]:
        colours = self.histogram[:COLOURS]  # a fourth channel is transparency, which may well have one level
        ranges = [self.level_range(channel) for channel in range(len(colours))]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        if high - low < LEAST_SPAN:
            shade = "black" if high < LEAST_SPAN else "white" if low >= LEVELS - LEAST_SPAN else "of one shade"
            yield (
                f"99 % of all pixels have levels {low} to {high} of 0 to 255: the pictures are nearly {shade}{advice}"
            )
            return
        for channel, counts in enumerate(colours, start=1):
            if np.count_nonzero(counts) == 1:
                yield f"channel {channel} has the level {int(np.argmax(counts))} in every pixel of every picture"

    def _picture_warnings(self) -> Iterator[str]:
        if self.constant:
            yield f"{self.constant:,} of {self.count:,} pictures are of one colour"
        if self.nearly_empty >= NOTABLE_SHARE * self.count:
            yield f"{self.nearly_empty:,} of {self.count:,} pictures are nearly empty: 99 % of their pixels are equal"
        if (copies := self.count - self.distinct) >= NOTABLE_SHARE * self.count:
            yield f"{copies:,} of {self.count:,} pictures are copies of another one"


@dataclass
class ContentCounter:
    """Counts what the pictures of a set contain while they are decoded, one after another."""

    channels: int
    constant: int = 0
    nearly_empty: int = 0
    hashes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.histogram = np.zeros((self.channels, LEVELS), np.int64)

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Count a picture uint8 [channels, height, width]."""
        counts = np.stack([np.bincount(channel.reshape(-1), minlength=LEVELS) for channel in pixels])
        self.histogram += counts
        commonest = int(counts.max(axis=1).min())
        size = pixels[0].size
        self.constant += commonest == size
        self.nearly_empty += EMPTY_SHARE * size <= commonest < size
        self.hashes.append(_content_hash(pixels))

    def summary(self) -> ContentSummary:
        """Return what the pictures so far contain."""
        distinct = len(set(self.hashes))
        return ContentSummary(len(self.hashes), self.histogram.tolist(), self.constant, self.nearly_empty, distinct)


def _eight_bits(values: NDArray[Any], ranges: ValueRanges) -> NDArray[np.uint8]:
    """Return values [n, c, h, w] as 256 levels: of the whole range of integers, or of the range of other numbers."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    scaled = choose_levels("auto", values.dtype.name, ranges).scale(values)
    return to_uint8(torch.from_numpy(scaled)).numpy()


def count_content(values: NDArray[Any], ranges: ValueRanges) -> ContentSummary:
    """Return what the pictures of values [n, c, h, w] contain, seen in 256 levels."""
    counter = ContentCounter(values.shape[1])
    for start in range(0, len(values), CHUNK):
        for picture in _eight_bits(values[start : start + CHUNK], ranges):
            counter.add(picture)
    return counter.summary()
