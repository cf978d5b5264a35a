"""A JPEG of very many scans is refused without being decoded; scans of what is embedded or appended do not count."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.test_base import in_memory
from wgan_dist.data.sources.base import BadImageError, read_image
from wgan_dist.data.sources.jpeg_scans import MAX_MARKERS, MAX_SCANS, has_too_many_scans

SCAN, END = b"\xff\xda", b"\xff\xd9"


def progressive() -> bytes:
    buffer = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(levels).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def with_scans(content: bytes, count: int) -> bytes:
    """Repeat the last scan until there are `count`."""
    last = content[content.rfind(SCAN) : -2]
    return content[:-2] + last * (count - content.count(SCAN)) + END


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def test_a_jpeg_of_very_many_scans_is_unreadable() -> None:
    assert progressive().count(SCAN) == MAX_SCANS // 5
    size = read_image(in_memory(with_scans(progressive(), MAX_SCANS)), 0, lambda image: (image.load(), image.size)[1])
    assert size == (40, 40)
    bomb = with_scans(progressive(), MAX_SCANS + 1)
    with pytest.raises(BadImageError, match=f"^a JPEG of more than {MAX_SCANS} scans$"):
        read_image(in_memory(bomb), 0, lambda image: pytest.fail("it was about to be decoded"))


def test_scans_of_a_preview_and_of_what_follows_do_not_count() -> None:
    content = progressive()
    many = SCAN * (MAX_SCANS + 1)
    assert not has_too_many_scans(content[:2] + segment(0xE1, END + many) + content[2:])
    assert not has_too_many_scans(content + many)


@pytest.mark.parametrize("hiding", [segment(0xFE, END), b"\xff\x01\xff\xff", b"\xff\xff\xff", b"\xff\x01"])
def test_scans_cannot_be_hidden(hiding: bytes) -> None:
    bomb = with_scans(progressive(), MAX_SCANS + 1)
    last = bomb.rfind(SCAN)
    assert has_too_many_scans(bomb[:last] + hiding + bomb[last:])
    first = bomb.find(SCAN)
    assert has_too_many_scans(bomb[:first] + hiding + bomb[first:])


def test_very_many_segments_are_refused() -> None:
    comment = segment(0xFE, SCAN)
    content = progressive()
    assert not has_too_many_scans(content[:2] + comment * (MAX_MARKERS // 2) + content[2:])
    assert has_too_many_scans(content[:2] + comment * MAX_MARKERS + content[2:])
