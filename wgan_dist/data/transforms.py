"""A decoded picture of any mode and size → uint8 pixels of the size the networks are made for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

GREY, RGB, RGBA = 1, 3, 4
MODES = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}
GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")


def natural_channels(picture: Image.Image) -> int:
    """1 for a grey picture, 3 for any other; transparency is laid over the background unless asked for."""
    return GREY if picture.mode in (*GREY_MODES, "LA", "La") else RGB


def eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8: Pillow's own conversion clips at 255."""
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):
        levels = np.asarray(picture).clip(0, 65535)
        eight = (levels // 257).astype(np.uint8)
        if not _has_alpha(picture):
            return Image.fromarray(eight)
        alpha = np.where(levels == picture.info["transparency"], 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([eight, alpha]))
    return picture


def _has_alpha(picture: Image.Image) -> bool:
    return picture.has_transparency_data


def _flatten(picture: Image.Image, background: str) -> Image.Image:
    """Alpha over a colour, given as six hexadecimal digits."""
    canvas = Image.new("RGBA", picture.size, f"#{background}")
    return Image.alpha_composite(canvas, picture.convert("RGBA"))


def to_pixels(picture: Image.Image, image_size: int, channels: int, background: str) -> NDArray[np.uint8]:
    """EXIF orientation, alpha, mode, then resize and centre crop: uint8 [channels, image_size, image_size].

    The shorter side becomes image_size (Lanczos down, bicubic up) and the longer one is cropped.
    """
    ImageOps.exif_transpose(picture, in_place=True)  # a copy of a large picture is what memory goes into
    picture = eight_bits(picture)
    if channels != RGBA and _has_alpha(picture):
        picture = _flatten(picture, background)
    picture = picture.convert(MODES[channels])
    method = Image.Resampling.LANCZOS if min(picture.size) > image_size else Image.Resampling.BICUBIC
    picture = ImageOps.fit(picture, (image_size, image_size), method)
    pixels = np.asarray(picture).reshape(image_size, image_size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
