"""The settings of `python -m wgan_dist.data inspect`."""

from dataclasses import dataclass

from wgan_dist.config import Config, parse_background
from wgan_dist.config.fields import setting


@dataclass(frozen=True)
class InspectSettings:
    """The settings of an inspection."""

    data: tuple[str, ...] = setting((), "the data to inspect, instead of the argument after inspect")
    image_size: int | None = setting(None, "size for the suggested command and the sheet; auto: by the median", least=1)
    background: str = setting(Config.background, "colour under transparent pixels", parse=parse_background)
    out: str = setting("", "PNG file for a sheet of images: the originals beside what training sees")
    count: int = setting(24, "number of images on the sheet", least=1)
    seed: int = setting(0, "seed that chooses these images", least=0)
    cache_dir: str = setting(Config.cache_dir, "folder of downloaded images")
    words: tuple[str, ...] = setting((), "inspect PATH[,PATH]", positional=True)
