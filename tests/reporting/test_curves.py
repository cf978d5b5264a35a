"""Charts show the recorded values at their steps and times."""

import io
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.runs import write_run
from wgan_dist.reporting import curves
from wgan_dist.reporting.curves import CHARTS, Chart
from wgan_dist.reporting.run_data import RunData, read_run
from wgan_dist.tracking.metric_names import SPEED_METRICS

COMMUNICATION = [name for name in SPEED_METRICS if name.startswith("communication")]

RECORDS: list[dict[str, Any]] = [
    {"step": 10, "seconds": 100.0, "wasserstein": 3.0, "custom": 1.0},
    {"step": 20, "seconds": 150.0, "wasserstein": None, "fid": 80.0},
    {"step": 30, "seconds": 50.0, "wasserstein": 1.0, "wasserstein_holdout": 0.5, "kid": None},
]
CHART = {chart.name: chart for chart in CHARTS}


@pytest.fixture
def run(tmp_path: Path) -> RunData:
    return read_run(write_run(tmp_path / "a", RECORDS), "a")


def test_a_curve_has_the_recorded_values(run: RunData) -> None:
    estimate, held_out = curves.curves(CHART["wasserstein"], [run], "step")
    np.testing.assert_array_equal(estimate.x, [10, 20, 30])
    np.testing.assert_array_equal(estimate.y, [3.0, np.nan, 1.0])
    np.testing.assert_array_equal([held_out.x, held_out.y], [[30], [0.5]])
    assert held_out.style != estimate.style


def test_time_is_the_sum_of_the_durations_so_far(run: RunData) -> None:
    np.testing.assert_array_equal(curves.elapsed_seconds(run.records), [100, 250, 300])
    (fid,) = curves.curves(CHART["fid"], [run], "time")
    np.testing.assert_array_equal([fid.x, fid.y], [[250], [80]])


def test_a_record_without_duration_adds_no_time(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"step": 1, "seconds": 5.0},
        {"step": 2},
        {"step": 3, "seconds": None},
        {"step": 4, "seconds": 2.0},
    ]
    found = read_run(write_run(tmp_path / "a", records), "a")
    np.testing.assert_array_equal(curves.elapsed_seconds(found.records), [5, 5, 5, 7])


def test_charts_are_those_of_recorded_metrics(run: RunData, tmp_path: Path) -> None:
    other = read_run(write_run(tmp_path / "b", [{"step": 1, "recall": 0.5}]), "b")
    assert [chart.name for chart in curves.charts_of([run, other])] == ["wasserstein", "fid", "recall", "1-custom"]
    assert [curve.run for curve in curves.curves(CHART["recall"], [run, other], "step")] == [1]


def test_losses_of_different_kinds_have_charts_of_their_own(tmp_path: Path) -> None:
    def make_run(name: str, loss: str, *keys: str) -> RunData:
        records = [{"step": step} | dict.fromkeys(keys, float(step)) for step in (1, 2)]
        return read_run(write_run(tmp_path / name, records, loss=loss), name)

    first, second = (make_run(name, "wasserstein", "critic_loss", "generator_loss") for name in "ab")
    other, unmeasured = make_run("c", "bce", "critic_loss"), make_run("d", "hinge")
    runs = [first, other, second, unmeasured]
    critic_w, critic_bce, generator = curves.charts_of(runs)
    assert [critic_w.name, critic_bce.name] == ["critic_loss-wasserstein", "critic_loss-bce"]
    assert critic_bce.title == "Critic loss, loss=bce"
    assert [curve.run for curve in curves.curves(critic_w, runs, "step")] == [0, 2]
    assert [curve.run for curve in curves.curves(critic_bce, runs, "time")] == [1]
    assert generator == CHART["generator_loss"]
    assert curves.charts_of([first, second]) == [CHART["critic_loss"], CHART["generator_loss"]]


def test_a_curve_that_changes_is_drawn_and_one_that_does_not_is_said(tmp_path: Path) -> None:
    def make_run(name: str, *values: float | None) -> RunData:
        records: list[dict[str, Any]] = [{"step": step, "critic_lr": value} for step, value in enumerate(values)]
        return read_run(write_run(tmp_path / name, records), name)

    chart = CHART["learning_rate"]
    still, same, other, falling = (
        make_run(name, *values)
        for name, values in {"a": (1e-4, None, 1e-4), "b": (1e-4,), "c": (0.5, 0.5), "d": (2.0, 1.0)}.items()
    )
    assert curves.is_constant(chart, [still, same, other])
    assert not curves.is_constant(chart, [still, falling])
    assert curves.constant_values(chart, [still, same]) == "Learning rates: critic 0.0001"
    assert curves.constant_values(chart, [still, other]) == "Learning rates: critic 0.0001 in a; critic 0.5 in c"


def test_every_metric_is_in_one_chart() -> None:
    keys = [key for chart in CHARTS for key in chart.series]
    assert len(keys) == len(set(keys))
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)


def test_a_legend_names_runs_and_series_if_there_are_several(run: RunData) -> None:
    def legend(name: str, *runs: RunData) -> list[tuple[int | None, str, str]]:
        return curves.legend_entries(curves.curves(CHART[name], list(runs), "step"))

    assert legend("fid", run) == []
    assert legend("wasserstein", run) == [(None, "-", "batches"), (None, ":", "held-out images")]
    twin = RunData(run.folder, "twin", run.config, run.records, (), None, (), ())
    assert legend("fid", run, twin) == [(0, "-", "a"), (1, "-", "twin")]


