"""launch/verify_gpu.sh on a CPU: the checks that are meant for GPUs, as far as a CPU can run them."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.processes import PYTHON, REPOSITORY, run
from tests.verify import CHECKS

# It takes three minutes on a quiet machine with two cores.
MAX_MINUTES = 20


@pytest.mark.slow
def test_every_check_passes_on_a_cpu(tmp_path: Path) -> None:
    command = ["bash", str(REPOSITORY / "launch/verify_gpu.sh"), "--cpu"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=MAX_MINUTES * 60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.startswith("cpu, 2 processes")
    assert [row.split("  ")[0] for row in rows] == list(CHECKS)
    assert all(" held " in row for row in rows), done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = run(*PYTHON, "-m", "tests.verify", cwd=tmp_path, fails=2)
    assert done.stderr == "error: no GPU was found; --cpu goes the same ways without one\n"
