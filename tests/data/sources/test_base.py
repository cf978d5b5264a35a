import io
import struct
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.sources.listings import opened
from wgan_dist.data.sources.base import BadImageError, ImageListing, open_image_bytes, read_image
from wgan_dist.data.transforms import to_pixels


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def in_memory(content: bytes) -> ImageListing:
    return ImageListing(["one"], lambda index: open_image_bytes(content))


COLOURS = Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8))

EXIF = Image.Exif()

EXIF[0x0112] = 6

ENCODED = [
    encoded(COLOURS, "PNG", exif=EXIF),
    encoded(COLOURS.convert("P"), "PNG", transparency=bytes(range(200))),
    encoded(COLOURS, "JPEG", exif=EXIF),
    encoded(COLOURS.convert("CMYK"), "JPEG", progressive=True),
    encoded(COLOURS, "WEBP", exif=EXIF),
    encoded(COLOURS.convert("P"), "BMP"),
]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a PNG, JPEG, WebP or BMP image"),
        (b"not an image", "not a PNG, JPEG, WebP or BMP image"),
        (ENCODED[0][:20], "."),
        *((content[: len(content) // 2], ".") for content in ENCODED),
    ],
)
def test_truncated_images_and_other_files_are_unreadable(content: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        read_image(in_memory(content), 0, lambda image: image.load())


def test_an_image_of_another_format_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(COLOURS, "GIF"))
    with pytest.raises(BadImageError, match="not a PNG, JPEG, WebP or BMP image"):
        read_image(opened(tmp_path), 0, lambda image: image.load())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ENCODED), st.data(), st.sampled_from([1, 3, 4]))
def test_damage_makes_an_image_unreadable_or_different(content: bytes, data: st.DataObject, channels: int) -> None:
    damaged = bytearray(content)
    for place, byte in data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))).items():
        damaged[place] = byte
    use = partial(to_pixels, image_size=8, channels=channels, background="ffffff")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # damage also makes huge images, which take long
        with suppress(BadImageError):
            assert read_image(in_memory(bytes(damaged)), 0, use).shape == (channels, 8, 8)


def test_an_image_of_too_many_pixels_is_unreadable() -> None:
    with pytest.raises(BadImageError, match="pixels"):
        read_image(in_memory(png_header(100_000, 100_000)), 0, lambda image: image.load())
