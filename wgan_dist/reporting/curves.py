"""Curves of what runs recorded, by generator step and by time of training."""

import io
import math
import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from wgan_dist.config.fields import show
from wgan_dist.reporting.image_files import file_name
from wgan_dist.reporting.runs import Record, Run
from wgan_dist.tracking.metric_names import CRITIC, EXTRACTOR, INCEPTION, METRICS, PIXELS, POINTS

AXES = ("step", "time")
SIZE_INCHES, DOTS_PER_INCH = (4.1, 2.8), 190
# Wong 2011, which the colour-blind tell apart; the second, for a dark page, is the same hues lighter.
COLOURS = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#a97900", "#3a9bd6", "#555555", "#7a3b00"),
    "dark": ("#5ab4f0", "#ff8f4a", "#34cfa2", "#e79fca", "#f0c03c", "#a6d8fa", "#c4c4c4", "#c9935d"),
}
PAPER, INK, LINES = {"light": "#ffffff", "dark": "#181b20"}, {"light": "#222222", "dark": "#dddddd"}, "#8888884d"
# Fewer points than this are drawn as points too.
FEW = 60
LEGEND_CHARACTERS, LINE_CHARACTERS, TITLE_CHARACTERS, TITLE_WIDTH = 36, 54, 60, 42
PADDING_INCHES = 0.09
# Runs whose lengths differ by more than this factor are drawn over a logarithmic axis.
MUCH_LONGER = 8.0


# Seconds in a unit of time, its name, and the seconds from which on it is the one to use.
UNITS = ((3600.0, "hours", 3600.0), (60.0, "minutes", 120.0), (1.0, "seconds", 0.0))


@dataclass(frozen=True)
class Panel:
    """One chart: series as (key of a record, style of the line, words that tell it from the others).

    `name` is that of its files. With `unless_zero` there is no chart while every value is zero.
    """

    name: str
    title: str
    series: tuple[tuple[str, str, str], ...]
    hint: str = ""
    logarithmic: bool = False
    unless_zero: bool = False


# The settings that decide whether the values of two runs compare, by what a metric is computed from. Points are always
# counted alike.
DECIDING = {
    PIXELS: ("evaluation_images",),
    INCEPTION: ("evaluation_images",),
    EXTRACTOR: ("evaluation_images", "feature_extractor"),
    CRITIC: ("evaluation_images",),
    POINTS: (),
}
# Which way of a metric is better, in words.
WAYS = {True: "lower is better", False: "higher is better", None: ""}


def _one(name: str, title: str, hint: str = "") -> Panel:
    way = WAYS[METRICS[name].lower_is_better] if name in METRICS else ""
    return Panel(name, title, ((name, "-", ""),), hint or way)


