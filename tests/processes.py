"""Real processes, as users start them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.tracking.metric_names import SPEED_METRICS

REPOSITORY = Path(__file__).parent.parent
HANG_SECONDS = 300
PYTHON = (sys.executable,)
ACCELERATE = (
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--config_file",
    str(REPOSITORY / "accelerate_config.yaml"),
)
ACCELERATE_2 = (*ACCELERATE, "--num_processes", "2", "--main_process_port", "0")


def torchrun(processes: int) -> tuple[str, ...]:
    """So many processes on this machine."""
    return (*PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))


def apart(processes: int) -> tuple[str, ...]:
    """The same, each as if on a machine of its own: they talk by sockets."""
    return (*torchrun(processes), "--no-python", "env", "LOCAL_WORLD_SIZE=1", *PYTHON)


TORCHRUN_2 = torchrun(2)


def run(*command: str, cwd: Path, fails: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a command in `cwd` with the package importable; asserts its exit status."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == fails, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """The records of a run without what the clock decides."""
    lines = (run_dir / METRICS_FILE).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in SPEED_METRICS} for line in lines]
