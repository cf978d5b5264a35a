"""Charts of the metrics that runs recorded, by generator step and by training time."""

import io
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from wgan_dist.config.fields import show
from wgan_dist.reporting.image_files import safe_name
from wgan_dist.reporting.run_data import RunData
from wgan_dist.tracking.metric_names import (
    CLASSIFIER,
    CRITIC,
    EXTRACTOR,
    INCEPTION,
    METRICS,
    PIXELS,
    POINTS,
    REAL_METRICS,
    real_name,
)
from wgan_dist.tracking.records import Record

AXES = ("step", "time")
FIGURE_INCHES, DOTS_PER_INCH, PADDING_INCHES = (4.1, 2.8), 190, 0.09
# The colour-blind safe palette of Wong 2011; the second has the same hues, lighter, for a dark page.
COLOURS = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#a97900", "#3a9bd6", "#555555", "#7a3b00"),
    "dark": ("#5ab4f0", "#ff8f4a", "#34cfa2", "#e79fca", "#f0c03c", "#a6d8fa", "#c4c4c4", "#c9935d"),
}
BACKGROUND, TEXT_COLOUR = {"light": "#ffffff", "dark": "#181b20"}, {"light": "#222222", "dark": "#dddddd"}
GRID_COLOUR = "#8888884d"
# Curves of at most this many points have markers.
MAX_MARKERS = 60
MAX_LABEL_CHARACTERS, LEGEND_LINE_CHARACTERS, MAX_TITLE_CHARACTERS, TITLE_LINE_CHARACTERS = 36, 54, 60, 42
# If the longest curve is longer than the shortest by more than this factor, the x-axis is logarithmic.
LOG_AXIS_RATIO = 8.0
# Time units: seconds in the unit, its name, and the training time in seconds from which on it is used.
TIME_UNITS = ((3600.0, "hours", 3600.0), (60.0, "minutes", 120.0), (1.0, "seconds", 0.0))
# Keys of a record that are no metrics.
NOT_DRAWN = {"step", "seen_images", "seconds"}
# Settings that decide the unit of the critic's estimate: how large its gradient may be.
ESTIMATE_SETTINGS = ("penalty", "spectral_norm")
# Settings that must be equal for two runs' values to be comparable, by what a metric is computed from.
COMPARABILITY_SETTINGS = {
    PIXELS: ("evaluation_images",),
    INCEPTION: ("evaluation_images",),
    EXTRACTOR: ("evaluation_images", "feature_extractor"),
    CLASSIFIER: ("evaluation_images", "classifier"),
    CRITIC: ("evaluation_images", *ESTIMATE_SETTINGS),
    POINTS: (),
}
DIRECTION_HINTS = {True: "lower is better", False: "higher is better", None: ""}
LINE_STYLES = ("-", "--", ":")


@dataclass(frozen=True)
class Chart:
    """The description of a chart.

    Attributes:
        name: The name of its files, and the key of its metric in a record unless there are `labels`.
        title: The title above it.
        hint: How to read it; by default which direction is better.
        labels: The labels of its metrics by key, if there are several.
        logarithmic: True for a logarithmic y-axis.
        hide_zeros: True to omit the chart if all values are zero.
        separate_by: A setting by whose values the runs have charts of their own, since they share no scale.
        only: The value of that setting in the runs of this chart; None for all runs.
    """

    name: str
    title: str
    hint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    logarithmic: bool = False
    hide_zeros: bool = False
    separate_by: str = ""
    only: str | None = None

    @property
    def series(self) -> Mapping[str, str]:
        """The metrics of the chart as keys of a record, each with its label.

        Beside a metric of generated images stands the value that it has for real ones.
        """
        if self.labels:
            return self.labels
        of_real = real_name(self.name)
        return {self.name: "generated", of_real: "real images"} if of_real in REAL_METRICS else {self.name: ""}

    @property
    def caption(self) -> str:
        """The hint, or the direction in which the metric is better."""
        return self.hint or DIRECTION_HINTS[METRICS[self.name].lower_is_better if self.name in METRICS else None]

    def includes(self, run: RunData) -> bool:
        """Return True if the chart shows the values of a run."""
        return self.only is None or getattr(run.config, self.separate_by) == self.only


