"""Command that draws samples from a trained generator with torch."""

from dataclasses import dataclass
from pathlib import Path

from wgan_dist.config import command_line
from wgan_dist.config.fields import setting
from wgan_dist.config.output_paths import ARRAYS, PICTURES, check_file, check_file_or_folder
from wgan_dist.utils.errors import UserError

USAGE = """
Draw samples from a trained generator.

  python -m wgan_dist.sample --ckpt=runs/0001 --count=64 --seed=0 --out=grid.png  Draw a grid of images.
  python -m wgan_dist.sample --ckpt=runs/0001 --count=1000 --out=images/  Write one file per image.
  python -m wgan_dist.sample --ckpt=runs/0001 --interpolate=1,2,3 --out=path.png  Interpolate between seeds; also a GIF.
  python -m wgan_dist.sample --ckpt=runs/0001 --truncation=0.5,0.7,1 --out=t.png  Draw a row for each scale of z.
  python -m wgan_dist.sample --ckpt=runs/0001 --label=sneaker,sandal --out=l.png  Draw a row for each class.
"""


@dataclass(frozen=True)
class SampleSettings:
    """The settings of `python -m wgan_dist.sample`. Raises UserError for settings that exclude each other."""

    ckpt: str = setting("", "Run folder, checkpoint folder or generator.safetensors.", group="Choose the generator")
    weights: str = setting("ema", "Averaged (ema) or last (raw) weights.", choices=("ema", "raw"))
    generator: str = setting("", "The module:Class of a custom network.")

    count: int | None = setting(
        None, "Number of samples; auto is 64, or 8 per row of --truncation or --label.", least=1, group="Draw samples"
    )
    seed: int = setting(0, "Seed of the samples; the same seed gives the same ones.", least=0)
    label: str = setting(
        "", "Class of all samples by name or number, or several with commas for a row of each; else as in training."
    )
    out: str = setting(
        "grid.png",
        "Picture of a grid, .npy, .npz or .tif of the values, or folder of image files; for points a picture, .csv, "
        ".npy or .npz.",
    )
    scale: int | None = setting(
        None, "Whole factor that enlarges a picture; auto makes it at least 512 pixels wide.", least=1, below=33
    )

    interpolate: tuple[int, ...] = setting(
        (), "Seeds to interpolate between, as 1,2,3.", least=0, group="Explore the latent space"
    )
    interpolate_labels: str = setting(
        "", "Classes to interpolate between, as sneaker,sandal, with the latent of --seed."
    )
    frames: int = setting(8, "Number of images from one seed or class to the next.", least=2)
    truncation: tuple[float, ...] = setting((), "Scales of z, as 0.5,0.7,1; smaller ones give less variety.", least=0)

    def __post_init__(self) -> None:
        if not self.ckpt or not Path(self.ckpt).exists():
            found = "there is no such file or folder; expected" if self.ckpt else "expected --ckpt=,"
            raise UserError(f"ckpt={self.ckpt}: {found} a run, a checkpoint or a generator.safetensors")
        explored = [name for name in ("interpolate", "interpolate_labels", "truncation") if getattr(self, name)]
        if len(explored) > 1:
            raise UserError(f"{' with '.join(explored)}: expected one of them")
        if self.interpolate_labels and self.label:
            raise UserError("interpolate_labels with label: expected one of them")
        if len(self.interpolate) == 1:
            raise UserError(f"interpolate={self.interpolate[0]}: expected at least two seeds, as 1,2")
        if self.truncation:
            check_file(self.out, *PICTURES)
        else:
            check_file_or_folder(self.out, *PICTURES, *(() if explored else (*ARRAYS, ".csv")))


if __name__ == "__main__":
    command_line.run_command("wgan_dist.sampling:sample", SampleSettings, USAGE)
