"""The table that is for GPUs, on the ways that a CPU can go."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.processes import PYTHON, REPOSITORY, run
from tests.verify import CHECKS

# Three on a quiet machine with two cores.
MINUTES = 20


@pytest.mark.slow
def test_every_promise_is_held_here(tmp_path: Path) -> None:
    command = ["bash", str(REPOSITORY / "launch/verify_gpu.sh"), "--cpu"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=MINUTES * 60)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.startswith("cpu, 2 processes")
    assert [row.split("  ")[0] for row in rows] == list(CHECKS)
    assert all(" held " in row for row in rows), done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = run(*PYTHON, "-m", "tests.verify", cwd=tmp_path, fails=2)
    assert done.stderr == "error: no GPU was found; --cpu goes the same ways without one\n"
