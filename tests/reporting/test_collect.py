"""The facts of a run in the report's tables."""

from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.reporting.collect import MISSING, TRAINING_SPEED, collect_run
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.reporting.run_data import read_run
from wgan_dist.reporting.timing import Timing


@pytest.mark.parametrize(
    ("seconds", "training_time", "per_step"),
    [(0.0123, "0 s", "0.00615 s"), (90.0, "1 min 30 s", "45 s"), (5400.0, "1 h 30 min", "45 min 0 s")],
)
def test_durations_have_units(seconds: float, training_time: str, per_step: str, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", [{"step": 2, "seconds": seconds}]), "a")
    assert TRAINING_SPEED["Training time"](run) == training_time
    assert TRAINING_SPEED["Mean time per generator step"](run) == per_step


def test_a_run_that_has_not_started_took_no_time(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", []), "a")
    assert {TRAINING_SPEED[name](run) for name in ("Training time", "Mean time per generator step")} == {MISSING}


@pytest.mark.parametrize("trust", [False, True])
def test_programs_in_a_run_are_timed_only_if_the_user_trusts_them(trust: bool, tmp_path: Path) -> None:
    files = ("generator.safetensors", "a.onnx", "b.pt", "c.compiled.pt2", "d.pt2")
    run_dir = write_run(tmp_path / "a", [])
    for name in files:
        (run_dir / name).write_bytes(b"content")
    started, lines = [], list[str]()

    def time_file(path: Path) -> Timing:
        started.append(path.name)
        return Timing(path.name, 7, {1: 1.0, 64: 1.0})

    options = ReportOptions(runs=(str(run_dir),), trust=trust)
    section = collect_run(read_run(run_dir, "a"), "a", options, time_file, lines.append)
    assert [timing.file for timing in section.timings] == list(files)
    assert started == list(files if trust else files[:2])
    for name in files[len(started) :]:
        words = "this file is a program; if you trust it, --trust runs it"
        assert Timing(name, 7, {}, words) in section.timings
        assert f"not timing {run_dir / name}: {words}" in lines
