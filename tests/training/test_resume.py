"""A run that is stopped at any boundary between critic iterations ends as one that never stopped."""

import json
import shutil
from pathlib import Path

import pytest

from tests import processes
from tests.checkpoint_files import save_files
from tests.faults.resume import POINTS, TWO_PROCESSES, Point, attempt, check, check_two
from tests.faults.tiny import SETTINGS, files
from wgan_dist.checkpoints import manifest
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_name, checkpoint_position
from wgan_dist.checkpoints.state_file import STATE_FILE
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


@pytest.mark.parametrize("point", POINTS, ids=[point.name for point in POINTS])
def test_stopped_and_resumed_equals_straight(point: Point, tmp_path: Path, cache_dir: Path) -> None:
    assert check(point, tmp_path, cache_dir) == []


@pytest.mark.faults
@pytest.mark.parametrize("point", TWO_PROCESSES, ids=[point.name for point in TWO_PROCESSES])
def test_stopped_and_resumed_equals_straight_with_two_processes(point: Point, tmp_path: Path, cache_dir: Path) -> None:
    assert check_two(point, tmp_path, cache_dir) == []


@pytest.mark.faults
def test_three_processes_resume_to_equal_bytes(tmp_path: Path, cache_dir: Path) -> None:
    """From three values on, the order of a sum decides its last bit, and buckets of gradients decide the order."""
    settings = SETTINGS | {"cache_dir": str(cache_dir), "batch_size": "12", "checkpoint_every": "3", "threads": "1"}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    launch = (*processes.torchrun(3), "-m", "wgan_dist.train")
    processes.run(*launch, *flags, "--max_steps=6", "--run_dir=straight", cwd=tmp_path)
    processes.run(*launch, *flags, "--max_steps=3", "--run_dir=halved", cwd=tmp_path)
    processes.run(*launch, "--max_steps=6", "--run_dir=halved", "--resume", f"--cache_dir={cache_dir}", cwd=tmp_path)
    straight, halved = (files(tmp_path / name / CHECKPOINTS / "step-00000006") for name in ("straight", "halved"))
    differing = [name for name in straight if name.endswith(".safetensors") and straight[name] != halved[name]]
    assert differing == []


def test_a_run_stopped_again_and_again_loses_nothing(tmp_path: Path, cache_dir: Path) -> None:
    """Each time within the next step, so that every checkpoint but the last is one of a signal."""
    settings = SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "7", "checkpoint_every": "0"}
    straight = attempt(settings | {"run_dir": str(tmp_path / "straight")}, None)
    seen = attempt(settings | {"run_dir": str(tmp_path / "run")}, 4)
    for at in (8, 9, 13, 17):
        seen += attempt({"run_dir": str(tmp_path / "run"), "resume": "true", "cache_dir": str(cache_dir)}, at)
    seen += attempt({"run_dir": str(tmp_path / "run"), "resume": "true", "cache_dir": str(cache_dir)}, None)
    assert seen == straight
    assert files(tmp_path / "run" / CHECKPOINTS / "step-00000007") == files(
        tmp_path / "straight" / CHECKPOINTS / "step-00000007"
    )
    kept = sorted(folder.name for folder in (tmp_path / "run" / CHECKPOINTS).iterdir())
    assert kept == ["step-00000004.001", "step-00000005.002", "step-00000007"]


def test_names_of_checkpoints_tell_their_order() -> None:
    places = [(0, 0), (7, 0), (7, 1), (7, 99), (8, 0), (99_999_999, 0), (100_000_000, 3)]
    assert [checkpoint_position(checkpoint_name(*place)) for place in places] == places
    for other in ("step-00000007.damaged", "step-00000007.001.damaged-2", "step-", "step-1.", ".step-1.7.partial"):
        assert checkpoint_position(other) is None


@pytest.fixture
def run(tmp_path: Path, cache_dir: Path) -> Path:
    """A run of two steps."""
    train(SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "2", "run_dir": str(tmp_path / "run")})
    return tmp_path / "run"


def rewrite(folder: Path, changes: dict[str, object]) -> None:
    """The same checkpoint with other values in state.json, and a manifest that agrees."""
    contents = manifest.read_folder(folder)
    state = json.loads(contents[STATE_FILE])
    for name, change in changes.items():
        state[name] = state[name] | change if isinstance(change, dict) else change
    shutil.rmtree(folder)
    save_files(folder, contents | {STATE_FILE: json.dumps(state).encode()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2, written by wgan_dist .*; this one reads up to 1"),
        ({"format_version": "x"}, "state.json is damaged: 'x' is no count"),
        ({"state": {"step": -1}}, "state.json is damaged: -1 is no count"),
        ({"state": {"critic_iteration": 99}}, "99 critic iterations within step 2: there are fewer"),
        ({"config": 7}, "state.json is damaged"),
        ({"state": {"best": {"metric": "x"}}}, "state.json is damaged"),
        ({"grad_scalers": {"critic": {"scale": 0.0}}}, "state.json is damaged: 0.0 is no loss scale"),
        ({"optimizer_groups": {"critic": []}}, "the state of an optimizer of other networks, or damaged"),
    ],
)
def test_a_checkpoint_of_a_newer_version_or_of_nonsense_is_refused(
    run: Path, cache_dir: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(run / CHECKPOINTS / "step-00000002", changes)
    with pytest.raises(UserError, match=message):
        train({"run_dir": str(run), "resume": "true", "cache_dir": str(cache_dir)})


def test_a_checkpoint_without_one_of_its_files_is_refused(run: Path, cache_dir: Path) -> None:
    """Its manifest does not list it either, so nothing is damaged in the disk's sense."""
    folder = run / CHECKPOINTS / "step-00000002"
    contents = manifest.read_folder(folder)
    for missing in contents:
        shutil.rmtree(folder)
        save_files(folder, {name: content for name, content in contents.items() if name != missing})
        with pytest.raises(UserError, match=f"there is no {missing}"):
            train({"run_dir": str(run), "resume": "true", "cache_dir": str(cache_dir)})


def test_settings_of_the_mathematics_are_refused_and_others_may_change(tmp_path: Path, cache_dir: Path) -> None:
    settings = SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "2"}
    train(settings | {"run_dir": str(tmp_path / "run")})
    train(settings | {"run_dir": str(tmp_path / "decaying"), "lr_decay": "linear"})
    changed = {"log_every": "1", "sample_every": "0", "max_steps": "4", "checkpoint_every": "1", "workers": "1"}
    again = {"resume": "true", "cache_dir": str(cache_dir), "run_dir": str(tmp_path / "run")}
    with pytest.raises(UserError, match=r"batch_size=8 \(was 16\); gp_weight=1 \(was 10\)"):
        train(again | {"batch_size": "8", "gp_weight": "1"})
    train(again | changed)
    with pytest.raises(UserError, match=r"max_steps=4 \(was 2\)\. The learning rates decay over max_steps\. To start"):
        train(again | changed | {"run_dir": str(tmp_path / "decaying")})