PANELS = (
    Panel(
        "wasserstein",
        "Wasserstein estimate of the critic",
        (
            ("wasserstein", "-", "batches"),
            ("wasserstein_train", "--", "training images"),
            ("wasserstein_holdout", ":", "held-out images"),
        ),
        "its fall is progress; a gap to held-out images is over-fitting of the critic",
    ),
    _one("critic_loss", "Critic's loss"),
    _one("generator_loss", "Generator's loss"),
    _one("gradient_penalty", "Penalty"),
    _one("gradient_norm", "Norm of the critic's gradient", "a penalty holds it near 1"),
    Panel(
        "probability",
        "Probability of being real, as the discriminator sees it",
        (("real_probability", "-", "real"), ("fake_probability", "--", "generated")),
    ),
    Panel("score", "Scores of the critic", (("real_score", "-", "real"), ("fake_score", "--", "generated"))),
    _one("sliced_wasserstein", "Sliced Wasserstein distance × 10³"),
    _one("fid", "FID"),
    _one("kid", "KID"),
    _one("frechet_distance", "Fréchet distance of the extractor's features"),
    _one("kernel_distance", "Kernel distance of the extractor's features"),
    _one("inception_score", "Inception Score"),
    _one("precision", "Precision"),
    _one("recall", "Recall"),
    Panel(
        "exact_wasserstein",
        "Exact Wasserstein distance",
        (("exact_wasserstein", "-", "exact"), ("critic_wasserstein", "--", "critic's estimate")),
        WAYS[True],
    ),
    _one("modes_covered", "Modes covered"),
    _one("good_share", "Share of good points"),
    _one("rarest_mode_share", "Rarest mode, of its fair share"),
    _one("nearest_neighbour", "Distance to the nearest training image", "near zero is memorisation"),
    _one("diversity", "Pairwise diversity in a batch", "a fall is collapse"),
    Panel("learning_rate", "Learning rates", (("critic_lr", "-", "critic"), ("generator_lr", "--", "generator"))),
    _one("images_per_second", "Real images per second", WAYS[False]),
    _one("communication_share", "Share of time waiting for gradients", "between processes; lower is better"),
    _one("communication_ms", "Averaging gradients, ms a generator step", "between processes; lower is better"),
    _one("communication_bytes", "Gradients averaged, bytes a generator step", "of each process"),
    Panel(
        "skipped",
        "Steps skipped for gradients that are not finite",
        (("critic_skipped", "-", "critic"), ("generator_skipped", "--", "generator")),
        unless_zero=True,
    ),
    Panel(
        "loss_scale",
        "Loss scale of float16",
        (("critic_loss_scale", "-", "critic"), ("generator_loss_scale", "--", "generator")),
        logarithmic=True,
    ),
)
# What a record says of itself rather than of the run.
NOT_DRAWN = {"step", "seen_images", "seconds"}


def title(metric: str) -> str:
    """What a metric is called, by its key in a record."""
    return next((panel.title for panel in PANELS if panel.series[0][0] == metric), metric.replace("_", " "))


@dataclass(frozen=True)
class Curve:
    """x and y [n] of one series of run number `run`, in generator steps or seconds; NaN in y is a gap."""

    run: int
    name: str
    style: str
    words: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def elapsed(records: tuple[Record, ...]) -> NDArray[np.float64]:
    """Seconds of training at each record [n]; one that does not say how long it took counts as none."""
    return np.nancumsum([record.get("seconds", math.nan) for record in records])


def panels(runs: list[Run]) -> list[Panel]:
    """The charts for which any run has a finite value; a key that no chart is known for gets its own."""
    values = [item for run in runs for record in run.records for item in record.items() if math.isfinite(item[1])]
    found, moved = {name for name, _ in values}, {name for name, value in values if value != 0}
    known = {key for panel in PANELS for key, _, _ in panel.series}
    # Anyone may have written the key: it names no other folder, and no file of another chart.
    others = [
        Panel(file_name(number, name), name.replace("_", " "), ((name, "-", ""),))
        for number, name in enumerate(sorted(found - known - NOT_DRAWN))
    ]
    return [
        panel
        for panel in (*PANELS, *others)
        if any(key in (moved if panel.unless_zero else found) for key, _, _ in panel.series)
    ]


def conditions(panel: Panel, runs: list[Run]) -> str:
    """The settings that decide whether the measured values in a chart compare, of each run, where they differ."""
    measured = {key: METRICS[key] for key, _, _ in panel.series if key in METRICS}
    shown = [
        run
        for run in runs
        if any(math.isfinite(record.get(key, math.nan)) for record in run.records for key in measured)
    ]
    told = []
    for setting in dict.fromkeys(name for measure in measured.values() for name in DECIDING[measure.of]):
        values = [show(getattr(run.config, setting)) or "none" for run in shown]
        if len(set(values)) > 1:
            each = ", ".join(f"{value} of {run.name}" for run, value in zip(shown, values, strict=True))
            told.append(f"{setting} is {each}")
    return "; ".join(told)


def curves(panel: Panel, runs: list[Run], axis: str) -> list[Curve]:
    """What the chart shows by `axis`, step or time; a run without any of it has no curve."""
    drawn = []
    for number, run in enumerate(runs):
        seconds = elapsed(run.records)
        for key, style, words in panel.series:
            having = [place for place, record in enumerate(run.records) if key in record]
            x = [seconds[place] if axis == "time" else run.records[place]["step"] for place in having]
            y = np.array([run.records[place][key] for place in having], np.float64)
            if np.isfinite(y).any():
                drawn.append(Curve(number, run.name, style, words, np.array(x, np.float64), y))
    return drawn


