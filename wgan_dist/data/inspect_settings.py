"""The settings of `python -m wgan_dist.data inspect`."""

from dataclasses import dataclass

from wgan_dist.config import Config, parse_background
from wgan_dist.config.config import RESIZES
from wgan_dist.config.fields import AUTO, setting
from wgan_dist.config.image_size import ImageSize, parse_image_size


@dataclass(frozen=True)
class InspectSettings:
    """The settings of an inspection."""

    data: tuple[str, ...] = setting(
        (), "The data to inspect, instead of the argument after inspect.", group="Choose the data"
    )
    image_size: ImageSize | None = setting(
        None,
        "Size for the suggested command and the sheet; auto follows the images.",
        parse=lambda value: None if value in (None, AUTO) else parse_image_size(value),
    )
    resize: str = setting(Config.resize, "How images get this size.", choices=RESIZES)
    axes: str = setting(Config.axes, "Order of the axes of arrays.", choices=("auto", "nchw", "nhwc"))
    background: str = setting(Config.background, "Colour under transparent pixels.", parse=parse_background)
    cache_dir: str = setting(Config.cache_dir, "Folder of downloaded images.")

    out: str = setting(
        "", "PNG file for a sheet of images: the originals beside what training sees.", group="Draw a sheet"
    )
    count: int = setting(24, "Number of images on the sheet.", least=1)
    seed: int = setting(0, "Seed that chooses these images.", least=0)
    words: tuple[str, ...] = setting((), "The word inspect, and PATH[,PATH].", positional=True)
