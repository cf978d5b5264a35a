"""The command that evaluates generators in any of their files, or images of any other program."""

from dataclasses import dataclass
from typing import Any

from wgan_dist.config import Config, parse_background
from wgan_dist.config.command_line import run_command
from wgan_dist.config.fields import AUTO, setting
from wgan_dist.config.metric_choices import parse_metrics
from wgan_dist.config.output_paths import check_file

USAGE = """
Measure generators, in any of their files, or images of any other program.

  python -m wgan_dist.evaluate --ckpt=runs/0001                               all metrics that can be computed here
  python -m wgan_dist.evaluate --ckpt=runs/0001 --metrics=fid,kid --count=50000
  python -m wgan_dist.evaluate --ckpt=a.onnx,a_int8.onnx --data=photos/       exported files side by side
  python -m wgan_dist.evaluate --samples=images/ --data=photos/               images of any other program

Prints a table. The results of a file in a run folder are also written to evaluations/ in that folder, as JSON.
"""
DEFAULT_COUNT = 10_000


def _parse_background(value: Any) -> str | None:
    return None if value == AUTO else parse_background(value)


@dataclass(frozen=True)
class EvaluateSettings:
    """The settings of the command. Raises UserError unless `out` names a JSON file."""

    ckpt: tuple[str, ...] = setting((), "run or checkpoint folders, .safetensors, .pt or .onnx files, by commas")
    samples: str = setting("", "folder of images to measure instead of a generator")
    data: tuple[str, ...] = setting((), "real images, as in training; those of the run if not given")
    metrics: tuple[str, ...] | None = setting(
        None, "swd,nn,diversity,fid,kid,is,pr,frechet,kernel; auto: all that can be computed here", parse=parse_metrics
    )
    count: int | None = setting(None, f"generated images; auto: {DEFAULT_COUNT:,}, or all of --samples", least=2)
    real_count: int | None = setting(None, "real images; auto: as many as generated", least=2)
    seed: int = setting(0, "seed of the latents, as in sampling, and of the choice of real images", least=0)
    weights: str = setting("ema", "averaged or last weights of a folder", choices=("ema", "raw"))
    generator: str = setting("", "module:Class, for a custom network")
    feature_extractor: str = setting("", "TorchScript or ONNX file, uint8 images → features, for frechet and kernel")
    inception_weights: str = setting("", "file of Inception's weights; torch-fidelity's cache if not given")
    background: str | None = setting(
        None,
        f"colour under transparent pixels; auto: the run's for its own data, else {Config.background}",
        parse=_parse_background,
    )
    skip_bad_images: bool | None = setting(
        None, "leave out unreadable real images; auto: as the run does for its own data, else false"
    )
    cache_dir: str = setting("~/.cache/wgan_dist", "folder of decoded images and of features")
    out: str = setting("", "JSON file to write, also of files outside of run folders")

    def __post_init__(self) -> None:
        if self.out:
            check_file(self.out, ".json")


if __name__ == "__main__":
    run_command("wgan_dist.evaluate_files:evaluate", EvaluateSettings, USAGE)
