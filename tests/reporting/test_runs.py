"""Reading run folders: what is there is read, what is damaged is said, nothing is made up."""

import json
import math
from pathlib import Path

import pytest

from tests.runs import write_evaluation, write_run
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config import CONFIG_FILE
from wgan_dist.reporting.runs import Figure, names, read_evaluations, read_records, read_run, read_runs
from wgan_dist.utils.errors import UserError

DAMAGED = [
    b'{"step": 4, "\\ud800": 1}',
    b'{"step": 4, "wass',
    b"[]",
    b"{}",
    b'{"step": "4"}',
    b'{"step": 4, "a": "x"}',
    b"\xff\xfe",
    b'{"step": -1}',
]


def test_a_real_run_is_read_whole(run_dir: Path) -> None:
    run = read_run(run_dir, "tiny")
    assert run.notes == ()
    assert [record["step"] for record in run.records] == [2, 4, 6]
    assert run.steps == 6
    assert (run.config.latent_dim, run.config.run_dir) == (8, "")


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_line_is_left_out_and_said(damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_bytes(b'{"step": 2, "wasserstein": 1.5}\n' + damaged + b'\n{"step": 6}\n')
    records, notes = read_records(path)
    assert records == [{"step": 2.0, "wasserstein": 1.5}, {"step": 6.0}]
    assert notes == [f"{METRICS_FILE}: damaged and left out: line 2"]


def test_what_was_not_finite_stays_a_gap_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 2, "wasserstein": null}\n{"step": 4, "wasserstein": 1}\n')
    records, notes = read_records(path)
    assert math.isnan(records[0]["wasserstein"])
    assert notes == [f"{METRICS_FILE}: 1 values are not finite numbers; curves have gaps"]


def test_a_run_that_has_recorded_nothing_is_a_run(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "new"), "new")
    assert (run.records, run.steps) == ((), 0)
    assert run.notes == (f"there is no {METRICS_FILE}: nothing was recorded yet",)


def test_figures_keep_what_they_are_of(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    write_evaluation(run, "one", skipped={"fid": "no weights", "kid": "no weights"})
    found = {"metrics": {"fid": {"value": None, "protocol": "p"}}, "source": "g.onnx", "step": None}
    write_evaluation(run, "two", **found, skipped={"fid": "no weights", "kid": "no weights"})
    figures, skipped, notes = read_evaluations(run)
    about = ("1,024 generated, 1,024 real", "digits", "generator.safetensors", "ema", 6000)
    assert figures[0] == Figure("sliced_wasserstein", 16.9, *about)
    assert (figures[1].source, figures[1].step) == ("g.onnx", None)
    assert math.isnan(figures[1].value)
    assert (skipped, notes) == (["not fid, kid: no weights"], [])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"metrics": 3}', '{"metrics": {"fid": 3}}'])
def test_a_damaged_evaluation_is_left_out_and_said(content: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    write_evaluation(run, "good")
    (run / "evaluations" / "bad.json").write_text(content)
    figures, _, notes = read_evaluations(run)
    assert [figure.value for figure in figures] == [16.9]
    assert notes == ["evaluations/bad.json is damaged and left out"]


def test_names_are_as_short_as_they_can_be_told_apart(tmp_path: Path) -> None:
    assert names([tmp_path / "x" / "a", tmp_path / "y" / "b"]) == ["a", "b"]
    assert names([tmp_path / "x" / "a", tmp_path / "y" / "a", tmp_path / "b"])[:2] == ["x/a", "y/a"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    with pytest.raises(UserError, match="^expected the folders of runs"):
        read_runs([])
    with pytest.raises(UserError, match=f"{tmp_path}: expected the folder of a run"):
        read_runs([str(run), str(tmp_path)])
    with pytest.raises(UserError, match="given twice"):
        read_runs([str(run), f"{run}/../a"])
    (run / CONFIG_FILE).write_text(json.dumps({"latent_dim": "many"}))
    with pytest.raises(UserError, match="config.yaml: latent_dim=many: expected a whole number"):
        read_runs([str(run)])
