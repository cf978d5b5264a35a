"""The command that measures the Wasserstein distance of two sets of samples from below."""

from dataclasses import dataclass
from pathlib import Path

from wgan_dist.config import Config, parse_background
from wgan_dist.config.command_line import run_command
from wgan_dist.config.config import MAX_EVALUATED, MAX_FEATURES
from wgan_dist.config.fields import setting
from wgan_dist.config.image_size import ImageSize, parse_image_size
from wgan_dist.config.output_paths import check_file
from wgan_dist.utils.errors import UserError

USAGE = """
Measure the Wasserstein distance W1 of two sets of samples from below, by a critic that is 1-Lipschitz by construction.

  python -m wgan_dist.distance photos/ generated/  Two folders of images of one size.
  python -m wgan_dist.distance a.npy b.npy --picture=seen.png  Two arrays of points [n, d], or images [n, c, h, w].
  python -m wgan_dist.distance digits runs/0001  Real images and a generator, in any of its files.
  python -m wgan_dist.distance train.npy live.npy --fail_above=0.5 --json=drift.json  Fail where the sets drift apart.

A set is a folder, an archive, a data set by name, an array, a run, a checkpoint, or a generator's file. The distance is
in the unit of points, and for images the Euclidean distance over all values in [-1, 1].
"""
DEFAULT_COUNT = 10_000


@dataclass(frozen=True)
class DistanceSettings:
    """The settings of the command.

    Raises UserError unless `words` are two sets, and `json` and `picture` name files of their kind.
    """

    words: tuple[str, ...] = setting((), "The two sets.", positional=True)
    count: int = setting(
        DEFAULT_COUNT,
        "Greatest number of samples of each set.",
        least=20,
        below=MAX_EVALUATED + 1,
        group="Read the sets",
    )
    image_size: ImageSize | None = setting(
        None,
        "Size at which images are compared: 32, or 48x96; auto is that of a generator, or of the images if it is one.",
        parse=lambda value: None if value in (None, "auto") else parse_image_size(value),
    )
    background: str = setting(Config.background, "Colour under transparent pixels.", parse=parse_background)
    generator: str = setting("", "The module:Class of a custom generator.")
    weights: str = setting("ema", "Averaged (ema) or last (raw) weights of a run's folder.", choices=("ema", "raw"))
    cache_dir: str = setting("~/.cache/wgan_dist", "Folder of decoded images.")

    steps: int | None = setting(
        None, "Steps of each of the two critics; auto is 500 for points, 300 for images.", least=1, group="Measure"
    )
    critic_features: int | None = setting(
        None, "Width of the critics; auto is 64 for points, 16 for images.", least=1, below=MAX_FEATURES + 1
    )
    level: float = setting(0.95, "Level of the lower confidence limit.", above=0, below=1)
    seed: int = setting(0, "Seed of the division into halves, of the critics, and of a generator's latents.", least=0)

    json: str = setting("", "JSON file to write.", group="Write the result")
    picture: str = setting("", "PNG file that shows what the critic looks at.")
    fail_above: float | None = setting(
        None, "Exit with status 1 if the lower limit is above this distance; auto is never.", least=0
    )

    def __post_init__(self) -> None:
        if len(self.words) != 2:
            raise UserError(f"distance {' '.join(self.words)}: expected two sets, as in digits runs/0001")
        for name, suffix in (("json", ".json"), ("picture", ".png")):
            if value := getattr(self, name):
                check_file(value, suffix)
                if not Path(value).parent.is_dir():
                    raise UserError(f"{name}={value}: there is no folder {Path(value).parent}")


if __name__ == "__main__":
    run_command("wgan_dist.distance_files:measure", DistanceSettings, USAGE)
