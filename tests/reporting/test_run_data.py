"""Run folders are read whole, and what is damaged is noted."""

import json
import math
import os
from pathlib import Path

import pytest

from tests.runs import write_evaluation, write_run
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config import CONFIG_FILE
from wgan_dist.reporting import run_data
from wgan_dist.reporting.run_data import Measurement, read_evaluations, read_records, read_run, short_names
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
    b'{"step": 1e999}',
    b'{"step": 1.5}',
    b'{"step": 1e300}',
    b'{"step": null}',
    b'{"step": 4, "seconds": -3}',
    b'{"step": 4, "seconds": 1e300}',
    b'{"step": 4, "seen_images": -1}',
    b'{"step": 4, "a": ' + b"[" * 100_000 + b"}",
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


def test_endless_values_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 2, "fid": 1e999, "kid": -Infinity, "swd": NaN}\n')
    assert all(math.isnan(read_records(path)[0][0][name]) for name in ("fid", "kid", "swd"))


def test_of_very_many_lines_the_first_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_data, "MAX_RECORDS", 20)
    path = tmp_path / METRICS_FILE
    for count, notes in ((20, []), (21, [f"{METRICS_FILE}: the lines after the first 20 were left out"])):
        path.write_text('{"step": 2}\n' * count)
        found, said = read_records(path)
        assert (len(found), said) == (20, notes)
    path.write_text("x\n" * 15)
    named = ", ".join(map(str, range(1, 11)))
    assert read_records(path)[1] == [f"{METRICS_FILE}: damaged lines were left out: {named} and 5 more"]


BEST = {"metric": "fid", "value": 3.5, "step": 4, "protocol": "p"}


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        json.dumps(BEST | {"value": math.inf}).encode(),
        *(json.dumps(BEST | {"value": value}).encode() for value in ("3", "0_8", True)),
        *(json.dumps(BEST | {"step": step}).encode() for step in (-4, math.inf, 3.7, "0_8")),
    ],
)
def test_a_damaged_best_value_is_left_out_and_noted(content: bytes, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [])
    (folder / "best.json").write_text(json.dumps(BEST))
    assert read_run(folder, "a").best == Measurement("fid", 3.5, math.nan, "", "p", "", "best.safetensors", "ema", 4)
    (folder / "best.json").write_bytes(content)
    run = read_run(folder, "a")
    assert (run.best, run.notes) == (None, ("best.json is damaged and was left out",))


@pytest.mark.parametrize("name", ["metrics.jsonl", "best.json", "evaluations/a.json"])
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a sparse file"])
def test_a_file_of_a_run_that_is_no_bounded_file_is_noted(name: str, kind: str, tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", []) / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    assert any(note.startswith(f"{name} cannot be read: it ") for note in read_run(tmp_path / "a", "a").notes)


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
    of_real = "1,024 real against 1,024 other real"
    assert measurements[0] == Measurement("sliced_wasserstein", 16.9, 9.5, of_real, *about)
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