WASSERSTEIN_HINT = (
    "a falling estimate shows progress; a gap to held-out images shows that the critic overfits; unless the critic is "
    "lipschitz, the estimate is scaled by its Lipschitz constant and bounds no distance"
)
CERTIFIED_HINT = "what a 1-Lipschitz critic, trained on the side, sees: in expectation at most the distance"
ESTIMATES = {"wasserstein": "batches", "wasserstein_train": "training images", "wasserstein_holdout": "held-out images"}
CERTIFIED = {"certified_wasserstein": "estimate", "certified_lower": "lower limit at 95 %"}
PROBABILITIES = {"real_probability": "real", "fake_probability": "generated"}
AUGMENT_HINT = "the probability rises while the critic overfits; overfitting is 0 for a critic that does not overfit"
AUGMENT = {"augment_probability": "probability", "overfitting": "overfitting of the critic"}
CHARTS = (
    Chart("wasserstein", "Wasserstein estimate of the critic", WASSERSTEIN_HINT, ESTIMATES),
    Chart("certified_wasserstein", "Wasserstein distance to held-out samples, from below", CERTIFIED_HINT, CERTIFIED),
    Chart("critic_loss", "Critic loss", separate_by="loss"),
    Chart("generator_loss", "Generator loss", separate_by="loss"),
    Chart("gradient_penalty", "Gradient penalty", separate_by="penalty"),
    Chart("gradient_norm", "Gradient norm of the critic", "a gradient penalty keeps it near 1, and r1 near 0"),
    Chart("lipschitz_constant", "Bound of the critic's Lipschitz constant", "a Lipschitz critic keeps it at 1"),
    Chart("probability", "Probability of being real according to the discriminator", "", PROBABILITIES),
    Chart("score", "Critic scores", "", {"real_score": "real", "fake_score": "generated"}),
    Chart("augment", "Augmentation", AUGMENT_HINT, AUGMENT),
    Chart("sliced_wasserstein", "Sliced Wasserstein distance × 10³"),
    Chart("spectrum_error", "Error of the power spectrum in decades"),
    Chart("fid", "FID"),
    Chart("kid", "KID"),
    Chart("frechet_distance", "Fréchet distance, own feature extractor"),
    Chart("kernel_distance", "Kernel distance, own feature extractor"),
    Chart("class_frechet_distance", "Fréchet distance within classes, own feature extractor"),
    Chart("label_accuracy", "Label accuracy by a classifier"),
    Chart("inception_score", "Inception Score"),
    Chart("precision", "Precision"),
    Chart("recall", "Recall"),
    Chart(
        "exact_wasserstein",
        "Exact Wasserstein distance",
        labels={
            "exact_wasserstein": "exact",
            "critic_wasserstein": "estimate of the critic",
            real_name("exact_wasserstein"): "of real points",
        },
    ),
    Chart(
        "point_sliced_wasserstein",
        "Sliced Wasserstein distance of points",
        DIRECTION_HINTS[True],
        {"point_sliced_wasserstein": "generated", real_name("point_sliced_wasserstein"): "real points"},
    ),
    Chart("modes_covered", "Modes covered"),
    Chart("good_share", "Share of good points"),
    Chart("rarest_mode_share", "Share of the rarest mode, relative to a uniform share"),
    Chart("nearest_neighbour", "Distance to the nearest training image", "values near zero show memorisation"),
    Chart("diversity", "Pairwise diversity in a batch", "a falling value shows mode collapse"),
    Chart("learning_rate", "Learning rates", "", {"critic_lr": "critic", "generator_lr": "generator"}),
    Chart("images_per_second", "Real images per second", DIRECTION_HINTS[False]),
    Chart("communication_share", "Share of time spent waiting for gradients", DIRECTION_HINTS[True]),
    Chart("communication_ms", "Gradient averaging, ms per generator step", DIRECTION_HINTS[True]),
    Chart("communication_bytes", "Gradient averaging, bytes per generator step", "sent by each process"),
    Chart(
        "skipped",
        "Updates skipped because of non-finite gradients",
        labels={"critic_skipped": "critic", "generator_skipped": "generator"},
        hide_zeros=True,
    ),
    Chart(
        "loss_scale",
        "Loss scale of float16",
        labels={"critic_loss_scale": "critic", "generator_loss_scale": "generator"},
        logarithmic=True,
    ),
)


def metric_title(key: str) -> str:
    """Return the title of a metric, given its key in a record."""
    return next((chart.title for chart in CHARTS if key == next(iter(chart.series))), key.replace("_", " "))


