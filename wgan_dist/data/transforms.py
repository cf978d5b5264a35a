"""The transform of a decoded image of any mode and size to uint8 pixels of the size that the networks take."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

GREY, RGB, RGBA = 1, 3, 4
MODES = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}
# How messages name the channels, and how `to_pixels` brings an image to its size.
CHANNEL_NAMES = {GREY: "grey", RGB: "RGB", RGBA: "RGBA"}
RESIZED = "shorter side resized, centre-cropped"
MODES_OF_16_BITS = ("I", "I;16", "I;16B", "I;16L")
GREY_MODES = ("1", "L", "F", "LA", "La", *MODES_OF_16_BITS)


def natural_channels(image: Image.Image) -> int:
    """Return 1 for a grey image and 3 for any other; transparency needs to be asked for."""
    return GREY if image.mode in GREY_MODES else RGB


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale an image of 16-bit grey to 8 bits, and return any other as it is: Pillow's conversion clips at 255."""
    if image.mode not in MODES_OF_16_BITS:
        return image
    levels = np.asarray(image).clip(0, 65535)
    scaled = (levels // 257).astype(np.uint8)
    if not image.has_transparency_data:
        return Image.fromarray(scaled)
    alpha = np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([scaled, alpha]))


def _flatten(image: Image.Image, background: str) -> Image.Image:
    """Lay a transparent image over a colour of six hexadecimal digits."""
    canvas = Image.new("RGBA", image.size, f"#{background}")
    return Image.alpha_composite(canvas, image.convert("RGBA"))


def to_pixels(image: Image.Image, image_size: int, channels: int, background: str) -> NDArray[np.uint8]:
    """Rotate an image by its EXIF orientation, convert, resize and centre-crop it.

    The shorter side becomes `image_size` (Lanczos to shrink, bicubic to enlarge), and the longer side is cropped.
    Unless `channels` is 4, transparency is laid over `background`, six hexadecimal digits.

    Returns:
        uint8 of shape [channels, image_size, image_size].
    """
    ImageOps.exif_transpose(image, in_place=True)  # a copy of a large image would double the memory
    image = to_eight_bits(image)
    if channels != RGBA and image.has_transparency_data:
        image = _flatten(image, background)
    image = image.convert(MODES[channels])
    method = Image.Resampling.LANCZOS if min(image.size) > image_size else Image.Resampling.BICUBIC
    image = ImageOps.fit(image, (image_size, image_size), method)
    pixels = np.asarray(image).reshape(image_size, image_size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