def legend(shown: list[Curve]) -> list[tuple[int | None, str, str]]:
    """What tells the curves apart, as (run, style, words): its colour where there are several runs, then its style
    where there are several.
    """
    named = {curve.run: curve.name for curve in shown}
    styles = {curve.style: curve.words for curve in shown}
    lines: list[tuple[int | None, str, str]] = []
    if len(named) > 1:
        lines += [(run, "-", name) for run, name in named.items()]
    if len(styles) > 1:
        lines += [(None, style, words) for style, words in styles.items()]
    return lines


def time_unit(runs: list[Run]) -> tuple[float, str]:
    """Seconds in the unit that suits the longest run, and its name."""
    longest = max((float(elapsed(run.records)[-1]) for run in runs if run.records), default=0.0)
    return next((scale, unit) for scale, unit, least in UNITS if longest >= least)


def colours(count: int, theme: str) -> list[str]:
    """A colour for each of `count` runs, for a light or a dark page."""
    if count <= len(COLOURS[theme]):
        return list(COLOURS[theme][:count])
    return [to_hex(colormaps["turbo"](0.1 + 0.8 * number / (count - 1))) for number in range(count)]


def spans_much(shown: list[Curve]) -> bool:
    """Whether the shortest curve would be lost beside the longest."""
    ends = [float(curve.x[-1]) for curve in shown]
    return min(ends) > 0 and max(ends) > MUCH_LONGER * min(ends)


def draw(panel: Panel, runs: list[Run], axis: str, theme: str) -> bytes:
    """The chart as a PNG."""
    scale, unit = time_unit(runs) if axis == "time" else (1.0, "generator steps")
    shades, ink = colours(len(runs), theme), INK[theme]
    figure = Figure(SIZE_INCHES, DOTS_PER_INCH, layout="constrained", facecolor=PAPER[theme])
    figure.set_layout_engine("constrained", w_pad=PADDING_INCHES, h_pad=PADDING_INCHES)
    axes = figure.add_subplot(facecolor=PAPER[theme])
    shown = curves(panel, runs, axis)
    for curve in shown:
        marker = "o" if np.isfinite(curve.y).sum() <= FEW else ""
        axes.plot(curve.x / scale, curve.y, curve.style, color=shades[curve.run], lw=1.6, marker=marker, ms=3)
    words = unit if axis == "step" else f"{unit} of training"
    _dress(axes, panel, f"{words}, logarithmic" if spans_much(shown) else words, ink)
    if spans_much(shown):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    lines = [
        Line2D(
            [],
            [],
            color=ink if run is None else shades[run],
            ls=style,
            lw=1.6,
            label=_literal(words, LEGEND_CHARACTERS),
        )
        for run, style, words in legend(shown)
    ]
    if lines:
        figure.legend(
            handles=lines, loc="outside lower left", ncols=_columns(lines), frameon=False, fontsize=9, labelcolor=ink
        )
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=PAPER[theme])
    return out.getvalue()


def _dress(axes: Axes, panel: Panel, x_words: str, ink: str) -> None:
    if panel.logarithmic:
        axes.set_yscale("log", base=2)
    title = textwrap.fill(_literal(panel.title, TITLE_CHARACTERS), TITLE_WIDTH)
    axes.set_title(title, fontsize=11, color=ink, loc="left", fontweight="bold")
    axes.set_xlabel(x_words, fontsize=9.5, color=ink)
    axes.tick_params(which="both", colors=ink, labelsize=9, length=0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(color=LINES, linewidth=0.6)
    axes.spines[:].set_visible(False)


def _columns(lines: list[Line2D]) -> int:
    """As many as are not wider than the chart."""
    longest = max(len(str(line.get_label())) for line in lines)
    return max(1, min(3, LINE_CHARACTERS // (longest + 7)))


def _literal(label: str, most: int) -> str:
    """The same text, if of no more than `most` characters, where a dollar would begin a formula."""
    short = label if len(label) <= most else f"{label[: most - 1]}…"
    return short.replace("$", r"\$")
