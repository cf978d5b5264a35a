"""Where the time of a step goes."""

import gzip
import json
import time
from pathlib import Path

import pytest
import torch

from tests.processes import TORCHRUN_2, run
from wgan_dist.train import train
from wgan_dist.utils.profiler import FOLDER, STEP, TABLE, phase, phases, recording

MILLISECONDS = 30.0


def wait(milliseconds: float) -> None:
    time.sleep(milliseconds / 1e3)


def test_a_phase_has_its_own_time_without_the_phases_in_it() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(2):
            with phase(STEP):
                wait(MILLISECONDS)
                with phase("critic"):
                    with phase("forward"):
                        wait(3 * MILLISECONDS)
                    wait(2 * MILLISECONDS)
    spent = phases(list(profile.events()))
    expected = {(STEP,): 1, (STEP, "critic"): 2, (STEP, "critic", "forward"): 3}
    assert spent.keys() == expected.keys()
    for path, times in expected.items():
        # A sleep may take longer than asked, never less.
        assert spent[path] >= 2 * times * MILLISECONDS - 0.1
    whole = sum(event.time_range.elapsed_us() for event in profile.events() if event.name == "wgan_dist: step") / 1e3
    assert sum(spent.values()) == pytest.approx(whole)


def test_a_recorded_run_leaves_a_trace_and_a_table(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"profile": "2", "max_steps": "5", "run_dir": str(tmp_path / "run")})
    folder = tmp_path / "run" / FOLDER
    lines = (folder / TABLE).read_text().splitlines()
    rows = {line[:34].strip(): [float(value.strip("%")) for value in line[34:].split()] for line in lines[1:]}
    expected = {
        "noise",
        "data",
        "critic / generated images",
        "critic / forward / inner gradient",
        "generator / backward",
    }
    assert expected <= rows.keys()
    total, share = rows.pop("in all")
    assert share == 100.0
    assert sum(milliseconds for milliseconds, _ in rows.values()) == pytest.approx(total, abs=0.01 * len(rows))
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
    line = next(line for line in done.stdout.splitlines() if line.startswith("beside these, all-reduces"))
    with gzip.open(tmp_path / "run" / FOLDER / "rank-0.pt.trace.json.gz") as trace:
        events = json.load(trace)["traceEvents"]
    told = sum(event["dur"] for event in events if event.get("name") == "gloo:all_reduce") / 1e3
    assert float(line.split()[-1]) == pytest.approx(told / 2, abs=0.01)
    names = sorted(path.name for path in (tmp_path / "run" / FOLDER).iterdir())
    assert names == [TABLE, "rank-0.pt.trace.json.gz", "rank-1.pt.trace.json.gz"]


def test_a_run_that_is_too_short_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with recording(tmp_path, 3, rank=0) as after_step:
        for _ in range(2):
            with phase(STEP):
                pass
            after_step()
    assert "profile=3: the run ended before the first step to be recorded" in capfd.readouterr().out
    assert not list((tmp_path / FOLDER).iterdir())
