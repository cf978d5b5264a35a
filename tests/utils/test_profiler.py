"""A recording gives the time of each phase of a step."""

import gzip
import json
import time
from pathlib import Path

import pytest
import torch

from tests.processes import TORCHRUN_2, run
from wgan_dist.train import train
from wgan_dist.utils.profiler import FOLDER, STEP, TABLE, phase, recording

MILLISECONDS = 30.0


def wait(milliseconds: float) -> None:
    time.sleep(milliseconds / 1e3)


def rows_of(table: str) -> dict[str, list[float]]:
    """Return milliseconds per step and percents of the step by phase."""
    lines = table.splitlines()[1:]
    return {line[:42].strip(): [float(value.strip("%")) for value in line[42:].split()] for line in lines}


def test_the_table_has_the_time_of_each_phase_per_recorded_step(tmp_path: Path) -> None:
    with recording(tmp_path, 2, 0, torch.device("cpu")) as after_step:
        for step in range(5):
            with phase(STEP):
                wait(MILLISECONDS)
                with phase("critic"):
                    with phase("forward"):
                        wait((3 if step in (2, 3) else 30) * MILLISECONDS)  # the recorded steps
                    wait(2 * MILLISECONDS)
            after_step()
    rows = rows_of((tmp_path / FOLDER / TABLE).read_text())
    expected = {"step": 6, "step / critic": 5, "step / critic / forward": 3}
    assert rows.keys() == expected.keys()
    for path, times in expected.items():
        milliseconds, share = rows[path]
        # A sleep may take longer than requested, never less.
        assert times * MILLISECONDS - 0.1 <= milliseconds < 27 * MILLISECONDS
        assert share == pytest.approx(100 * milliseconds / rows["step"][0], abs=0.06)


def test_phases_outside_a_recording_are_not_recorded() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, phase(STEP):
        wait(1)
    assert not any("step" in average.key for average in profile.key_averages())


def test_a_recorded_run_leaves_a_trace_and_a_table(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"profile": "2", "max_steps": "5", "run_dir": str(tmp_path / "run")})
    folder = tmp_path / "run" / FOLDER
    rows = rows_of((folder / TABLE).read_text())
    expected = {
        "step / noise",
        "step / data",
        "step / critic / generated samples",
        "step / critic / forward / inner gradient",
        "step / generator / backward",
    }
    assert expected <= rows.keys()
    assert rows["step"][1] == 100.0
    for path in rows:
        inner = [time for name, (time, _) in rows.items() if name.rpartition(" / ")[0] == path]
        assert sum(inner) <= rows[path][0] + 0.01 * len(inner)
    with gzip.open(folder / "rank-0.pt.trace.json.gz") as trace:
        names = [event.get("name") for event in json.load(trace)["traceEvents"]]
    assert names.count("wgan_dist: step") >= 2
    assert sorted(path.name for path in folder.iterdir()) == [TABLE, "rank-0.pt.trace.json.gz"]


def test_profiling_does_not_change_the_run(tiny: dict[str, str], tmp_path: Path) -> None:
    for name, profile in (("plain", "0"), ("recorded", "1")):
        train(tiny | {"profile": profile, "max_steps": "4", "run_dir": str(tmp_path / name)})
    one, other = ((tmp_path / name / "generator.safetensors").read_bytes() for name in ("plain", "recorded"))
    assert one == other
    assert not (tmp_path / "plain" / FOLDER).exists()


def test_each_process_has_its_trace_and_the_first_the_table(tiny: dict[str, str], tmp_path: Path) -> None:
    settings = tiny | {"profile": "2", "max_steps": "5", "run_dir": "run"}
    done = run(*TORCHRUN_2, "-m", "wgan_dist.train", *(f"--{k}={v}" for k, v in settings.items()), cwd=tmp_path)
    assert done.stdout.count("all_reduce") == 1
    milliseconds, _ = rows_of((tmp_path / "run" / FOLDER / TABLE).read_text())["gloo:all_reduce"]
    with gzip.open(tmp_path / "run" / FOLDER / "rank-0.pt.trace.json.gz") as trace:
        events = json.load(trace)["traceEvents"]
    traced = sum(event["dur"] for event in events if event.get("name") == "gloo:all_reduce") / 1e3
    assert milliseconds == pytest.approx(traced / 2, abs=0.01)
    names = sorted(path.name for path in (tmp_path / "run" / FOLDER).iterdir())
    assert names == [TABLE, "rank-0.pt.trace.json.gz", "rank-1.pt.trace.json.gz"]


def test_a_run_that_is_too_short_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with recording(tmp_path, 3, 0, torch.device("cpu")) as after_step:
        for _ in range(2):
            with phase(STEP):
                pass
            after_step()
    assert "profile=3: the run ended before the first step to be recorded" in capfd.readouterr().out
    assert not list((tmp_path / FOLDER).iterdir())
