"""The facts of a run in the report's tables."""

from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.reporting.collect import MISSING, TRAINING_SPEED
from wgan_dist.reporting.run_data import read_run


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
