"""Sets of pictures that look wrong are told, and ordinary ones are not."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data.files import opened
from wgan_dist.data.content import ContentCounter, ContentSummary, content_hashes, tell_copies_apart
from wgan_dist.data.datasets import ImageDataset

Pixels = NDArray[np.uint8]


def noise(count: int, channels: int = 1) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, channels, 20, 20), np.uint8)


def counted(pictures: Pixels) -> ContentSummary:
    counter = ContentCounter(pictures.shape[1])
    for picture in pictures:
        counter.add(picture)
    return counter.summary()


def with_constant(pictures: Pixels) -> Pixels:
    pictures[:2] = 7
    pictures[1] = 8
    return pictures


def with_empty(pictures: Pixels) -> Pixels:
    pictures[:3] = 255
    pictures[:3, :, 0, 0] = [[0], [1], [2]]
    return pictures


def with_copies(pictures: Pixels) -> Pixels:
    pictures[50:53] = pictures[:3]
    return pictures


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (noise(100), []),
        (with_constant(noise(100)), ["2 of 100 pictures are of one colour"]),
        (with_empty(noise(100)), ["3 of 100 pictures are nearly empty: 99 % of their pixels are equal"]),
        (with_copies(noise(100)), ["3 of 100 pictures are copies of another one"]),
        (with_copies(noise(400)), []),
        (noise(100) // 20, ["99 % of all pixels have levels 0 to 12 of 0 to 255: the pictures are nearly black; "]),
        (
            255 - noise(100) // 20,
            ["99 % of all pixels have levels 243 to 255 of 0 to 255: the pictures are nearly whit"],
        ),
        (
            120 + noise(100) // 20,
            ["99 % of all pixels have levels 120 to 132 of 0 to 255: the pictures are nearly of "],
        ),
        (
            noise(100, 3) | np.array([0, 0, 255], np.uint8)[:, None, None],
            ["channel 3 has the level 255 in every pixel"],
        ),
    ],
)
def test_each_thing_that_looks_wrong_is_told(pictures: Pixels, expected: list[str]) -> None:
    found = counted(pictures).warnings()
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_ordinary_pictures_are_not_suspected(digits: ImageDataset) -> None:
    assert digits.warnings == ()


def test_sixteen_bit_pictures_of_low_values_are_told_and_kept_in_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        levels = np.random.default_rng(number).integers(0, 3316, (20, 20)).astype(np.uint16)
        Image.fromarray(levels).save(folder / f"{number}.png")
    for _ in range(2):  # decoded, and from the cache
        (line,) = opened(tmp_path / "cache", folder, size=20).warnings
        assert "levels 0 to 12 of 0 to 255: the pictures are nearly black" in line


def test_hashes_are_equal_where_the_content_is() -> None:
    pictures = with_copies(noise(3000))
    hashes = content_hashes(pictures)
    assert (hashes[50:53] == hashes[:3]).all()
    assert len(set(hashes.tolist())) == 2997
    assert hashes.dtype == np.uint64


def test_copies_have_hashes_of_their_own_that_their_number_decides() -> None:
    some = np.array([7, 5, 7, 7, 9], np.uint64)
    told = tell_copies_apart(some)
    assert told[[0, 1, 4]].tolist() == [7, 5, 9]
    assert len(set(told.tolist())) == 5
    order = np.array([3, 4, 0, 1, 2])
    assert set(tell_copies_apart(some[order]).tolist()) == set(told.tolist())
    assert set(tell_copies_apart(np.array([7, 7], np.uint64)).tolist()) == {told[0], told[2]}
    assert tell_copies_apart(some[:0]).tolist() == []
