"""The settings that decide which pixels are made of the images of a data set."""

from dataclasses import dataclass

from wgan_dist.config import Config
from wgan_dist.config.image_size import ImageSize


@dataclass(frozen=True)
class ImageSettings:
    """These settings say how images are read.

    Attributes:
        size: The height and width of every image.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); None means those of arrays, grey if all pictures are, RGB otherwise.
        background: The colour under transparent pixels, as six hexadecimal digits.
        resize: How images are brought to their size: crop, pad, stretch, or none to require it.
        skip_bad_images: Whether to leave unreadable images out.
        levels: Which values become −1 and 1: default, auto, robust or two values.
        axes: The order of the axes of arrays: auto, nchw or nhwc.
        labels: Where the classes of the images come from: none, auto, a CSV file or the name of a column.
    """

    size: ImageSize
    channels: int | None = None
    background: str = Config.background
    resize: str = Config.resize
    skip_bad_images: bool = False
    levels: str | tuple[float, float] = Config.levels
    axes: str = Config.axes
    labels: str = Config.labels


def image_settings(config: Config) -> ImageSettings:
    """Return how a run reads its images."""
    return ImageSettings(
        size=config.image_size,
        channels=config.channels,
        background=config.background,
        resize=config.resize,
        skip_bad_images=config.skip_bad_images,
        levels=config.levels,
        axes=config.axes,
        labels=config.labels,
    )
