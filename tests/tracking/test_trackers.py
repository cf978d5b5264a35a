"""Experiment trackers: which names are accepted, what is sent to them, and that a run outlives a failing one."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, register_tracker_class
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY
from wgan_dist.checkpoints.run_dir import TRACKERS
from wgan_dist.tracking.metric_names import RECORDED
from wgan_dist.tracking.trackers import Trackers, check
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

# Recorded in metrics.jsonl alone.
UNTAGGED = ("step", "seconds")
FEW = {"log_every": "1", "max_steps": "3", "n_critic": "1", "checkpoint_every": "2"}


class Keeper(GeneralTracker):  # type: ignore[misc]
    """A tracker that records every call."""

    name = "keeper"
    requires_logging_directory = False
    calls: list[tuple[str, Any]] = []

    def __init__(self, project: str) -> None:
        super().__init__()
        self.calls.append(("project", project))

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("settings", values))

    def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
        self.calls.append(("log", (step, values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


class Failing(Keeper):
    """A tracker that fails at the second record."""

    name = "failing"

    def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
        super().log(values, step)
        if step == 2:
            raise ConnectionError("the server\nis gone")


@pytest.fixture
def registered() -> Iterator[type[Keeper]]:
    """Register Keeper and Failing as a program registers its own trackers."""
    for kind in (Keeper, Failing):
        register_tracker_class(kind)
    Keeper.calls.clear()
    yield Keeper
    for kind in (Keeper, Failing):
        del LOGGER_TYPE_TO_CLASS[kind.name]


def records(run_dir: Path) -> list[dict[str, Any]]:
    """Return the records of a run with TensorBoard's tags as names."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [
        {RECORDED[name].tensorboard_tag: value for name, value in record.items() if name not in UNTAGGED}
        for record in found
    ]


def test_what_is_recorded_reaches_a_tracker_and_nothing_twice(
    registered: type[Keeper], tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = tiny | FEW | {"run_dir": str(tmp_path / "run"), "trackers": "keeper"}
    train(settings)
    train({"run_dir": str(tmp_path / "run"), "resume": "true", "trackers": "keeper", "max_steps": "4"})
    of_first, of_second = registered.calls[:6], registered.calls[6:]
    assert [kind for kind, _ in of_first] == ["project", "settings", "log", "log", "log", "finish"]
    assert [kind for kind, _ in of_second] == ["project", "settings", "log", "finish"]
    logged = [value for kind, value in registered.calls if kind == "log"]
    assert [step for step, _ in logged] == [1, 2, 3, 4]
    assert [values for _, values in logged] == records(tmp_path / "run")
    told = of_first[1][1]
    assert (told["n_critic"], told["latent_dim"], told["critic_lr"]) == (1, 8, 3e-4)
    assert (told["channels"], told["betas"], told["trackers"]) == ("1", "0.5,0.9", "keeper")
    assert (told["run_dir"], of_second[1][1]["first_step"]) == (str(tmp_path / "run"), 3)


def test_a_run_outlives_a_tracker(
    registered: type[Keeper], tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny | FEW | {"run_dir": str(tmp_path / "run"), "trackers": "failing,keeper"})
    assert capsys.readouterr().err == "trackers: failing failed and is left out from step 2 on: the server is gone\n"
    assert [value[0] for kind, value in registered.calls if kind == "log"] == [1, 1, 2, 2, 3]
    assert len(records(tmp_path / "run")) == 3


def test_accelerates_own_tracker_writes_below_the_run(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | FEW | {"run_dir": str(tmp_path / "run"), "trackers": "tensorboard"})
    events = EventAccumulator(str(tmp_path / "run" / TRACKERS / "wgan_dist"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("critic/loss")]
    expected = [(n, pytest.approx(each["critic/loss"], 1e-6)) for n, each in enumerate(records(tmp_path / "run"), 1)]
    assert found == expected


def test_a_name_that_is_none_or_not_installed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^trackers=wandbb: expected some of aim, comet_ml, mlflow, tensorboard, wandb"):
        train(TINY | {"trackers": "wandbb", "run_dir": str(tmp_path / "run")})
    assert list(tmp_path.iterdir()) == []
    absent = next(name for name in ("clearml", "comet_ml", "aim") if importlib.util.find_spec(name) is None)
    with pytest.raises(
        UserError, match=f"^trackers={absent}: its package is not installed; installed are .*tensorboard"
    ):
        check(["tensorboard", absent])


def test_one_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "wgan_dist").write_text("a file where its folder would be")
    with pytest.raises(UserError, match="^trackers=tensorboard: cannot be started: [^\n]+$"):
        Trackers(["tensorboard"], tmp_path, {})


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_keeps_every_step_without_a_server(tiny: dict[str, str], tmp_path: Path) -> None:
    settings = tiny | FEW | {"run_dir": "run", "trackers": "mlflow"}
    command = (*PYTHON, "-m", "wgan_dist.train", *(f"--{name}={value}" for name, value in settings.items()))
    own = {"MLFLOW_TRACKING_URI": str(tmp_path / "mlruns"), "MLFLOW_ALLOW_FILE_STORE": "true"}
    paths = os.pathsep.join([str(REPOSITORY), *sys.path])
    environment = os.environ | own | {"PYTHONPATH": paths}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=HANG_SECONDS)
    (kept,) = (tmp_path / "mlruns").rglob("metrics/critic/loss")
    found = [(int(step), float(value)) for _, value, step in map(str.split, kept.read_text().splitlines())]
    assert found == [(n, each["critic/loss"]) for n, each in enumerate(records(tmp_path / "run"), 1)]
    (setting,) = (tmp_path / "mlruns").rglob("params/n_critic")
    assert setting.read_text() == "1"
