"""The command line that lays runs side by side on one page."""

import time
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes, write_text

USAGE = """
Lay runs side by side on one HTML page that needs no network, with its pictures in a folder beside it.

  python -m wgan_dist.report runs/a runs/b --out=report.html          the page, and report_files/
  python -m wgan_dist.report runs/a --gif --out=a.html                with the fixed noise as an animation

Runs may be unfinished, and of different data and methods.
"""


@dataclass(frozen=True)
class ReportSettings:
    """What a report is told."""

    out: str = setting("report.html", "the page; its pictures go into a folder of its name, as report_files/")
    gif: bool = setting(False, "also each run's fixed noise through training as an animation")
    count: int = setting(64, "images in each grid of the same noise", least=1)
    seed: int = setting(0, "of that noise", least=0)
    neighbours: int = setting(8, "generated images shown over their nearest training image", least=1)
    frames: int = setting(25, "most pictures of a run's fixed noise, evenly through training", least=2)
    timing: bool = setting(True, "measure every exported file of each run, seconds for each")
    generator: str = setting("", "module:Class, for a network of your own")


def report(folders: list[str], flags: dict[str, str]) -> None:
    """Write the page that the texts of settings describe; what the command line does."""
    settings = from_flags(ReportSettings, flags)
    out = Path(settings.out)
    if out.suffix.lower() != ".html":
        raise UserError(f"out={settings.out}: expected a file ending in .html")
    # Matplotlib and torch take seconds to import, help and bad settings should not.
    from wgan_dist.reporting import content, frames, page
    from wgan_dist.reporting.runs import read_runs

    runs = read_runs(folders)
    files = out.with_name(f"{out.stem}_files")
    wishes = content.Wishes(
        settings.count, settings.seed, settings.neighbours, settings.frames, settings.timing, settings.generator
    )
    gathered = content.gather(runs, wishes, say=lambda words: print(words, flush=True))
    for picture in gathered.pictures():
        write_bytes(files / picture.name, picture.content)
    animations = {
        each.run.name: frames.write_animation(each.frames["ema"], files / each.folder / "fixed_noise.gif")
        for each in gathered.shown
        if settings.gif and each.frames["ema"]
    }
    write_text(out, page.render(gathered, animations, time.strftime("%d %B %Y, %H:%M")))
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB; pictures in {files}/")


if __name__ == "__main__":
    command_line.run_on(report, ReportSettings, USAGE)