@pytest.mark.parametrize(("seconds", "unit"), [(100, "seconds"), (120, "minutes"), (3599, "minutes"), (3600, "hours")])
def test_the_time_unit_suits_the_longest_run(seconds: float, unit: str, tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / f"{took}", [{"step": 1, "seconds": took}]), "a") for took in (1.0, float(seconds))
    ]
    scale, found = curves.time_unit(runs)
    assert found == unit
    assert scale == {"seconds": 1, "minutes": 60, "hours": 3600}[unit]


@pytest.mark.parametrize(("steps", "logarithmic"), [(30, False), (240, False), (241, True)])
def test_the_axis_is_logarithmic_if_lengths_differ_much(
    steps: int, logarithmic: bool, run: RunData, tmp_path: Path
) -> None:
    long = read_run(write_run(tmp_path / "b", [{"step": steps, "wasserstein": 1.0}]), "b")
    assert curves.needs_log_axis(curves.curves(CHART["wasserstein"], [run, long], "step")) is logarithmic


@pytest.mark.parametrize("count", [1, 8, 9, 30])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_run_has_a_colour_of_its_own(count: int, theme: str) -> None:
    assert len(set(curves.colours(count, theme))) == count


def blue_pixels(chart: Chart, runs: list[RunData]) -> int:
    with Image.open(io.BytesIO(curves.draw(chart, runs, "step", "light"))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = [int(curves.COLOURS["light"][0][start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(pixels - blue).max(-1) < 12).sum())


def test_a_chart_does_not_follow_the_settings_of_the_working_folder(run: RunData) -> None:
    """Matplotlib reads a matplotlibrc there, which may call LaTeX."""
    expected = curves.draw(CHART["fid"], [run], "step", "light")
    with matplotlib.rc_context({"axes.grid": True, "text.usetex": True}):
        assert curves.draw(CHART["fid"], [run], "step", "light") == expected


def test_a_chart_shows_the_curve_in_the_colour_of_its_run(run: RunData, tmp_path: Path) -> None:
    empty = read_run(write_run(tmp_path / "b"), "b")
    assert blue_pixels(CHART["fid"], [run]) > 30
    assert blue_pixels(CHART["fid"], [empty, run]) == 0


@pytest.mark.parametrize("name", ["_hidden", "$x^$", "ä<b>&", "x" * 300])
def test_names_of_runs_are_drawn_literally(name: str, run: RunData) -> None:
    runs = [RunData(run.folder, each, run.config, run.records, (), None, (), ()) for each in (name, "other")]
    assert blue_pixels(CHART["fid"], runs) > 80  # the point, and the line of the legend


@pytest.mark.parametrize("key", ["../../../escaped", "/tmp/escaped", "a\\b", "score", "x" * 300, "é"])
def test_an_unknown_key_gets_a_file_name_of_its_own(key: str, tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "a", [{"step": 1, key: 1.0, f"{key}?": 2.0, "real_score": 1.0}]), "a")]
    names = [chart.name for chart in curves.charts_of(runs)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) for name in names)


@pytest.mark.parametrize("key", ["$x^$", "$\\frac{1}$", "x" * 300])
def test_an_unknown_key_is_a_title(key: str, tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "a", [{"step": 1, key: 1.0}]), "a")]
    (chart,) = curves.charts_of(runs)
    assert blue_pixels(chart, runs) > 30


def test_skipped_updates_are_drawn_if_there_are_any(tmp_path: Path) -> None:
    def names(folder: str, *counts: int) -> list[str]:
        records: list[dict[str, Any]] = [
            {"step": step, "critic_skipped": 0, "generator_skipped": count} for step, count in enumerate(counts)
        ]
        return [chart.name for chart in curves.charts_of([read_run(write_run(tmp_path / folder, records), folder)])]

    assert names("never", 0, 0) == []
    assert names("once", 0, 1) == ["skipped"]


def test_metrics_of_distributed_half_precision_runs_have_charts(tmp_path: Path) -> None:
    record = dict.fromkeys(("critic_loss_scale", "generator_loss_scale", *COMMUNICATION), 1024.0)
    charts = curves.charts_of([read_run(write_run(tmp_path / "a", [{"step": 1} | record]), "a")])
    assert {chart.name for chart in charts} == {"loss_scale", *COMMUNICATION}
    assert all(chart in CHARTS for chart in charts)
    assert list(CHART["loss_scale"].series) == ["critic_loss_scale", "generator_loss_scale"]
    assert CHART["loss_scale"].logarithmic


def test_charts_name_settings_that_prevent_comparison(tmp_path: Path) -> None:
    record = {"step": 1, "fid": 1.0, "kernel_distance": 1.0, "critic_loss": 1.0, "modes_covered": 8}

    def make_run(name: str, record: dict[str, Any], **settings: Any) -> RunData:
        return read_run(write_run(tmp_path / name, [record], **settings), name)

    few, many = make_run("few", record, evaluation_images=256), make_run("many", record, feature_extractor="f.onnx")
    unmeasured = make_run("unmeasured", {"step": 1, "fid": None, "critic_loss": 1.0}, evaluation_images=7)
    runs = [few, many, unmeasured]
    images = "evaluation_images is 256 in few, 1024 in many"
    assert curves.differing_settings(CHART["fid"], runs) == images
    extractor = "feature_extractor is none in few, f.onnx in many"
    assert curves.differing_settings(CHART["kernel_distance"], runs) == f"{images}; {extractor}"
    assert {curves.differing_settings(CHART[name], runs) for name in ("critic_loss", "modes_covered")} == {""}
    clipped = make_run("clipped", {"step": 1, "wasserstein": 1.0}, penalty="clip")
    free = make_run("free", {"step": 1, "wasserstein": 1.0})
    assert curves.differing_settings(CHART["wasserstein"], [free, clipped]) == "penalty is gp in free, clip in clipped"
    assert curves.differing_settings(CHART["fid"], [few, unmeasured]) == ""
