"""The transform of a decoded image of any mode and size to uint8 pixels of the size that the networks take."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

from wgan_dist.config.image_size import ImageSize

GREY, RGB, RGBA = 1, 3, 4
MODES = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}
# How messages name the channels, and how the values of --resize bring an image to its size.
CHANNEL_NAMES = {GREY: "grey", RGB: "RGB", RGBA: "RGBA"}
RESIZED = {
    "crop": "resized to cover the size, centre-cropped",
    "pad": "resized to fit into the size, padded",
    "stretch": "stretched to the size",
    "none": "not resized",
}
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


def _resize(image: Image.Image, size: ImageSize, resize: str, background: str) -> Image.Image:
    """Bring an image to its size, by Lanczos where it shrinks and bicubic interpolation where it grows."""
    width, height = image.size
    if resize == "none":
        if (height, width) != size:
            raise ValueError(f"{height}×{width} pixels, expected {size.in_words} with resize=none")
        return image
    target, scales = (size.width, size.height), (size.width / width, size.height / height)
    scale = min(scales) if resize == "pad" else max(scales)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    if resize == "stretch":
        return image.resize(target, method)
    if resize == "pad":
        colour = ImageColor.getcolor(f"#{background}", image.mode)
        return ImageOps.pad(image, target, method, color=colour)
    return ImageOps.fit(image, target, method)


def to_pixels(
    image: Image.Image, size: ImageSize, channels: int, background: str, resize: str = "crop"
) -> NDArray[np.uint8]:
    """Rotate an image by its EXIF orientation, convert it and bring it to a size.

    With `resize` crop, it is resized to cover the size and its middle is cut out; with pad, it is resized to fit into
    the size and surrounded by `background`; with stretch, both sides are resized; with none, it must have the size.
    Unless `channels` is 4, transparency is laid over `background`, six hexadecimal digits.

    Returns:
        uint8 of shape [channels, height, width].

    Raises:
        ValueError: With `resize` none, for an image of another size.
    """
    ImageOps.exif_transpose(image, in_place=True)  # a copy of a large image would double the memory
    image = to_eight_bits(image)
    if channels != RGBA and image.has_transparency_data:
        image = _flatten(image, background)
    image = image.convert(MODES[channels])
    pixels = np.asarray(_resize(image, size, resize, background)).reshape(*size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
