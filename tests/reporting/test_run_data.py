"""Run folders are read whole, and what is damaged is noted."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs import write_evaluation, write_run
from wgan_dist.checkpoints.best import BEST_FILE
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config import CONFIG_FILE
from wgan_dist.reporting.run_data import Measurement, read_best, read_evaluations, read_records, read_run, short_names
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
def test_a_damaged_line_is_left_out_and_noted(damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_bytes(b'{"step": 2, "wasserstein": 1.5}\n' + damaged + b'\n{"step": 6}\n')
    records, notes = read_records(path)
    assert records == [{"step": 2.0, "wasserstein": 1.5}, {"step": 6.0}]
    assert notes == [f"{METRICS_FILE}: damaged lines were left out: 2"]


def test_values_that_are_not_finite_are_nan_and_counted(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 2, "wasserstein": null}\n{"step": 4, "wasserstein": 1}\n')
    records, notes = read_records(path)
    assert math.isnan(records[0]["wasserstein"])
    assert notes == [f"{METRICS_FILE}: 1 values are not finite; the curves have gaps there"]


def test_a_run_without_records_is_read(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "new"), "new")
    assert (run.records, run.steps) == ((), 0)
    assert run.notes == (f"{METRICS_FILE} does not exist: nothing has been recorded yet",)


def test_measurements_keep_their_source(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    write_evaluation(run, "one", skipped={"fid": "no weights", "kid": "no weights"})
    found = {"metrics": {"fid": {"value": None, "protocol": "p"}}, "source": "g.onnx", "step": None}
    write_evaluation(run, "two", **found, skipped={"fid": "no weights", "kid": "no weights"})
    measurements, skipped, notes = read_evaluations(run)
    about = ("1,024 generated, 1,024 real", "digits", "generator.safetensors", "ema", 6000)
    assert measurements[0] == Measurement("sliced_wasserstein", 16.9, 9.5, *about)
    assert (measurements[1].source, measurements[1].step) == ("g.onnx", None)
    assert math.isnan(measurements[1].value)
    assert math.isnan(measurements[1].real)
    assert (skipped, notes) == (["not fid, kid: no weights"], [])


WRONG_STEPS = (
    f'{{"metrics": {{}}, "skipped": {{}}, "data": "", "source": "", "weights": "", "step": {step}}}'
    for step in ('"0_8"', "3.7", "-1", "true")
)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"metrics": 3}', '{"metrics": {"fid": 3}}', *WRONG_STEPS])
def test_a_damaged_evaluation_is_left_out_and_noted(content: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    write_evaluation(run, "good")
    (run / "evaluations" / "bad.json").write_text(content)
    measurements, _, notes = read_evaluations(run)
    assert [measurement.value for measurement in measurements] == [16.9]
    assert notes == ["evaluations/bad.json is damaged and was left out"]


@pytest.mark.parametrize("change", [{"step": "0_8"}, {"step": 3.7}, {"value": "0_8"}, {"value": True}])
def test_a_damaged_best_value_is_none(change: dict[str, object], tmp_path: Path) -> None:
    best = {"metric": "fid", "value": 3.5, "step": 7, "protocol": "p"}
    (tmp_path / BEST_FILE).write_text(json.dumps(best))
    found = read_best(tmp_path)
    assert found is not None
    assert replace(found, real=0.0) == Measurement("fid", 3.5, 0.0, "p", "", "best.safetensors", "ema", 7)
    (tmp_path / BEST_FILE).write_text(json.dumps(best | change))
    assert read_best(tmp_path) is None


def test_names_are_as_short_as_possible_and_unique(tmp_path: Path) -> None:
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "b"]) == ["a", "b"]
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "a", tmp_path / "b"])[:2] == ["x/a", "y/a"]


def test_a_run_does_not_choose_the_cache(tmp_path: Path) -> None:
    """A stranger's cache may hold other images than its index says."""
    run = write_run(tmp_path / "a", [], cache_dir="forged")
    assert "cache_dir" not in (run / CONFIG_FILE).read_text()
    (run / CONFIG_FILE).write_text("cache_dir: forged")
    with pytest.raises(UserError, match="config.yaml: cache_dir is given on the command line, not in a file"):
        read_run(run, "a")


def test_a_run_with_invalid_settings_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    (run / CONFIG_FILE).write_text(json.dumps({"latent_dim": "many"}))
    with pytest.raises(UserError, match="config.yaml: latent_dim=many: expected a whole number"):
        read_run(run, "a")
