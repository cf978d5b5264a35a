"""The settings of a report, without any import that takes time."""

from dataclasses import dataclass
from pathlib import Path

from wgan_dist.config import CONFIG_FILE, Config, is_run
from wgan_dist.config.fields import setting
from wgan_dist.config.output_paths import check_file
from wgan_dist.utils.errors import UserError


@dataclass(frozen=True)
class ReportOptions:
    """The settings of `python -m wgan_dist.report`. Raises UserError unless `runs` are different run folders."""

    runs: tuple[str, ...] = setting((), "The run folders.", positional=True)
    out: str = setting(
        "report.html",
        "The page; its pictures are written to a folder named after it, report_files/.",
        group="Write the page",
    )
    gif: bool = setting(False, "Add an animation of each run's samples in the course of training.")
    count: int = setting(64, "Number of images in each grid of final samples.", least=1)
    seed: int = setting(0, "Seed of the noise of the final samples.", least=0)
    neighbours: int = setting(8, "Number of generated images shown above their nearest training images.", least=1)
    frames: int = setting(25, "Maximum number of pictures of a run's fixed noise, evenly spaced.", least=2)
    timing: bool = setting(True, "Time the exported files of each run, which takes a few seconds per file.")
    trust: bool = setting(
        False, "Also run the programs among the exported files, .pt and .pt2, to time them; only for runs you trust."
    )
    cache_dir: str = setting(Config.cache_dir, "Folder of decoded images.")
    generator: str = setting("", "The module:Class of a custom network.")

    def __post_init__(self) -> None:
        check_file(self.out, ".html")
        if not self.runs:
            raise UserError("runs: expected one or more run folders, as runs/a runs/b")
        for folder in self.folders:
            if not is_run(folder):
                raise UserError(f"runs={folder}: expected a run folder; there is no {CONFIG_FILE} in it")
        if len({folder.resolve() for folder in self.folders}) < len(self.runs):
            raise UserError(f"runs={','.join(self.runs)}: expected different run folders; one is given twice")

    @property
    def folders(self) -> list[Path]:
        """The run folders."""
        return [Path(run) for run in self.runs]
