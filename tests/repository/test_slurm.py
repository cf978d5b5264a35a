"""launch/slurm.sbatch, submitted to a real SLURM of two nodes, trains what one process does, even if interrupted."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.slurm import Slurm, slurm, wait_until
from tests.faults.tiny import SETTINGS, assert_same_run, differences, flags
from tests.processes import REPOSITORY
from wgan_dist.config.command_line import EXIT_USAGE
from wgan_dist.train import train

pytestmark = pytest.mark.cluster
SCRIPT = "launch/slurm.sbatch"
# Long enough to be interrupted when it has said that it trains.
STEPS = 300


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as running:
        yield running


@dataclass(frozen=True)
class Job:
    """A submitted training job."""

    cluster: Slurm
    number: str
    log: Path
    run_dir: Path

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_for_training(self) -> None:
        wait_until(lambda: "first step" in self.said(), f"{self.log} tells of a first step")

    def field(self, name: str) -> str:
        return self.cluster.job(self.number, name)


@pytest.fixture(scope="module")
def settings(cache_dir: Path) -> dict[str, str]:
    return SETTINGS | {"cache_dir": str(cache_dir), "dtype": "float64", "max_steps": str(STEPS), "log_every": "50"}


def submit(cluster: Slurm, settings: dict[str, str], folder: Path, *options: str, script: str | Path = SCRIPT) -> Job:
    log, run_dir = folder / "job.log", folder / "run"
    number = cluster.submit(*options, f"--output={log}", SCRIPT, *flags(settings), f"--run_dir={run_dir}")
    return Job(cluster, number, log, run_dir)


@pytest.fixture(scope="module")
def straight(cluster: Slurm, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train under SLURM without interruption."""
    job = submit(cluster, settings, tmp_path_factory.mktemp("straight"))
    cluster.wait_for(job.number, "COMPLETED")
    assert "2 processes on cpu (1 CPU thread each)" in job.said()
    assert job.field("Restarts") == "0"
    return job.run_dir


