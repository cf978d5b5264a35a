"""Everything that a report shows of runs, gathered once; the page only lays it out."""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wgan_dist.checkpoints.best import BEST_FILE
from wgan_dist.checkpoints.generator_file import EMA_FILE, Artifact
from wgan_dist.config.fields import show
from wgan_dist.data import are_points
from wgan_dist.reporting import curves, environment, frames, metric_table, samples, timing
from wgan_dist.reporting.comparison import Comparison, Row, compare
from wgan_dist.reporting.curves import AXES, COLOURS, Panel
from wgan_dist.reporting.frames import KINDS, Frame
from wgan_dist.reporting.image_files import Picture, file_name
from wgan_dist.reporting.metric_table import FigureTable
from wgan_dist.reporting.runs import Run
from wgan_dist.reporting.samples import Noise, Pairs
from wgan_dist.reporting.timing import Timing
from wgan_dist.tracking.progress import duration_text
from wgan_dist.utils.errors import UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What of a report is chosen: images in a grid, the seed of their noise, pairs with neighbours, most frames of a
    run, whether files are timed, and the module:Class of a generator of one's own.
    """

    count: int
    seed: int
    neighbours: int
    frames: int
    timing: bool
    generator: str


@dataclass(frozen=True)
class Chart:
    """One chart by axis and theme; `conditions` are words for what was not measured alike, if anything."""

    panel: Panel
    conditions: str
    pictures: dict[tuple[str, str], Picture]


@dataclass(frozen=True)
class Shown:
    """What a report shows of one run; words in place of what there is not."""

    run: Run
    folder: str
    frames: dict[str, list[Frame]]
    noise: Noise | None
    final: Picture | str
    pairs: Pairs | str
    timings: list[Timing]
    notes: list[str]

    @property
    def makes_points(self) -> bool:
        """Points in the plane, whose pictures are drawings."""
        return are_points(self.run.config.data)


@dataclass(frozen=True)
class Content:
    """A whole report."""

    shown: list[Shown]
    facts: list[Row]
    speeds: list[Row]
    figures: FigureTable
    not_measured: dict[str, list[str]]
    charts: list[Chart]
    comparison: Comparison
    hardware: dict[str, str]
    seed: int

    def pictures(self) -> Iterator[Picture]:
        """All that is drawn, as files beside the page."""
        for chart in self.charts:
            yield from chart.pictures.values()
        for each in self.shown:
            yield from (frame.picture for kind in KINDS for frame in each.frames[kind])
            if isinstance(each.final, Picture):
                yield each.final
            if isinstance(each.pairs, Pairs):
                yield each.pairs.picture


def _progress(run: Run) -> str:
    length = run.config.max_steps
    if not isinstance(length, int):
        return f"{run.steps:,} generator steps, of {length}"
    return f"{run.steps:,} of {length:,} generator steps" + (", finished" if run.steps >= length else ", unfinished")


def _last(run: Run, key: str) -> str:
    return next((f"{record[key]:.4g}" for record in reversed(run.records) if key in record), "–")


def _speed(run: Run) -> str:
    rates = [record["images_per_second"] for record in run.records if record.get("images_per_second", np.nan) > 0]
    return f"{statistics.median(rates):,.0f}" if rates else "–"


def _step_time(run: Run) -> str:
    seconds = float(curves.elapsed(run.records)[-1]) if run.records else 0.0
    return f"{seconds / run.steps:.3g} s" if run.steps and seconds else "–"


def _training_time(run: Run) -> str:
    return duration_text(float(curves.elapsed(run.records)[-1])) if run.records else "–"


def _images(run: Run) -> str:
    seen = run.records[-1].get("seen_images", np.nan) if run.records else np.nan
    return f"{seen:,.0f}" if np.isfinite(seen) else "–"


def _best(run: Run) -> str:
    try:
        about = json.loads((run.folder / BEST_FILE).read_bytes())
        return f"{curves.title(about['metric'])}: {float(about['value']):.4g} at step {int(about['step']):,}"
    except (OSError, ValueError, KeyError, TypeError):
        return "–"


def _method(run: Run) -> str:
    config = run.config
    parts = [config.loss, f"penalty {config.penalty}", f"{config.n_critic} critic iterations a step"]
    return ", ".join(parts + ([f"spectral norm: {config.spectral_norm}"] if config.spectral_norm != "none" else []))


FACTS: dict[str, Callable[[Run], str]] = {
    "Folder": lambda run: str(run.folder),
    "Shows": lambda run: run.config.description or "–",
    "Data": lambda run: show(run.config.data),
    "Networks": lambda run: f"generator {run.config.generator}, critic {run.config.critic}",
    "Method": _method,
    "Progress": _progress,
    "Wasserstein estimate, last": lambda run: _last(run, "wasserstein"),
    "Best checkpoint": _best,
}
SPEEDS: dict[str, Callable[[Run], str]] = {
    "Time of training": _training_time,
    "A generator step, mean": _step_time,
    "Real images seen": _images,
    "Real images per second, median": _speed,
}


def rows(facts: dict[str, Callable[[Run], str]], runs: list[Run]) -> list[Row]:
    """A line for each fact, with a value for each run."""
    return [Row(name, "", tuple(fact(run) for run in runs)) for name, fact in facts.items()]


def charts(runs: list[Run]) -> list[Chart]:
    """Every chart that has anything to show, by both axes, for a light and a dark page."""
    return [
        Chart(panel, curves.conditions(panel, runs), dict(_chart_pictures(panel, runs)))
        for panel in curves.panels(runs)
    ]


def _chart_pictures(panel: Panel, runs: list[Run]) -> Iterator[tuple[tuple[str, str], Picture]]:
    for axis in AXES:
        alt = (
            f"{panel.title}, by {'generator step' if axis == 'step' else 'time of training'}: {_in_words(panel, runs)}"
        )
        for theme in COLOURS:
            name = f"curves/{panel.name}-by-{axis}{'-dark' if theme == 'dark' else ''}.png"
            yield (axis, theme), Picture(name, curves.draw(panel, runs, axis, theme), alt)


def _in_words(panel: Panel, runs: list[Run]) -> str:
    """First and last value of each curve, for who cannot see it."""
    told = []
    for curve in curves.curves(panel, runs, "step"):
        values = curve.y[np.isfinite(curve.y)]
        label = ", ".join(part for part in (curve.name, curve.words) if part)
        told.append(f"{label} from {values[0]:.4g} to {values[-1]:.4g}")
    return "; ".join(told)


def _load(run: Run, own_class: str) -> Artifact | str:
    if not (run.folder / EMA_FILE).is_file():
        return "This run has saved no generator yet."
    try:
        return samples.load_generator(run, own_class)
    except UserError as error:
        return str(error)


def _final(run: Run, source: Artifact | str, folder: str, wishes: Wishes) -> Picture | str:
    if isinstance(source, str):
        return source
    return samples.final_picture(run, source, wishes.count, wishes.seed, folder)


def _pairs(run: Run, source: Artifact | str, folder: str, wishes: Wishes) -> Pairs | str:
    if isinstance(source, str):
        return source
    if source.description.makes_points:
        return "This run makes points, of which no image is a neighbour."
    try:
        return samples.neighbour_pairs(run, source, wishes.neighbours, wishes.seed, folder)
    except UserError as error:
        return f"No neighbours can be shown: {error}"


def _timings(run: Run, wishes: Wishes, say: Say) -> list[Timing]:
    found = []
    for path in timing.exported_files(run) if wishes.timing else []:
        say(f"timing {path}")
        found.append(timing.time_file(path, wishes.generator))
    return found


def show_run(run: Run, folder: str, wishes: Wishes, say: Say) -> Shown:
    """All that is shown of one run."""
    say(f"reading {run.folder}")
    source = _load(run, wishes.generator)
    read = {kind: frames.read_frames(run, kind, wishes.frames, folder) for kind in KINDS}
    return Shown(
        run=run,
        folder=folder,
        frames={kind: found for kind, (found, _) in read.items()},
        noise=None if isinstance(source, str) else samples.noise_of(source),
        final=_final(run, source, folder, wishes),
        pairs=_pairs(run, source, folder, wishes),
        timings=_timings(run, wishes, say),
        notes=[*run.notes, *(note for _, notes in read.values() for note in notes)],
    )


def gather(runs: list[Run], wishes: Wishes, say: Say) -> Content:
    """Everything of a report on `runs`; `say` is told what is done meanwhile."""
    shown = [show_run(run, file_name(number, run.name), wishes, say) for number, run in enumerate(runs)]
    return Content(
        shown=shown,
        facts=rows(FACTS, runs),
        speeds=rows(SPEEDS, runs),
        figures=metric_table.table(runs),
        not_measured=metric_table.not_measured(runs),
        charts=charts(runs),
        comparison=compare(runs),
        hardware=environment.describe(),
        seed=wishes.seed,
    )