@dataclass(frozen=True)
class Curve:
    """A metric of run number `run`: x [n] in generator steps or seconds, y [n] with NaN where the curve has a gap."""

    run: int
    run_name: str
    style: str
    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def elapsed_seconds(records: tuple[Record, ...]) -> NDArray[np.float64]:
    """Return the training time at each record [n] in seconds; a record without its duration adds nothing."""
    return np.nancumsum([record.get("seconds", math.nan) for record in records])


def charts_of(runs: list[RunData]) -> list[Chart]:
    """Return the charts for which any run has a finite value, with one of its own for each unknown key."""
    values = [item for run in runs for record in run.records for item in record.items() if math.isfinite(item[1])]
    recorded, nonzero = {key for key, _ in values}, {key for key, value in values if value != 0}
    unknown = recorded - NOT_DRAWN - {key for chart in CHARTS for key in chart.series}
    # The keys of a file from elsewhere are arbitrary: they must not name another folder, nor the file of another chart.
    others = [
        Chart(safe_name(number, key), key.replace("_", " "), labels={key: ""})
        for number, key in enumerate(sorted(unknown))
    ]
    found = [chart for chart in (*CHARTS, *others) if chart.series.keys() & (nonzero if chart.hide_zeros else recorded)]
    return [separate for chart in found for separate in _separated(chart, runs)]


def _separated(chart: Chart, runs: list[RunData]) -> list[Chart]:
    """Return the chart, or one for each value of the setting `separate_by` if the runs in the chart differ in it."""
    if not chart.separate_by:
        return [chart]
    shown = {curve.run for curve in curves(chart, runs, "step")}
    values = dict.fromkeys(str(getattr(runs[run].config, chart.separate_by)) for run in sorted(shown))
    if len(values) < 2:
        return [chart]
    return [
        replace(
            chart,
            name=f"{chart.name}-{value}",
            title=f"{chart.title}, {chart.separate_by}={value}",
            labels=chart.series,
            only=value,
        )
        for value in values
    ]


def differing_settings(chart: Chart, runs: list[RunData]) -> str:
    """Return in words the settings that make the runs' values in a chart not comparable; empty if they are."""
    needed = {key: COMPARABILITY_SETTINGS[METRICS[key].of] for key in chart.series if key in METRICS}
    if "wasserstein" in chart.series:
        needed["wasserstein"] = ESTIMATE_SETTINGS
    measured = [
        run for run in runs if any(math.isfinite(record.get(key, math.nan)) for record in run.records for key in needed)
    ]
    differences = []
    for setting in dict.fromkeys(name for settings in needed.values() for name in settings):
        values = {run.name: show(getattr(run.config, setting)) or "none" for run in measured}
        if len(set(values.values())) > 1:
            differences.append(f"{setting} is " + ", ".join(f"{value} in {name}" for name, value in values.items()))
    return "; ".join(differences)


def curves(chart: Chart, runs: list[RunData], axis: str) -> list[Curve]:
    """Return the curves of a chart by `axis`, step or time. A run without finite values has none."""
    found = []
    for number, run in enumerate(runs):
        if not chart.includes(run):
            continue
        positions = elapsed_seconds(run.records) if axis == "time" else [record["step"] for record in run.records]
        for style, (key, label) in zip(LINE_STYLES, chart.series.items(), strict=False):
            points = [(x, record[key]) for x, record in zip(positions, run.records, strict=True) if key in record]
            x, y = np.array(points, np.float64).reshape(-1, 2).T
            if np.isfinite(y).any():
                found.append(Curve(number, run.name, style, label, x, y))
    return found


def is_constant(chart: Chart, runs: list[RunData]) -> bool:
    """Return True if no curve of a chart changes, so that there is nothing to draw."""
    return all(len(np.unique(curve.y[np.isfinite(curve.y)])) == 1 for curve in curves(chart, runs, "step"))


def constant_values(chart: Chart, runs: list[RunData]) -> str:
    """Return the values of a chart whose curves do not change in words."""
    values: dict[str, list[str]] = {}
    for curve in curves(chart, runs, "step"):
        value = f"{curve.label} {curve.y[np.isfinite(curve.y)][0]:.4g}"
        values.setdefault(curve.run_name, []).append(value.strip())
    texts = {name: ", ".join(parts) for name, parts in values.items()}
    if len(set(texts.values())) > 1:
        return f"{chart.title}: " + "; ".join(f"{text} in {name}" for name, text in texts.items())
    return f"{chart.title}: {next(iter(texts.values()))}"


