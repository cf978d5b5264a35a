"""What the curves show: the recorded values at their steps and times, and nothing between."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs import write_run
from wgan_dist.reporting import curves
from wgan_dist.reporting.curves import PANELS, Panel
from wgan_dist.reporting.runs import Run, read_run
from wgan_dist.tracking.metric_names import SPEED_METRICS

RECORDS: list[dict[str, Any]] = [
    {"step": 10, "seconds": 100.0, "wasserstein": 3.0, "custom": 1.0},
    {"step": 20, "seconds": 150.0, "wasserstein": None, "fid": 80.0},
    {"step": 30, "seconds": 50.0, "wasserstein": 1.0, "wasserstein_holdout": 0.5, "kid": None},
]
PANEL = {panel.name: panel for panel in PANELS}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(write_run(tmp_path / "a", RECORDS), "a")


def test_a_curve_is_what_was_recorded(run: Run) -> None:
    estimate, held_out = curves.curves(PANEL["wasserstein"], [run], "step")
    np.testing.assert_array_equal(estimate.x, [10, 20, 30])
    np.testing.assert_array_equal(estimate.y, [3.0, np.nan, 1.0])
    np.testing.assert_array_equal([held_out.x, held_out.y], [[30], [0.5]])
    assert held_out.style != estimate.style


def test_time_is_the_sum_of_all_records_until_then(run: Run) -> None:
    np.testing.assert_array_equal(curves.elapsed(run.records), [100, 250, 300])
    (fid,) = curves.curves(PANEL["fid"], [run], "time")
    np.testing.assert_array_equal([fid.x, fid.y], [[250], [80]])


def test_time_goes_on_where_a_record_does_not_say_how_long_it_took(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"step": 1, "seconds": 5.0},
        {"step": 2},
        {"step": 3, "seconds": None},
        {"step": 4, "seconds": 2.0},
    ]
    found = read_run(write_run(tmp_path / "a", records), "a")
    np.testing.assert_array_equal(curves.elapsed(found.records), [5, 5, 5, 7])


def test_charts_are_drawn_of_what_any_run_has_and_of_nothing_else(run: Run, tmp_path: Path) -> None:
    other = read_run(write_run(tmp_path / "b", [{"step": 1, "recall": 0.5}]), "b")
    assert [panel.name for panel in curves.panels([run, other])] == ["wasserstein", "fid", "recall", "1-custom"]
    assert [curve.run for curve in curves.curves(PANEL["recall"], [run, other], "step")] == [1]


def test_no_key_is_drawn_in_two_charts() -> None:
    keys = [key for panel in PANELS for key, _, _ in panel.series]
    assert len(keys) == len(set(keys))
    assert len({panel.name for panel in PANELS}) == len(PANELS)


def test_a_legend_says_what_the_eye_needs_and_no_more(run: Run) -> None:
    def legend(name: str, *runs: Run) -> list[tuple[int | None, str, str]]:
        return curves.legend(curves.curves(PANEL[name], list(runs), "step"))

    assert legend("fid", run) == []
    assert legend("wasserstein", run) == [(None, "-", "batches"), (None, ":", "held-out images")]
    twin = Run(run.folder, "twin", run.config, run.records, (), (), ())
    assert legend("fid", run, twin) == [(0, "-", "a"), (1, "-", "twin")]


@pytest.mark.parametrize(("seconds", "unit"), [(100, "seconds"), (120, "minutes"), (3599, "minutes"), (3600, "hours")])
def test_the_unit_of_time_suits_the_longest_run(seconds: float, unit: str, tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / f"{took}", [{"step": 1, "seconds": took}]), "a") for took in (1.0, float(seconds))
    ]
    scale, found = curves.time_unit(runs)
    assert found == unit
    assert scale == {"seconds": 1, "minutes": 60, "hours": 3600}[unit]


@pytest.mark.parametrize(("steps", "lost"), [(30, False), (240, False), (241, True)])
def test_short_runs_are_not_lost_beside_long_ones(steps: int, lost: bool, run: Run, tmp_path: Path) -> None:
    long = read_run(write_run(tmp_path / "b", [{"step": steps, "wasserstein": 1.0}]), "b")
    assert curves.spans_much(curves.curves(PANEL["wasserstein"], [run, long], "step")) is lost


@pytest.mark.parametrize("count", [1, 8, 9, 30])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_run_has_a_colour_of_its_own(count: int, theme: str) -> None:
    assert len(set(curves.colours(count, theme))) == count


def blue_pixels(panel: Panel, runs: list[Run]) -> int:
    with Image.open(io.BytesIO(curves.draw(panel, runs, "step", "light"))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = [int(curves.COLOURS["light"][0][place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.abs(pixels - blue).max(-1) < 12).sum())


def test_a_chart_shows_the_curve_in_the_colour_of_its_run(run: Run, tmp_path: Path) -> None:
    empty = read_run(write_run(tmp_path / "b"), "b")
    assert blue_pixels(PANEL["fid"], [run]) > 30
    assert blue_pixels(PANEL["fid"], [empty, run]) == 0


@pytest.mark.parametrize("name", ["_hidden", "$x^$", "ä<b>&", "x" * 300])
def test_names_of_runs_are_drawn_as_they_are(name: str, run: Run) -> None:
    runs = [Run(run.folder, each, run.config, run.records, (), (), ()) for each in (name, "other")]
    assert blue_pixels(PANEL["fid"], runs) > 80  # the point, and the line of the legend


@pytest.mark.parametrize("key", ["../../../escaped", "/tmp/escaped", "a\\b", "score", "x" * 300, "é"])
def test_a_key_that_anyone_may_have_written_names_a_file_of_its_own(key: str, tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "a", [{"step": 1, key: 1.0, f"{key}?": 2.0, "real_score": 1.0}]), "a")]
    names = [panel.name for panel in curves.panels(runs)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) for name in names)


@pytest.mark.parametrize("key", ["$x^$", "$\\frac{1}$", "x" * 300])
def test_a_key_that_anyone_may_have_written_is_a_title(key: str, tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "a", [{"step": 1, key: 1.0}]), "a")]
    (panel,) = curves.panels(runs)
    assert blue_pixels(panel, runs) > 30


def test_skipped_steps_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    def names(folder: str, *counts: int) -> list[str]:
        records: list[dict[str, Any]] = [
            {"step": step, "critic_skipped": 0, "generator_skipped": count} for step, count in enumerate(counts)
        ]
        return [panel.name for panel in curves.panels([read_run(write_run(tmp_path / folder, records), folder)])]

    assert names("never", 0, 0) == []
    assert names("once", 0, 1) == ["skipped"]


def test_what_a_run_of_several_processes_in_half_precision_records_has_charts(tmp_path: Path) -> None:
    communication = [name for name in SPEED_METRICS if name.startswith("communication")]
    record = dict.fromkeys(("critic_loss_scale", "generator_loss_scale", *communication), 1024.0)
    found = curves.panels([read_run(write_run(tmp_path / "a", [{"step": 1} | record]), "a")])
    assert {panel.name for panel in found} == {"loss_scale", *communication}
    assert all(panel in PANELS for panel in found)
    assert [key for key, _, _ in PANEL["loss_scale"].series] == ["critic_loss_scale", "generator_loss_scale"]
    assert PANEL["loss_scale"].logarithmic


def test_charts_say_what_was_not_measured_alike(tmp_path: Path) -> None:
    record = {"step": 1, "fid": 1.0, "kernel_distance": 1.0, "critic_loss": 1.0, "modes_covered": 8}

    def made(name: str, drawn: dict[str, Any], **settings: Any) -> Run:
        return read_run(write_run(tmp_path / name, [drawn], **settings), name)

    few, many = made("few", record, evaluation_images=256), made("many", record, feature_extractor="f.onnx")
    unmeasured = made("unmeasured", {"step": 1, "fid": None, "critic_loss": 1.0}, evaluation_images=7)
    runs = [few, many, unmeasured]
    images = "evaluation_images is 256 of few, 1024 of many"
    assert curves.conditions(PANEL["fid"], runs) == images
    extractor = "feature_extractor is none of few, f.onnx of many"
    assert curves.conditions(PANEL["kernel_distance"], runs) == f"{images}; {extractor}"
    assert {curves.conditions(PANEL[name], runs) for name in ("critic_loss", "modes_covered")} == {""}
    assert curves.conditions(PANEL["fid"], [few, unmeasured]) == ""
