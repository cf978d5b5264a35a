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
from wgan_dist.config.image_size import square
from wgan_dist.data.sources.base import BadImageError, ImageListing, OpenedImage, open_image_bytes, read_image
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
    encoded(COLOURS, "GIF"),
    encoded(COLOURS, "TIFF", exif=EXIF),
    encoded(COLOURS, "TIFF", compression="tiff_lzw"),
]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a PNG, JPEG, WebP, BMP, GIF or TIFF image"),
        (b"not an image", "not a PNG, JPEG, WebP, BMP, GIF or TIFF image"),
        (ENCODED[0][:20], "."),
        *((content[: len(content) // 2], ".") for content in ENCODED),
    ],
)
def test_truncated_images_and_other_files_are_unreadable(content: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        read_image(in_memory(content), 0, lambda image: image.load())


@pytest.mark.parametrize(("name", "advice"), [("a.png", ""), ("a.HEIC", "; convert it to JPEG")])
def test_an_image_of_another_format_is_unreadable(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded(COLOURS, "PPM"))
    with pytest.raises(BadImageError, match=f"^not a PNG, JPEG, WebP, BMP, GIF or TIFF image{advice}$"):
        read_image(opened(tmp_path), 0, lambda image: image.load())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ENCODED), st.data(), st.sampled_from([1, 3, 4]))
def test_damage_makes_an_image_unreadable_or_different(content: bytes, data: st.DataObject, channels: int) -> None:
    damaged = bytearray(content)
    for place, byte in data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))).items():
        damaged[place] = byte

    def use(image: OpenedImage) -> tuple[int, ...]:
        if isinstance(image, np.ndarray):
            return (channels, 8, 8)  # a damaged TIFF may be one of other channels
        return to_pixels(image, square(8), channels, "ffffff").shape

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # damage also makes huge images, which take long
        with suppress(BadImageError):
            assert read_image(in_memory(bytes(damaged)), 0, use) == (channels, 8, 8)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_the_first_frame_of_several_counts(format: str, options: dict[str, str]) -> None:
    frames = [Image.new("L", (5, 3), level) for level in (10, 200)]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    found = read_image(in_memory(content), 0, partial(to_pixels, size=square(4), channels=1, background="ffffff"))
    assert (found == 10).all()


def test_a_turned_tiff_is_turned_once() -> None:
    """Pillow turns a TIFF when it loads it, and JPEG and PNG files not at all."""
    use = partial(to_pixels, size=square(12), channels=3, background="ffffff")
    pixels = [read_image(in_memory(encoded(COLOURS, format, exif=EXIF)), 0, use) for format in ("PNG", "TIFF")]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != np.asarray(COLOURS).transpose(2, 0, 1)).any()


def test_an_image_of_too_many_pixels_is_unreadable() -> None:
    with pytest.raises(BadImageError, match="pixels"):
        read_image(in_memory(png_header(100_000, 100_000)), 0, lambda image: image.load())
