"""Checks across processes before a run begins: the same data on each, and one run trained by one launch."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import TORCHRUN_2, run
from wgan_dist.checkpoints.run_dir import LOCK_FILE
from wgan_dist.checkpoints.run_lock import RunLock
from wgan_dist.config import CONFIG_FILE, Config
from wgan_dist.train import train
from wgan_dist.training.run import _make_run_dir
from wgan_dist.utils.errors import UserError

# Rank 1 has other images, as many or fewer.
SCRIPT = """
import numpy as np
from wgan_dist import distributed
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.training.run import _check_same_data
from wgan_dist.utils.errors import UserError

distributed.start(threads=1)
rank = distributed.world().rank


def images(count, fingerprint):
    return ImageDataset("photos", np.zeros((count, 1, 2, 2), np.uint8), fingerprint, ())


_check_same_data(images(7, "same"))
for count in (7, 7 - rank):
    try:
        _check_same_data(images(count, f"files {rank}"))
    except UserError as error:
        assert "rank 1 has" in str(error) and "not the 7 of rank 0" in str(error), error
        print("refused")
distributed.leave()
distributed.end()
"""


def test_every_process_refuses_data_that_differ_between_processes(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(SCRIPT)
    assert run(*TORCHRUN_2, "data.py", cwd=tmp_path).stdout.count("refused") == 4


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def held(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


@pytest.mark.parametrize("resume", ["true", "auto"])
def test_a_run_that_another_process_trains_is_not_resumed(held: Path, resume: str, cache_dir: Path) -> None:
    before = contents(held)
    again = {"run_dir": str(held), "resume": resume, "max_steps": "8", "cache_dir": str(cache_dir)}
    with closing(RunLock()) as lock:
        lock.acquire(held)
        with pytest.raises(UserError, match=f"run_dir={held}: another process is training this run"):
            train(again)
        assert contents(held) == before
        train(again | {"dry_run": "true"})  # writes nothing
        assert contents(held) == before
    train(again)
    assert contents(held) != before


def test_a_run_is_free_after_its_end_and_after_an_error(held: Path, cache_dir: Path) -> None:
    again = {"run_dir": str(held), "resume": "true", "cache_dir": str(cache_dir)}
    train(again)
    with pytest.raises(UserError, match="seed"):
        train(again | {"seed": "99"})
    with closing(RunLock()) as lock:
        lock.acquire(held)


@pytest.mark.parametrize("resume", ["false", "auto"])
def test_a_new_run_that_another_process_has_just_made_is_refused(tmp_path: Path, resume: str) -> None:
    config = Config(run_dir=str(tmp_path / "run"), resume=resume)
    (tmp_path / "run").mkdir()
    with closing(RunLock()) as other, closing(RunLock()) as mine:
        other.acquire(tmp_path / "run")
        with pytest.raises(UserError, match="another process is training this run"):
            _make_run_dir(config, mine)
    (tmp_path / "run" / CONFIG_FILE).touch()  # the other one is through already
    with closing(RunLock()) as late, pytest.raises(UserError, match="exists already"):
        _make_run_dir(config, late)
    assert contents(tmp_path / "run") == {tmp_path / "run" / name: b"" for name in (LOCK_FILE, CONFIG_FILE)}


def test_several_processes_end_together_where_another_one_trains(held: Path, cache_dir: Path) -> None:
    arguments = ["-m", "wgan_dist.train", f"--run_dir={held}", "--resume", f"--cache_dir={cache_dir}"]
    with closing(RunLock()) as lock:
        lock.acquire(held)
        done = run(*TORCHRUN_2, *arguments, cwd=held.parent, fails=1)
    assert f"error: run_dir={held}: another process is training this run (if it is gone" in done.stderr
