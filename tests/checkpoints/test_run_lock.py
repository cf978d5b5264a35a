"""One process trains a run, and a killed one leaves it free."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from tests.processes import HANG_SECONDS, REPOSITORY
from wgan_dist.checkpoints.run_dir import LOCK_FILE
from wgan_dist.checkpoints.run_lock import RunLock
from wgan_dist.utils.errors import UserError

HOLDER = """
import sys, time
from pathlib import Path
from wgan_dist.checkpoints.run_lock import RunLock
lock = RunLock()
lock.acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_the_run_to_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"run_dir={tmp_path}: another process is training this run"):
            RunLock().acquire(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(HANG_SECONDS)
        with closing(RunLock()) as lock:
            lock.acquire(tmp_path)


def test_a_run_is_held_until_it_is_closed(tmp_path: Path) -> None:
    assert not RunLock().is_held
    with closing(RunLock()) as first:
        first.acquire(tmp_path)
        assert first.is_held
        with pytest.raises(UserError, match="another process is training"), closing(RunLock()) as second:
            second.acquire(tmp_path)
        with pytest.raises(UserError, match="another process is training"):
            RunLock().acquire(tmp_path)  # the failed attempt has released nothing
    with closing(RunLock()) as next_one:
        next_one.acquire(tmp_path)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to("mine")
    with pytest.raises(UserError, match=f"cannot write {tmp_path / LOCK_FILE}"):
        RunLock().acquire(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("refusal", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
def test_a_file_system_without_locks_is_told_and_trained_on(
    refusal: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise refusal

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with closing(RunLock()) as lock:
        lock.acquire(tmp_path)
        assert lock.is_held
    told = f"note: {tmp_path}: its file system has no locks; make sure that no other process trains this run\n"
    assert capsys.readouterr().err == told