def test_two_nodes_train_the_network_that_one_process_does(
    straight: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    train(settings | {"run_dir": str(tmp_path / "one")})
    assert_same_run(tmp_path / "one", straight)


def test_sigusr1_saves_queues_again_and_goes_on(
    cluster: Slurm, straight: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    job = submit(cluster, settings, tmp_path)
    job.wait_for_training()
    cluster.command("scancel", "--signal=USR1", "--batch", job.number)
    cluster.wait_for(job.number, "COMPLETED")
    assert job.field("Restarts") == "1"
    assert re.search(r"stopped by SIGUSR1 after step \d+", job.said())
    assert differences(job.run_dir, straight) == []


def test_a_job_queued_again_from_outside_goes_on(
    cluster: Slurm, straight: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    job = submit(cluster, settings, tmp_path)
    job.wait_for_training()
    cluster.command("scontrol", "requeue", job.number)
    cluster.wait_for(job.number, "COMPLETED")
    assert job.field("Restarts") == "1"
    assert re.search(r"stopped by SIGTERM after step \d+", job.said())
    assert differences(job.run_dir, straight) == []


def test_a_cancelled_job_saves_and_is_not_queued_again(
    cluster: Slurm, settings: dict[str, str], tmp_path: Path
) -> None:
    job = submit(cluster, settings | {"max_steps": "1000000"}, tmp_path)
    job.wait_for_training()
    cluster.command("scancel", job.number)
    wait_until(lambda: not cluster.command("squeue", "--noheader"), "an empty queue")
    assert job.field("JobState") == "CANCELLED"
    assert job.field("Restarts") == "0"
    assert re.search(r"stopped by SIGTERM after step \d+.*; everything is saved", job.said())


def test_the_time_limit_stops_it_in_time(cluster: Slurm, settings: dict[str, str], tmp_path: Path) -> None:
    """The script's own options send the signal; SLURM checks limits every 30 s and may send it that much early."""
    job = submit(cluster, settings | {"max_steps": "1000000"}, tmp_path, "--time=3")
    again = re.compile(r"stopped by SIGUSR1 after step \d+.*processes on cpu", re.DOTALL)
    wait_until(lambda: bool(again.search(job.said())), "stopped while it trained, and started again")
    assert int(job.field("Restarts")) >= 1
    cluster.command("scancel", job.number)
    wait_until(lambda: not cluster.command("squeue", "--noheader"), "an empty queue")


def test_an_error_of_the_settings_ends_the_job(cluster: Slurm, settings: dict[str, str], tmp_path: Path) -> None:
    """Every task prints the error: srun ends none of them because another has failed."""
    job = submit(cluster, settings | {"batch_size": "15"}, tmp_path, "--ntasks-per-node=2")
    cluster.wait_for(job.number, "FAILED")
    assert job.field("ExitCode") == f"{EXIT_USAGE}:0"
    assert job.said().count("error: batch_size=15: expected a multiple of 4") == 4
    assert job.field("Restarts") == "0"


def test_submitted_from_elsewhere_it_says_where_from(cluster: Slurm, settings: dict[str, str], tmp_path: Path) -> None:
    job = submit(cluster, settings, tmp_path, f"--chdir={tmp_path}")
    cluster.wait_for(job.number, "FAILED")
    assert job.field("ExitCode") == f"{EXIT_USAGE}:0"
    assert f"error: {tmp_path} has no launch/environment.sh: submit the job from the top" in job.said()


def test_with_its_lines_on_gpus_each_task_asks_for_one(
    cluster: Slurm, settings: dict[str, str], tmp_path: Path
) -> None:
    """SLURM allocates GPUs that do not exist; torch finds none, and training runs on CPU."""
    script, log = tmp_path / "mine.sbatch", tmp_path / "job.log"
    script.write_text((REPOSITORY / SCRIPT).read_text().replace("\n##SBATCH", "\n#SBATCH"))
    options = ("--ntasks-per-node=2", "--gpus-per-node=2", f"--output={log}")
    arguments = [word for word in flags(settings) if "--threads" not in word]
    number = cluster.submit(*options, str(script), *arguments, "--dry_run")
    cluster.wait_for(number, "COMPLETED")
    assert cluster.job(number, "Partition") == "gpu"
    assert cluster.job(number, "TresPerNode") == "gres:gpu:2"
    assert "4 processes on cpu (2 CPU threads each)" in log.read_text()
    assert f" run_dir=runs/slurm-{number} " in log.read_text()


# In place of python in a job: instead of training, a task prints its node, its rank, and which GPU it would use.
PRINT_DEVICE = f"""#!{sys.executable}
import json, os, sys
if "wgan_dist.train" not in sys.argv:
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
rank, size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
gpu = os.environ["CUDA_VISIBLE_DEVICES"].split(",")[local_rank]
print(json.dumps([rank, size, os.environ["SLURMD_NODENAME"], gpu, sys.argv[3]]))
"""
EACH_NODES_GPUS = [[0, 4, "n1", "0"], [1, 4, "n1", "1"], [2, 4, "n2", "0"], [3, 4, "n2", "1"]]


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["--ntasks-per-node=2", "--gpus-per-node=2"], 2),
        (["--ntasks-per-node=2", "--gpus-per-task=1"], 2),
        (["--ntasks-per-node=2", "--gpus-per-node=2", "--gpu-bind=single:1"], 2),
        # One task per node, of which the script makes one per GPU, with its share of the task's cores.
        (["--ntasks-per-node=1", "--gpus-per-node=2"], 1),
        (["--ntasks-per-node=1", "--gpus-per-task=2"], 1),
        (["--ntasks-per-node=1", "--gres=gpu:2", "--cpus-per-task=4"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_process_has_a_gpu_of_its_own_however_a_site_asks_for_them(
    cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], threads: int
) -> None:
    python, log = tmp_path / "bin/python", tmp_path / "job.log"
    python.parent.mkdir()
    python.write_text(PRINT_DEVICE)
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
    number = cluster.submit(*options, f"--output={log}", SCRIPT)
    cluster.wait_for(number, "COMPLETED")
    said = sorted(json.loads(line) for line in log.read_text().splitlines() if line.startswith("["))
    assert said == [[*process, f"--threads={threads}"] for process in EACH_NODES_GPUS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus-per-node=1", "--ntasks-per-node=2"], "ntasks-per-node=2: expected at most one task for each GPU"),
        (["--gpus-per-node=2", "--cpus-per-task=1"], "cpus-per-task=1: expected at least 2, a core for each GPU"),
    ],
    ids=["two processes on a GPU", "a core for two processes"],
)
def test_too_little_for_each_process_is_refused(
    cluster: Slurm, settings: dict[str, str], tmp_path: Path, options: list[str], message: str
) -> None:
    job = submit(cluster, settings, tmp_path, *options)
    cluster.wait_for(job.number, "FAILED")
    assert job.field("ExitCode") == f"{EXIT_USAGE}:0"
    assert f"error: {message}" in job.said()