def legend_entries(shown: list[Curve]) -> list[tuple[int | None, str, str]]:
    """Return the entries of the legend as (run, line style, label).

    There is one for each run if there are several, and one without a run for each line style if there are several.
    """
    names = {curve.run: curve.run_name for curve in shown}
    labels = {curve.style: curve.label for curve in shown}
    entries: list[tuple[int | None, str, str]] = []
    if len(names) > 1:
        entries += [(run, "-", name) for run, name in names.items()]
    if len(labels) > 1:
        entries += [(None, style, label) for style, label in labels.items()]
    return entries


def time_unit(runs: list[RunData]) -> tuple[float, str]:
    """Return the unit of time that suits the longest run: the seconds in it, and its name."""
    longest = max((float(elapsed_seconds(run.records)[-1]) for run in runs if run.records), default=0.0)
    return next((seconds, name) for seconds, name, minimum in TIME_UNITS if longest >= minimum)


def colours(count: int, theme: str) -> list[str]:
    """Return a colour for each of `count` runs, on a `light` or `dark` page."""
    if count <= len(COLOURS[theme]):
        return list(COLOURS[theme][:count])
    return [to_hex(colormaps["turbo"](0.1 + 0.8 * number / (count - 1))) for number in range(count)]


def needs_log_axis(shown: list[Curve]) -> bool:
    """Return True if the shortest curve would be too short beside the longest one on a linear x-axis."""
    ends = [float(curve.x[-1]) for curve in shown]
    return min(ends) > 0 and max(ends) > LOG_AXIS_RATIO * min(ends)


@matplotlib.style.context("default")  # matplotlib reads a matplotlibrc of the working folder
def draw(chart: Chart, runs: list[RunData], axis: str, theme: str) -> bytes:
    """Draw a chart by `axis`, step or time, for a `light` or `dark` page; return the content of a PNG file."""
    scale, unit = time_unit(runs) if axis == "time" else (1.0, "generator steps")
    run_colours, text = colours(len(runs), theme), TEXT_COLOUR[theme]
    layout = ConstrainedLayoutEngine(w_pad=PADDING_INCHES, h_pad=PADDING_INCHES)
    figure = Figure(FIGURE_INCHES, DOTS_PER_INCH, layout=layout, facecolor=BACKGROUND[theme])
    axes = figure.add_subplot(facecolor=BACKGROUND[theme])
    shown = curves(chart, runs, axis)
    for curve in shown:
        marker, color = "o" if np.isfinite(curve.y).sum() <= MAX_MARKERS else "", run_colours[curve.run]
        axes.plot(curve.x / scale, curve.y, curve.style, color=color, lw=1.6, marker=marker, ms=3)
    if needs_log_axis(shown):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    logarithmic = ", logarithmic" if needs_log_axis(shown) else ""
    _style_axes(axes, chart, f"{unit}{' of training' if axis == 'time' else ''}{logarithmic}", text)
    handles = []
    for run, style, label in legend_entries(shown):
        color, label = text if run is None else run_colours[run], _plain_text(label, MAX_LABEL_CHARACTERS)
        handles.append(Line2D([], [], color=color, ls=style, lw=1.6, label=label))
    if handles:
        columns = max(1, min(3, LEGEND_LINE_CHARACTERS // (max(len(str(line.get_label())) for line in handles) + 7)))
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, frameon=False, fontsize=9, labelcolor=text
        )
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=BACKGROUND[theme])
    return out.getvalue()


def _style_axes(axes: Axes, chart: Chart, x_label: str, text_colour: str) -> None:
    if chart.logarithmic:
        axes.set_yscale("log", base=2)
    title = textwrap.fill(_plain_text(chart.title, MAX_TITLE_CHARACTERS), TITLE_LINE_CHARACTERS)
    axes.set_title(title, fontsize=11, color=text_colour, loc="left", fontweight="bold")
    axes.set_xlabel(x_label, fontsize=9.5, color=text_colour)
    axes.tick_params(which="both", colors=text_colour, labelsize=9, length=0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(color=GRID_COLOUR, linewidth=0.6)
    axes.spines[:].set_visible(False)


def _plain_text(label: str, limit: int) -> str:
    """Return a label of at most `limit` characters, in which a dollar sign does not start a formula."""
    short = label if len(label) <= limit else f"{label[: limit - 1]}…"
    return short.replace("$", r"\$")
