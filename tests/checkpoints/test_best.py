"""The best generator that was measured is kept, whatever is pruned."""

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.tiny import SETTINGS, files, records
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.best import BEST_FILE, BEST_GENERATOR, improves
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.checkpoints.train_state import Best
from wgan_dist.train import train


@pytest.mark.parametrize("lower", [True, False])
def test_better_is_lower_or_higher_as_the_metric_says(lower: bool) -> None:
    def found(value: float, metric: str = "some", protocol: str = "so") -> Best:
        return Best(metric, value, lower, 5, "step-00000005", protocol)

    assert improves(found(2.0), found(1.0)) is lower
    assert improves(found(2.0), found(3.0)) is not lower
    assert not improves(found(2.0), found(2.0))
    assert not improves(None, found(float("nan")))
    assert improves(None, found(9.0))
    # Values of another metric, or measured in another way, are not compared.
    assert improves(found(2.0, metric="other"), found(2.0))
    assert improves(found(2.0, protocol="otherwise"), found(2.0))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """A run whose learning rate is so great that it gets worse again, evaluated often, with one checkpoint kept."""
    folder = tmp_path_factory.mktemp("best") / "run"
    often = {
        "evaluate_every": "3",
        "checkpoint_every": "7",
        "keep_checkpoints": "1",
        "generator_lr": "0.1",
        "max_steps": "20",
    }
    train(SETTINGS | often | {"run_dir": str(folder), "cache_dir": str(cache_dir)})
    return folder


def test_the_best_of_all_that_was_measured_outlives_the_pruning(measured: Path) -> None:
    values = {each["step"]: each["sliced_wasserstein"] for each in records(measured) if "sliced_wasserstein" in each}
    step = min(values, key=lambda each: values[each])
    assert step not in (0, 7, 14, 20)  # neither the cadence nor the end would have kept it
    about = json.loads((measured / BEST_FILE).read_text())
    assert about == {
        "metric": "sliced_wasserstein",
        "lower_is_better": True,
        "value": values[step],
        "step": step,
        "checkpoint": f"step-{step:08d}",
        "protocol": "1,024 generated, 1,024 real (digits; resized to cover the size, centre-cropped), 16×16 grey",
    }
    kept = sorted(folder.name for folder in (measured / CHECKPOINTS).iterdir())
    assert kept == sorted([f"step-{step:08d}", "step-00000020"])
    assert generator_file.load(measured / BEST_GENERATOR).description.steps == step


def test_a_kill_before_the_best_was_published_is_made_good(measured: Path, tmp_path: Path) -> None:
    shutil.copytree(measured, tmp_path / "run")
    before = files(tmp_path / "run")
    for name in (BEST_FILE, BEST_GENERATOR, generator_file.EMA_FILE):
        (tmp_path / "run" / name).unlink()
    train({"run_dir": str(tmp_path / "run"), "resume": "true"})
    after = files(tmp_path / "run")
    for name in (BEST_FILE, BEST_GENERATOR, generator_file.EMA_FILE):
        assert after[name] == before[name]
