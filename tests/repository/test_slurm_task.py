"""launch/slurm_task.sh gives each task of a SLURM job its rank and its GPU, whether or not the site binds GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

SCRIPT = REPOSITORY / "launch/slurm_task.sh"
WORLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A folder with a program named python that prints its arguments and the variables of WORLD."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in {WORLD}]]))\n"
    )
    program.chmod(0o755)
    return tmp_path


def run_task(python: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the script as task `SLURM_PROCID` of a job, with the variables that SLURM sets in it."""
    inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment = inherited | {"PATH": f"{python}:{os.environ['PATH']}"} | variables
    command = ["bash", str(SCRIPT), "--data=my photos/"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def task(node: int, local: int, rank: int, tasks_per_node: str, total: int) -> dict[str, str]:
    numbers = {"SLURM_NODEID": node, "SLURM_LOCALID": local, "SLURM_PROCID": rank, "SLURM_NTASKS": total}
    return {name: str(number) for name, number in numbers.items()} | {"SLURM_STEP_TASKS_PER_NODE": tasks_per_node}


@pytest.mark.parametrize(
    ("slurm", "gpus", "world"),
    [
        # As a real SLURM 22.05 sets them: all GPUs of the node in each task; one GPU bound to each; none.
        (task(1, 1, 3, "2(x2)", 4), {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}, [3, 4, 1, 2]),
        (task(1, 1, 3, "2(x2)", 4), {"CUDA_VISIBLE_DEVICES": "1", "SLURM_GPUS_ON_NODE": "2"}, [3, 4, 0, 2]),
        (task(1, 1, 3, "2(x2)", 4), {}, [3, 4, 1, 2]),
        # Where control groups hide the other GPUs, every task's own is number 0.
        (task(0, 7, 7, "8", 8), {"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "8"}, [7, 8, 0, 8]),
        (task(0, 1, 1, "2", 2), {"CUDA_VISIBLE_DEVICES": "MIG-5c8", "SLURM_GPUS_ON_NODE": "2"}, [1, 2, 0, 2]),
        # A site that sets no GPUs: its prolog has bound one to the task.
        (task(0, 3, 3, "4", 4), {"CUDA_VISIBLE_DEVICES": "3"}, [3, 4, 0, 4]),
        # Nodes with different numbers of tasks.
        (task(2, 0, 16, "8(x2),4(x3),1", 29), {}, [16, 29, 0, 4]),
        (task(5, 0, 28, "8(x2),4(x3),1", 29), {}, [28, 29, 0, 1]),
    ],
)
def test_each_task_knows_its_rank_and_its_gpu(
    python: Path, slurm: dict[str, str], gpus: dict[str, str], world: list[int]
) -> None:
    done = run_task(python, **slurm, **gpus)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["-m", "wgan_dist.train", "--data=my photos/"]
    assert json.loads(done.stdout) == [command, [str(number) for number in world]]


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (
            {"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "1"},
            "ntasks-per-node=4: expected at most one task for each GPU of the node (1)",
        ),
        (
            {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "8"},
            "CUDA_VISIBLE_DEVICES=0,1: expected one GPU for each of 4 tasks; ask for --gpus-per-task=1",
        ),
    ],
)
@pytest.mark.parametrize("local", [0, 1])
def test_tasks_without_a_gpu_of_their_own_are_refused_once_a_node(
    python: Path, gpus: dict[str, str], message: str, local: int
) -> None:
    done = run_task(python, **task(0, local, local, "4", 4), **gpus)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("" if local else f"error: {message}\n")
