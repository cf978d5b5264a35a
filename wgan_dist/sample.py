"""Command that draws samples from a trained generator with torch."""

from dataclasses import dataclass
from pathlib import Path

from wgan_dist.config import command_line
from wgan_dist.config.fields import setting
from wgan_dist.config.output_paths import PICTURES, check_file, check_file_or_folder
from wgan_dist.utils.errors import UserError

USAGE = """
Draw samples from a trained generator.

  python -m wgan_dist.sample --ckpt=runs/0001 --count=64 --seed=0 --out=grid.png   a grid of images
  python -m wgan_dist.sample --ckpt=runs/0001 --count=1000 --out=images/           one file per image
  python -m wgan_dist.sample --ckpt=runs/0001 --interpolate=1,2,3 --out=path.png   interpolate between seeds; also a GIF
  python -m wgan_dist.sample --ckpt=runs/0001 --truncation=0.5,0.7,1 --out=t.png   a row of images for each scale of z
"""


@dataclass(frozen=True)
class SampleSettings:
    """The settings of `python -m wgan_dist.sample`. Raises UserError for settings that exclude each other."""

    ckpt: str = setting("", "run folder, checkpoint folder or generator.safetensors")
    count: int | None = setting(None, "number of samples; auto: 64, or 8 per row of --truncation", least=1)
    seed: int = setting(0, "the same seed gives the same samples", least=0)
    out: str = setting("grid.png", "picture of a grid, or folder/ of image files; for points a picture or .csv")
    weights: str = setting("ema", "averaged or last weights", choices=("ema", "raw"))
    interpolate: tuple[int, ...] = setting((), "seeds to interpolate between, as 1,2,3", least=0)
    frames: int = setting(8, "number of images from one seed to the next", least=2)
    truncation: tuple[float, ...] = setting((), "scales of z, as 0.5,0.7,1; smaller is less varied", least=0)
    generator: str = setting("", "module:Class of a custom network")

    def __post_init__(self) -> None:
        if not self.ckpt or not Path(self.ckpt).exists():
            raise UserError(
                f"ckpt={self.ckpt}: expected --ckpt=, an existing run or checkpoint folder or generator.safetensors"
            )
        if self.interpolate and self.truncation:
            raise UserError("interpolate with truncation: expected one of them")
        if len(self.interpolate) == 1:
            raise UserError(f"interpolate={self.interpolate[0]}: expected at least two seeds, as 1,2")
        if self.truncation:
            check_file(self.out, *PICTURES)
        else:
            check_file_or_folder(self.out, *PICTURES, *(() if self.interpolate else (".csv",)))


if __name__ == "__main__":
    command_line.run_command("wgan_dist.sampling:sample", SampleSettings, USAGE)
