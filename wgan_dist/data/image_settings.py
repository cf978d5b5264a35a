"""The settings that decide which pixels are made of the images of a data set."""

from dataclasses import dataclass

from wgan_dist.config import Config
from wgan_dist.config.image_size import ImageSize


@dataclass(frozen=True)
class ImageSettings:
    """How images are read.

    Attributes:
        size: The height and width of every image.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); None means grey if all images are, RGB otherwise.
        background: The colour under transparent pixels, as six hexadecimal digits.
        resize: How images are brought to their size: crop, pad, stretch, or none to require it.
        skip_bad_images: Whether to leave unreadable images out.
    """

    size: ImageSize
    channels: int | None = None
    background: str = Config.background
    resize: str = Config.resize
    skip_bad_images: bool = False


def image_settings(config: Config) -> ImageSettings:
    """Return how a run reads its images."""
    return ImageSettings(config.image_size, config.channels, config.background, config.resize, config.skip_bad_images)
