"""The scripts in launch/ start the processes they promise, and report missing or wrong arguments in one line."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.cluster.slurm import wait_until
from tests.faults.tiny import SETTINGS, flags
from tests.processes import ACCELERATE, HANG_SECONDS, REPOSITORY, run

LAUNCH = REPOSITORY / "launch"
SCRIPTS = [REPOSITORY / ".ci/run", *sorted(path for path in LAUNCH.iterdir() if path.suffix in (".sh", ".sbatch"))]
CONFIGURATION = REPOSITORY / "accelerate_config.yaml"
SHORT = flags(SETTINGS | {"max_steps": "2"})
SIGNALS = "SIGTERM,SIGINT,SIGUSR1"


def start(script: str, *arguments: str, out: IO[str], **environment: str) -> "subprocess.Popen[str]":
    """Start a script of launch/ in the environment of the tests and write its output to `out`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(REPOSITORY)}
    command = ["bash", str(LAUNCH / script), *arguments]
    return subprocess.Popen(command, env=os.environ | ours | environment, stdout=out, stderr=out, text=True)


def launch(script: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a script and return its exit status and its output."""
    with tempfile.TemporaryFile("w+") as out:
        status = start(script, *arguments, out=out, **environment).wait(HANG_SECONDS)
        out.seek(0)
        return status, out.read()


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_shellcheck_finds_nothing(script: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    run(str(shellcheck), "--shell=bash", "--severity=warning", "-x", "-P", "SCRIPTDIR", str(script), cwd=REPOSITORY)


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "words"),
    [
        ("cpu.sh", [], {}, "error: N=: expected the number of processes"),
        ("cpu.sh", ["--run_dir=a"], {}, "error: N=--run_dir=a: expected the number of processes"),
        ("cpu.sh", ["0"], {}, "error: N=0: expected the number of processes"),
        ("multi_gpu.sh", [], {"CUDA_VISIBLE_DEVICES": ""}, "error: torch finds no GPU on this machine"),
        ("multi_gpu.sh", [], {"GPUS": "all"}, "error: GPUS=all: expected a number of GPUs"),
    ],
)
def test_misuse_ends_in_one_line(script: str, arguments: list[str], environment: dict[str, str], words: str) -> None:
    status, said = launch(script, *arguments, **environment)
    assert status == 2
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_programs_that_cannot_be_installed_are_named(tmp_path: Path) -> None:
    """Without apt-get, or without root."""
    program = shutil.which("id")
    assert program
    (tmp_path / "id").symlink_to(program)
    command = ["/bin/bash", "-euc", ". launch/cluster_tools.sh; echo went on"]
    done = subprocess.run(command, cwd=REPOSITORY, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    expected = r"needs root|needs programs that are not installed; Debian .* slurm-client"
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: --all (?:{expected}).*\n", done.stderr)


def printed(script: str, *arguments: str, **environment: str) -> list[str]:
    """Return the command that a script prints in a dry run."""
    status, said = launch(script, *arguments, DRY_RUN="1", **environment)
    assert status == 0, said
    return shlex.split(said)


def test_dry_runs_print_the_command() -> None:
    settings = ["--data=my photos/", "--description=a 'b'", "--run_dir=runs/a"]
    train = ["-m", "wgan_dist.train", *settings]
    assert printed("cpu.sh", "3", *settings) == [
        *("env", "CUDA_VISIBLE_DEVICES=", "OMP_NUM_THREADS=1", "MALLOC_ARENA_MAX=1"),
        *("MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=2147483647", "MALLOC_TOP_PAD_=67108864"),
        *("torchrun", "--standalone", "--nproc_per_node", "3", "--signals-to-handle", SIGNALS),
        *train,
    ]
    assert printed("multi_gpu.sh", *settings, GPUS="8") == [
        *("env", f"PET_SIGNALS_TO_HANDLE={SIGNALS}"),
        *("accelerate", "launch", "--quiet", "--config_file", "accelerate_config.yaml"),
        *("--num_processes", "8", "--main_process_port", "0"),
        *train,
    ]


def test_cdpath_leads_no_script_to_another_folder(tmp_path: Path) -> None:
    """With a CDPATH, `cd launch/..` goes to another clone, whose package a script would install."""
    (tmp_path / "launch").mkdir()

    def attacked(*command: str) -> str:
        variables = (f"CDPATH={tmp_path}", f"VIRTUAL_ENV={sys.prefix}", "DRY_RUN=1", "GPUS=2")
        return run("env", *variables, "bash", *command, cwd=REPOSITORY).stdout

    assert attacked("-c", "cd launch/.. > /dev/null && pwd -P") == f"{tmp_path.resolve()}\n"
    assert attacked("-c", ". launch/environment.sh . && pwd -P") == f"{REPOSITORY.resolve()}\n"
    assert attacked("launch/multi_gpu.sh").startswith("env PET_SIGNALS_TO_HANDLE=")


def said_processes(text: str) -> tuple[int, int]:
    """Return the numbers of processes, and of threads of each, that the first line states."""
    match = re.match(r"(\d+) process(?:es)? on cpu \((\d+) CPU thread", text)
    assert match, text
    return int(match[1]), int(match[2])


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_cpu_shares_the_cores_among_n_processes(processes: int, tmp_path: Path, cache_dir: Path) -> None:
    settings = [*SHORT, f"--cache_dir={cache_dir}", "--threads=auto", f"--run_dir={tmp_path / 'run'}"]
    status, said = launch("cpu.sh", str(processes), *settings)
    assert status == 0, said
    assert "warning" not in said.lower()
    cores = len(os.sched_getaffinity(0))
    assert said_processes(said) == (processes, max(1, cores // processes))
    assert (tmp_path / "run/generator.safetensors").exists()


def test_multi_gpu_starts_as_many_processes_as_it_counts(tmp_path: Path, cache_dir: Path) -> None:
    """Without a GPU the processes compute on the CPU; GPUS gives their number."""
    settings = [*SHORT, f"--cache_dir={cache_dir}", f"--run_dir={tmp_path / 'run'}"]
    status, said = launch("multi_gpu.sh", *settings, GPUS="2", CUDA_VISIBLE_DEVICES="")
    assert status == 0, said
    assert said_processes(said)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("script", [["cpu.sh", "2"], ["multi_gpu.sh"]], ids=" ".join)
def test_sigusr1_to_the_script_stops_and_saves(script: list[str], tmp_path: Path, cache_dir: Path) -> None:
    settings = [*SHORT, f"--cache_dir={cache_dir}", f"--run_dir={tmp_path / 'run'}", "--max_steps=1000000"]
    with (tmp_path / "log").open("w") as log:
        process = start(*script, *settings, out=log, GPUS="2", CUDA_VISIBLE_DEVICES="")
    wait_until(lambda: "first step" in (tmp_path / "log").read_text(), "training")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(HANG_SECONDS) == 1  # the launchers' own status; SIGUSR1 would kill one that does not handle it
    assert re.search(r"stopped by SIGUSR1 after step \d+.*; everything is saved", (tmp_path / "log").read_text())


def test_the_configuration_of_accelerate_is_sound() -> None:
    """One process in full precision; accelerate refuses unknown keys when it starts."""
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    assert configuration["distributed_type"] == "MULTI_GPU"
    assert configuration["num_processes"] == 1
    assert configuration["mixed_precision"] == "no"
    assert configuration["use_cpu"] is False


def test_the_configuration_works_unchanged_without_a_gpu(tmp_path: Path, cache_dir: Path) -> None:
    """One process; other tests pass `--num_processes 2`."""
    settings = [*SHORT, f"--cache_dir={cache_dir}", "--run_dir=run"]
    done = run(*ACCELERATE, "-m", "wgan_dist.train", *settings, cwd=tmp_path)
    assert said_processes(done.stdout) == (1, 1)
    assert ", float32\n" in done.stdout
    assert "default" not in done.stderr  # accelerate warns of every default that it chose
