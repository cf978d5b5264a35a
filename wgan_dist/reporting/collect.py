"""Collect everything that a report shows of runs; the page only lays it out."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wgan_dist.checkpoints.generator_file import Artifact
from wgan_dist.config.fields import show
from wgan_dist.config.network_choices import expects_points
from wgan_dist.config.programs import is_program
from wgan_dist.reporting import curves, samples
from wgan_dist.reporting.classes import ClassTable, class_table
from wgan_dist.reporting.comparison import Comparison, TableRow, compare_settings
from wgan_dist.reporting.curves import AXES, COLOURS, Chart
from wgan_dist.reporting.environment import describe_machine
from wgan_dist.reporting.frames import WEIGHTS, Frame, read_frames
from wgan_dist.reporting.image_files import Picture, safe_name
from wgan_dist.reporting.metric_table import MetricTable, metric_table, skipped_metrics
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.reporting.run_data import RunData
from wgan_dist.reporting.samples import LatentSpace, NearestImages
from wgan_dist.reporting.timing import NOT_RUN, Timer, Timing, exported_files
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.remaining_time import duration_text

MISSING = "–"
# Durations of at least this are given in minutes and hours.
LONG_STEP_SECONDS = 60.0


@dataclass(frozen=True)
class DrawnChart:
    """A chart drawn by axis and theme, with the settings that differ between the runs and affect its values."""

    chart: Chart
    differing_settings: str
    pictures: dict[tuple[str, str], Picture]


@dataclass(frozen=True)
class RunSection:
    """The contents of a report on one run. Where a text stands in place of a picture, it says why there is none.

    Attributes:
        run: The content of the run folder.
        folder: The folder of the run's pictures within the report.
        frames: The samples of fixed noise in the course of training, by weights.
        latent_space: The latent space of the generator, None if there is no generator.
        final: The final samples.
        nearest: Generated images and the training images nearest to them.
        timings: The sampling times of the exported files.
        notes: What could not be read.
        shown_values: Which channels and values the pictures show; empty for points and pictures of 8 bits.
        classes: The classes of a conditional generator, None without classes.
    """

    run: RunData
    folder: str
    frames: dict[str, list[Frame]]
    latent_space: LatentSpace | None
    final: Picture | str
    nearest: NearestImages | str
    timings: list[Timing]
    notes: list[str]
    shown_values: str = ""
    classes: ClassTable | None = None

    @property
    def makes_points(self) -> bool:
        """True if the run generates points, which are shown in drawings."""
        return expects_points(self.run.config)


@dataclass(frozen=True)
class Report:
    """The content of a report."""

    sections: list[RunSection]
    overview: list[TableRow]
    training_speed: list[TableRow]
    metrics: MetricTable
    skipped_metrics: dict[str, list[str]]
    charts: list[DrawnChart]
    constant_values: list[str]
    comparison: Comparison
    machine: dict[str, str]
    seed: int

    def pictures(self) -> Iterator[Picture]:
        """Return every picture of the report."""
        for drawn in self.charts:
            yield from drawn.pictures.values()
        for section in self.sections:
            yield from (frame.picture for frames in section.frames.values() for frame in frames)
            if isinstance(section.final, Picture):
                yield section.final
            if isinstance(section.nearest, NearestImages):
                yield section.nearest.picture


def _progress(run: RunData) -> str:
    max_steps = run.config.max_steps
    if not isinstance(max_steps, int):
        return f"{run.steps:,} generator steps, of {max_steps}"
    return f"{run.steps:,} of {max_steps:,} generator steps, {'' if run.steps >= max_steps else 'un'}finished"


def _last_value(run: RunData, key: str) -> str:
    return next((f"{record[key]:.4g}" for record in reversed(run.records) if key in record), MISSING)


def _images_per_second(run: RunData) -> str:
    rates = [record["images_per_second"] for record in run.records if record.get("images_per_second", np.nan) > 0]
    return f"{statistics.median(rates):,.0f}" if rates else MISSING


def _seconds_per_step(run: RunData) -> str:
    seconds = float(curves.elapsed_seconds(run.records)[-1]) if run.records else 0.0
    if not (run.steps and seconds):
        return MISSING
    mean = seconds / run.steps
    return duration_text(mean) if mean >= LONG_STEP_SECONDS else f"{mean:.3g} s"


def _training_time(run: RunData) -> str:
    return duration_text(float(curves.elapsed_seconds(run.records)[-1])) if run.records else MISSING


def _seen_images(run: RunData) -> str:
    seen = run.records[-1].get("seen_images", np.nan) if run.records else np.nan
    return f"{seen:,.0f}" if np.isfinite(seen) else MISSING


def _best_checkpoint(run: RunData) -> str:
    best = run.best
    return f"{curves.metric_title(best.metric)}: {best.value:.4g} at step {best.step:,}" if best else MISSING


def _method(run: RunData) -> str:
    config = run.config
    method = f"{config.loss}, penalty {config.penalty}, {config.n_critic} critic iterations per step"
    return method + (f", spectral norm: {config.spectral_norm}" if config.spectral_norm != "none" else "")


OVERVIEW: dict[str, Callable[[RunData], str]] = {
    "Folder": lambda run: str(run.folder),
    "Description": lambda run: run.config.description or MISSING,
    "Data": lambda run: show(run.config.data),
    "Networks": lambda run: f"generator {run.config.generator}, critic {run.config.critic}",
    "Method": _method,
    "Progress": _progress,
    "Last Wasserstein estimate": lambda run: _last_value(run, "wasserstein"),
    "Best checkpoint": _best_checkpoint,
}
TRAINING_SPEED: dict[str, Callable[[RunData], str]] = {
    "Training time": _training_time,
    "Mean time per generator step": _seconds_per_step,
    "Real images seen": _seen_images,
    "Median real images per second": _images_per_second,
}


def _table(facts: dict[str, Callable[[RunData], str]], runs: list[RunData]) -> list[TableRow]:
    return [TableRow(name, "", tuple(fact(run) for run in runs)) for name, fact in facts.items()]


def _chart_pictures(chart: Chart, runs: list[RunData]) -> Iterator[tuple[tuple[str, str], Picture]]:
    for axis in AXES:
        by = "generator step" if axis == "step" else "training time"
        alt = f"{chart.title}, by {by}: {_describe_curves(chart, runs)}"
        for theme in COLOURS:
            path = f"curves/{chart.name}-by-{axis}{'-dark' if theme == 'dark' else ''}.png"
            yield (axis, theme), Picture(path, curves.draw(chart, runs, axis, theme), alt)


def _describe_curves(chart: Chart, runs: list[RunData]) -> str:
    """Return the first and last value of each curve in words, for readers who cannot see the chart."""
    descriptions = []
    for curve in curves.curves(chart, runs, "step"):
        values = curve.y[np.isfinite(curve.y)]
        label = ", ".join(part for part in (curve.run_name, curve.label) if part)
        descriptions.append(f"{label} from {values[0]:.4g} to {values[-1]:.4g}")
    return "; ".join(descriptions)


def draw_charts(runs: list[RunData]) -> list[DrawnChart]:
    """Draw every chart in which a value changes, by both axes, for a light and a dark page."""
    return [
        DrawnChart(chart, curves.differing_settings(chart, runs), dict(_chart_pictures(chart, runs)))
        for chart in curves.charts_of(runs)
        if not curves.is_constant(chart, runs)
    ]


def constant_values(runs: list[RunData]) -> list[str]:
    """Return in words the values of the charts in which none changes."""
    charts = [chart for chart in curves.charts_of(runs) if curves.is_constant(chart, runs)]
    return [curves.constant_values(chart, runs) for chart in charts]


def _nearest_images(run: RunData, generator: Artifact, folder: str, options: ReportOptions) -> NearestImages | str:
    if generator.description.makes_points:
        return "This run generates points, not images."
    try:
        return samples.nearest_images(run, generator, options.neighbours, options.seed, folder, options.cache_dir)
    except UserError as error:
        return f"The nearest training images cannot be shown: {error}"


def _of_generator(run: RunData, folder: str, options: ReportOptions) -> dict[str, Any]:
    """Return the fields of a section that show the averaged generator, or say why it cannot be shown."""
    try:
        generator = samples.load_generator(run, options.generator)
        final = samples.final_picture(run, generator, options.count, options.seed, folder)
    except UserError as error:
        return {"latent_space": None, "final": str(error), "nearest": str(error)}
    description = generator.description
    own = [measurement for measurement in run.measurements if measurement.is_of(description)]
    return {
        "latent_space": samples.latent_space(generator),
        "final": final,
        "nearest": _nearest_images(run, generator, folder, options),
        "shown_values": samples.shown_values(description),
        "classes": class_table(description, own) if description.classes else None,
    }


def _time_files(run: RunData, trust: bool, time_file: Timer, progress: Callable[[str], None]) -> Iterator[Timing]:
    """Time the exported files of a run. The programs among them, which may do anything, are run only with `trust`."""
    for path in exported_files(run.folder):
        if is_program(path) and not trust:
            progress(f"not timing {path}: {NOT_RUN}")
            yield Timing(path.name, path.stat().st_size, {}, NOT_RUN)
        else:
            progress(f"timing {path}")
            yield time_file(path)


def collect_run(
    run: RunData, folder: str, options: ReportOptions, time_file: Timer, progress: Callable[[str], None]
) -> RunSection:
    """Collect what the report shows of one run, whose pictures go to `folder` of the report."""
    progress(f"reading {run.folder}")
    frames = {weights: read_frames(run, weights, options.frames, folder) for weights in WEIGHTS}
    return RunSection(
        run=run,
        folder=folder,
        frames={weights: pictures for weights, (pictures, _) in frames.items()},
        timings=list(_time_files(run, options.trust, time_file, progress)) if options.timing else [],
        notes=[*run.notes, *(note for _, notes in frames.values() for note in notes)],
        **_of_generator(run, folder, options),
    )


def collect_report(
    runs: list[RunData], options: ReportOptions, time_file: Timer, progress: Callable[[str], None]
) -> Report:
    """Collect the content of a report on `runs`.

    Args:
        runs: The runs, in the order of the report.
        options: The settings of the report.
        time_file: Measures the sampling time of a generator file; not called if `options.timing` is false, nor for a
            program unless `options.trust` is true.
        progress: Called with a line of text before each step that takes time.
    """
    sections = [
        collect_run(run, safe_name(number, run.name), options, time_file, progress) for number, run in enumerate(runs)
    ]
    return Report(
        sections=sections,
        overview=_table(OVERVIEW, runs),
        training_speed=_table(TRAINING_SPEED, runs),
        metrics=metric_table(runs),
        skipped_metrics=skipped_metrics(runs),
        charts=draw_charts(runs),
        constant_values=constant_values(runs),
        comparison=compare_settings(runs),
        machine=describe_machine(),
        seed=options.seed,
    )
