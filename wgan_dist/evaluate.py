"""The command that evaluates generators in any of their files, or images of any other program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan_dist.config import Config, parse_background
from wgan_dist.config.checks import check_files_exist
from wgan_dist.config.command_line import run_command
from wgan_dist.config.config import NO_LABELS
from wgan_dist.config.data_choices import check_data_exist
from wgan_dist.config.fields import AUTO, setting
from wgan_dist.config.metric_choices import parse_metrics
from wgan_dist.config.output_paths import check_file
from wgan_dist.utils.errors import UserError

USAGE = """
Measure generators, in any of their files, or images of any other program.

  python -m wgan_dist.evaluate --ckpt=runs/0001  Compute all metrics that can be computed here.
  python -m wgan_dist.evaluate --ckpt=runs/0001 --metrics=fid,kid --count=50000  Choose metrics.
  python -m wgan_dist.evaluate --ckpt=a.onnx,a_int8.onnx --data=photos/  Compare exported files.
  python -m wgan_dist.evaluate --samples=images/ --data=photos/  Measure images of any other program.

The command prints a table. The results of a file in a run folder are also written to evaluations/ in it, as JSON.
"""
DEFAULT_COUNT = 10_000


def _parse_background(value: Any) -> str | None:
    return None if value == AUTO else parse_background(value)


@dataclass(frozen=True)
class EvaluateSettings:
    """The settings of the command.

    Raises UserError unless they name one kind of thing to measure, which exists, and `out` names a JSON file.
    """

    ckpt: tuple[str, ...] = setting(
        (),
        "Run or checkpoint folders, .safetensors, .onnx, .pt or .pt2 files, with commas; .pt and .pt2 are programs.",
        group="Choose what to measure",
    )
    samples: str = setting("", "Folder of images to measure instead of a generator.")
    weights: str = setting("ema", "Averaged (ema) or last (raw) weights of a folder.", choices=("ema", "raw"))
    generator: str = setting("", "The module:Class of a custom network.")
    count: int | None = setting(
        None, f"Number of generated images; auto is {DEFAULT_COUNT:,}, or all of --samples.", least=2
    )
    seed: int = setting(0, "Seed of the latents, as in sampling, and of the choice of real images.", least=0)

    data: tuple[str, ...] = setting(
        (), "Real images, as in training; by default those of the run.", group="Choose the real data"
    )
    real_count: int | None = setting(None, "Number of real images; auto is as many as generated.", least=2)
    labels: str = setting(NO_LABELS, "Classes of the images of --data, as in training.")
    background: str | None = setting(
        None,
        f"Colour under transparent pixels; auto is the run's for its own data, otherwise {Config.background}.",
        parse=_parse_background,
    )
    skip_bad_images: bool | None = setting(
        None, "Leave out unreadable real images; auto does as the run for its own data, otherwise false."
    )
    cache_dir: str = setting("~/.cache/wgan_dist", "Folder of decoded images and of features.")

    metrics: tuple[str, ...] | None = setting(
        None,
        "Metrics with commas: swd, nn, diversity, spectrum, fid, kid, is, pr, frechet, kernel, class_frechet, "
        "accuracy, or full names; auto is all that can be computed here, without the spectrum of images of 8 bits.",
        parse=parse_metrics,
        group="Choose the metrics",
    )
    feature_extractor: str = setting(
        "",
        "ONNX file, or TorchScript, a program, from uint8 images to features, for frechet, kernel and class_frechet.",
    )
    classifier: str = setting(
        "", "ONNX file, or TorchScript, a program, from uint8 images to a logit for each class, for accuracy."
    )
    inception_weights: str = setting("", "File of Inception's weights; by default torch-fidelity's.")
    out: str = setting("", "JSON file to write, also for files outside of run folders.")

    def __post_init__(self) -> None:
        if bool(self.ckpt) == bool(self.samples):
            raise UserError("ckpt: expected --ckpt=, a run, checkpoint or generator file, or else --samples=, a folder")
        for ckpt in self.ckpt:
            if not Path(ckpt).exists():
                raise UserError(f"ckpt={ckpt}: there is no such file or folder")
        if self.samples and not self.data:
            raise UserError("data: expected --data=, the real images to compare --samples with")
        if self.labels != NO_LABELS and not self.data:
            raise UserError(f"labels={self.labels}: expected --data=, the real images; those of a run have its classes")
        check_files_exist(self)
        check_data_exist(self.data + ((self.samples,) if self.samples else ()))
        if self.out:
            check_file(self.out, ".json")


if __name__ == "__main__":
    run_command("wgan_dist.evaluate_files:evaluate", EvaluateSettings, USAGE)
