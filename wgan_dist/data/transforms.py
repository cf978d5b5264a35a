"""The transform of a picture or array to values of the size and number of channels that the networks take."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

from wgan_dist.config.image_size import ImageSize
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.array_values import supported_values
from wgan_dist.utils.levels import DTYPES, FLOAT32, UINT8, UINT16

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


class PixelFormat(NamedTuple):
    """The number of channels of images, and the type of their values."""

    channels: int
    dtype: str

    def with_image(self, other: "PixelFormat") -> "PixelFormat":
        """Return the format that holds images of both formats: grey in colour, and 8 bits in 16.

        Raises:
            ValueError: If there is none.
        """
        if self.channels != other.channels and not {self.channels, other.channels} <= {GREY, RGB}:
            raise ValueError(f"{other.channels} channels, where other images have {self.channels}")
        if self.dtype != other.dtype and FLOAT32 in (self.dtype, other.dtype):
            raise ValueError(f"values of {other.dtype}, where other images have {self.dtype}")
        return PixelFormat(max(self.channels, other.channels), max(self.dtype, other.dtype, key=DTYPES.index))


def natural_channels(image: Image.Image) -> int:
    """Return 1 for a grey image and 3 for any other; transparency needs to be asked for."""
    return GREY if image.mode in GREY_MODES else RGB


def lossy_conversions(image: Image.Image | NDArray[Any], channels: int, background: str) -> list[str]:
    """Return a line for each thing that a picture loses when it is converted to a number of channels."""
    if isinstance(image, np.ndarray):
        return []
    lines = ["pictures in colour become grey"] if channels == GREY < natural_channels(image) else []
    if channels != RGBA and image.has_transparency_data:
        lines.append(f"transparent pictures are laid over the colour {background}; --channels=4 keeps transparency")
    return lines


def _keeps_sixteen_bits(image: Image.Image) -> bool:
    return image.mode in MODES_OF_16_BITS and not image.has_transparency_data


def natural_format(image: Image.Image | NDArray[Any]) -> PixelFormat:
    """Return the format of a picture, or of an array [c, h, w] of one of the supported types."""
    if isinstance(image, np.ndarray):
        return PixelFormat(len(image), image.dtype.name)
    if _keeps_sixteen_bits(image):
        return PixelFormat(GREY, UINT16)
    return PixelFormat(natural_channels(image), FLOAT32 if image.mode == "F" else UINT8)


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


def deep_values(image: Image.Image | NDArray[Any]) -> NDArray[Any]:
    """Return the values [c, h, w] of an array, or of a grey picture of 16 bits or of floats."""
    if isinstance(image, np.ndarray):
        return image
    ImageOps.exif_transpose(image, in_place=True)
    values = np.asarray(image)[None]
    return supported_values(values)[0] if image.mode == "F" else values.clip(0, 65535).astype(np.uint16)


def _resize_array(values: NDArray[Any], size: ImageSize, resize: str) -> NDArray[Any]:
    """Bring an array [c, h, w] to a size, each channel by itself; a border is 0, and integers are rounded."""
    if values.shape[1:] == size:
        return values
    channels = (Image.fromarray(channel.astype(np.float32)) for channel in values)
    resized = np.stack([np.asarray(_resize(channel, size, resize, "000000")) for channel in channels])
    if values.dtype == np.float32:
        return supported_values(resized)[0]  # resizing adds values, which may become too large
    return np.rint(resized).clip(0, np.iinfo(values.dtype).max).astype(values.dtype)


def fits_channels(values: NDArray[Any], channels: int) -> bool:
    """Return whether an array [c, h, w] can be kept in a number of channels: grey becomes any but RGBA."""
    return len(values) == channels or (len(values) == GREY and channels != RGBA)


def to_values(image: Image.Image | NDArray[Any], settings: ImageSettings, pixel_format: PixelFormat) -> NDArray[Any]:
    """Convert a picture or an array [c, h, w] to a format and bring it to the size of the settings.

    Pictures of 8 bits are converted as `to_pixels` does; 8 bits become 16 by the factor 257.

    Returns:
        Values of the format's type, of shape [channels, height, width].

    Raises:
        ValueError: For a picture in a number of channels that pictures do not have, an array of another number of
            channels, and, with resize=none, for another size.
    """
    channels, dtype = pixel_format
    if isinstance(image, Image.Image):
        if natural_format(image).dtype == UINT8:
            if channels not in MODES:
                raise ValueError(f"a picture, expected an array of {channels} channels")
            pixels = to_pixels(image, settings.size, channels, settings.background, settings.resize)
            return pixels if dtype == UINT8 else pixels.astype(np.uint16) * np.uint16(257)
        image = deep_values(image)
    if not fits_channels(image, channels):
        raise ValueError(f"{len(image)} channels, expected {channels}")
    values = _resize_array(image, settings.size, settings.resize)
    if values.dtype == np.uint8 and dtype == UINT16:
        values = values.astype(np.uint16) * np.uint16(257)
    return np.ascontiguousarray(np.broadcast_to(values, (channels, *settings.size)))
