"""A process that loses the others reports it and ends; a launcher may restart all."""

import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tests.faults.tiny import SETTINGS, differences, flags
from tests.processes import HANG_SECONDS, REPOSITORY, TORCHRUN_2, run
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config.command_line import EXIT_LOST
from wgan_dist.distributed import report_lost_processes
from wgan_dist.utils.errors import LostError


def test_a_failure_between_processes_is_told_apart_from_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    lost = r"^rank 3 of 8 lost the others in report_lost_processes: .*(timed out|refused)"
    with pytest.raises(LostError, match=lost), report_lost_processes():
        TCPStore("127.0.0.1", 1, is_master=False, timeout=datetime.timedelta(milliseconds=100))
    with pytest.raises(RuntimeError, match="^shapes differ$"), report_lost_processes():
        raise RuntimeError("shapes differ")


def test_every_process_tells_what_it_lost_with_a_status_of_its_own() -> None:
    code = """
from wgan_dist.config import command_line
from wgan_dist.utils.errors import LostError
def lose(): raise LostError('who')
command_line.guarded(lose)
"""
    environment = os.environ | {"LOCAL_RANK": "1"}  # for other errors the main process alone prints the message
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_LOST, "", "error: who\n")
    assert EXIT_LOST == 69


TIMEOUTS = """
import torch, torch.distributed as dist
from wgan_dist import distributed
distributed.start(1, 600)
groups = [dist.group.WORLD, distributed.host_group()]
print([group._get_backend(torch.device("cpu")).options._timeout.seconds for group in groups])
distributed.leave()
distributed.end()
"""


def test_the_time_out_is_that_of_every_wait_whatever_the_libraries_defaults(tmp_path: Path) -> None:
    """Accelerate drops a time-out of 600 s, its own default; torch's default for gloo is another."""
    (tmp_path / "timeouts.py").write_text(TIMEOUTS)
    assert "[600, 600]" in run(*TORCHRUN_2, "timeouts.py", cwd=tmp_path).stdout


def workers(launcher: int) -> dict[str, int]:
    """Return the process ids of the launcher's workers by rank."""
    pids = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_text().split("\0")
        rank = next(variable.removeprefix("RANK=") for variable in variables if variable.startswith("RANK="))
        pids[rank] = int(child)
    return pids


@pytest.mark.faults
def test_torchrun_starts_again_what_was_killed(tmp_path: Path, cache_dir: Path) -> None:
    settings = flags(SETTINGS | {"max_steps": "60", "sample_every": "20", "cache_dir": str(cache_dir)})
    command = (*TORCHRUN_2, "--max_restarts=1", "-m", "wgan_dist.train", *settings, "--run_dir=run", "--resume=auto")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    while not any((tmp_path / "run" / CHECKPOINTS).glob("step-*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers(process.pid)["1"], signal.SIGKILL)
    assert process.wait(HANG_SECONDS) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "error: rank 0 of 2 lost the others in " in said
    assert "run: step " in said  # it went on, from a checkpoint
    run(*TORCHRUN_2, "-m", "wgan_dist.train", *settings, "--run_dir=straight", cwd=tmp_path)
    assert differences(tmp_path / "run", tmp_path / "straight") == []
