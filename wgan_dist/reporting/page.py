"""Write a report as one HTML file that needs neither a network nor other files, with its pictures beside it."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jinja2

import wgan_dist
from wgan_dist.reporting import timing
from wgan_dist.reporting.collect import Report, RunSection, collect_report
from wgan_dist.reporting.curves import COLOURS, colours, metric_title
from wgan_dist.reporting.frames import WEIGHTS, write_animation
from wgan_dist.reporting.image_files import data_uri
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.reporting.run_data import read_runs
from wgan_dist.utils.files import write_bytes, write_text

TEMPLATE = "page.html"


def slider_frames(sections: Iterable[RunSection]) -> dict[str, list[list[dict[str, object]]]]:
    """Return the frames of the slider: for `ema` and `raw` weights and each run, its pictures with step and text."""
    return {
        weights: [
            [
                {"step": frame.step, "uri": frame.picture.uri, "alt": frame.picture.alt}
                for frame in section.frames[weights]
            ]
            for section in sections
        ]
        for weights in WEIGHTS
    }


def differing_noise(sections: Iterable[RunSection]) -> str:
    """Return a sentence on the runs whose latent spaces differ, so that a seed is not the same noise; else empty."""
    names: dict[str, list[str]] = {}
    for section in sections:
        if section.latent_space:
            names.setdefault(str(section.latent_space), []).append(section.run.name)
    if len(names) < 2:
        return ""
    spaces = "; ".join(f"{' and '.join(runs)}: {space}" for space, runs in names.items())
    return f"The runs cannot be given the same noise, because their latent vectors differ: {spaces}."


def render(report: Report, animations: dict[str, bytes], made: str) -> str:
    """Return the page. `animations` are GIF files by the name of their run; `made` is the time to print.

    The template engine escapes every text of users.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        report=report,
        colours={theme: colours(len(report.sections), theme) for theme in COLOURS},
        frames=slider_frames(report.sections),
        weights=WEIGHTS,
        animations={name: data_uri("image/gif", gif) for name, gif in animations.items()},
        differing_noise=differing_noise(report.sections),
        metric_title=metric_title,
        timing=timing,
        made=made,
        version=wgan_dist.__version__,
    )


def write_report(options: ReportOptions, time_file: timing.Timer, progress: Callable[[str], None]) -> None:
    """Write the page and its pictures. Raises UserError if a run cannot be read or a file cannot be written.

    `time_file` measures the sampling time of a generator file; `progress` is called with a line of text before and
    after each step that takes time.
    """
    out = Path(options.out)
    files = out.with_name(f"{out.stem}_files")
    report = collect_report(read_runs(options.folders), options, time_file, progress)
    for picture in report.pictures():
        write_bytes(files / picture.path, picture.content)
    animations = {
        section.run.name: write_animation(section.frames["ema"], files / section.folder / "fixed_noise.gif")
        for section in report.sections
        if options.gif and section.frames["ema"]
    }
    write_text(out, render(report, animations, time.strftime("%d %B %Y, %H:%M")))
    progress(f"{out}: {out.stat().st_size / 2**20:.1f} MiB; pictures in {files}/")
