"""A run is written where it is: no part of it leads elsewhere, and a new run has a folder of its own."""

from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.checkpoints.run_dir import (
    CHECKPOINTS,
    LOCK_FILE,
    TRACKERS,
    WRITTEN,
    check_parts_inside,
    check_run_dir,
)
from wgan_dist.config import Config
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import partial_path
from wgan_dist.utils.profiler import FOLDER


def resumed(folder: Path) -> Config:
    return Config(run_dir=str(folder), resume="true")


@pytest.mark.parametrize("resume", ["true", "auto"])
@pytest.mark.parametrize(
    "part", [*WRITTEN, f"{CHECKPOINTS}/step-00000001", f"{TRACKERS}/wandb", f"{FOLDER}/phases.txt"]
)
def test_a_part_of_a_run_that_leads_elsewhere_is_refused(tmp_path: Path, part: str, resume: str) -> None:
    run, mine = write_run(tmp_path / "run", []), write_run(tmp_path / "mine")
    (run / part).parent.mkdir(exist_ok=True)
    (run / part).unlink(missing_ok=True)
    (run / part).symlink_to(mine)
    message = f"{run / part}: is a link to {mine}, outside of its run: expected a file or folder in the run"
    with pytest.raises(UserError, match=f"^{message}$"):
        check_run_dir(Config(run_dir=str(run), resume=resume))


@pytest.mark.parametrize("target", ["../missing", "../run-2/checkpoints", "..", "/", "step-1"])
def test_a_link_is_followed_to_where_it_would_be_written(tmp_path: Path, target: str) -> None:
    """Also one that dangles, to a folder of a similar name, or to itself."""
    run = write_run(tmp_path / "run", [])
    (tmp_path / "run-2" / CHECKPOINTS).mkdir(parents=True)
    (run / CHECKPOINTS).symlink_to(target)
    if target == "step-1":
        check_run_dir(resumed(run))
        return
    with pytest.raises(UserError, match="outside of its run"):
        check_run_dir(resumed(run))


def test_a_run_and_the_folders_above_it_may_be_links(tmp_path: Path) -> None:
    disk = write_run(tmp_path / "disk" / "runs" / "a", [])
    (disk / CHECKPOINTS / "step-00000001").mkdir(parents=True)
    (disk / CHECKPOINTS / "latest").symlink_to("step-00000001")
    (disk / "notes").symlink_to("/")  # no part of a run
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "runs")
    (tmp_path / "link").symlink_to("runs/a")
    for folder in (tmp_path / "runs" / "a", tmp_path / "link", disk):
        check_run_dir(resumed(folder))


def test_only_the_named_parts_are_checked(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    (run / CHECKPOINTS).symlink_to(tmp_path)
    check_parts_inside(run, ["evaluations"])
    with pytest.raises(UserError, match="outside"):
        check_parts_inside(run, ["evaluations", CHECKPOINTS])


@pytest.mark.parametrize("resume", ["false", "auto"])
def test_what_a_killed_start_left_is_no_run(tmp_path: Path, resume: str) -> None:
    config = Config(run_dir=str(tmp_path), resume=resume)
    (tmp_path / LOCK_FILE).touch()
    partial_path(tmp_path / "config.yaml").touch()
    check_run_dir(config)
    (tmp_path / ".mine").touch()
    with pytest.raises(UserError, match="exists already; --resume continues it, another name starts a new run"):
        check_run_dir(config)
