"""An inf on one process is one skipped update on all processes."""

from pathlib import Path

import pytest

from tests.injections import INJECTIONS, outcomes
from tests.processes import run, torchrun


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_an_inf_on_one_process_is_one_skipped_update_on_all(processes: int, tmp_path: Path) -> None:
    done = run(*torchrun(processes), "-m", "tests.injections", cwd=tmp_path)
    found_by_injection = outcomes(done.stdout)
    assert len(found_by_injection) == len(INJECTIONS)
    for ranks in found_by_injection:
        assert len(ranks) == processes
        for outcome in ranks:
            about = {name: outcome.pop(name) for name in ("case", "precision", "player", "gradient")}
            halved = 2.0 if about["precision"] == "fp16" else 1.0
            expected = {"untouched": True, "skipped": 1, "scale_halved": halved, "learned_after": True, "finite": True}
            assert outcome == expected, about
