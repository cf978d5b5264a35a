"""launch/skypilot.yaml has SkyPilot's fields, and its commands train on the nodes that SkyPilot describes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.namespaces import NAMES, Host, hosts
from tests.faults.tiny import SETTINGS, flags
from tests.processes import HANG_SECONDS, REPOSITORY, run

TASK: dict[str, Any] = yaml.safe_load((REPOSITORY / "launch/skypilot.yaml").read_text(encoding="utf-8"))
# The fields of SkyPilot's schema that concern a task of this kind.
FIELDS = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "volumes", "setup", "run"}
ADDRESSES = ("10.1.2.3", "10.1.2.4", "10.1.2.5")


def node(addresses: tuple[str, ...], rank: int, gpus: int) -> dict[str, str]:
    """Return the environment in which SkyPilot runs the commands on a node."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    image = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(REPOSITORY)}
    skypilot = {"NODE_RANK": rank, "NODE_IPS": "\n".join(addresses), "NUM_NODES": len(addresses)}
    skypilot |= {"NUM_GPUS_PER_NODE": gpus}
    return os.environ | image | {f"SKYPILOT_{name}": str(value) for name, value in skypilot.items()}


def test_the_task_has_the_fields_of_skypilot() -> None:
    assert TASK.keys() <= FIELDS
    assert TASK["num_nodes"] == 2
    assert re.fullmatch(r"[A-Z]+\d+:[1-9]\d*", TASK["resources"]["accelerators"])  # GPU:count
    assert TASK["workdir"] == "."
    (shared,) = TASK["volumes"]
    paths = re.findall(r"--\w+=(/\S+)", TASK["run"])
    assert len(paths) == 2
    assert all(path.startswith(f"{shared}/") for path in paths)


@pytest.mark.parametrize("section", ["setup", "run"])
def test_shellcheck_finds_nothing(section: str, tmp_path: Path) -> None:
    script = tmp_path / section
    script.write_text(TASK[section])
    shellcheck = Path(sys.executable).parent / "shellcheck"
    run(str(shellcheck), "--shell=bash", "--severity=warning", str(script), cwd=REPOSITORY)


def test_the_setup_prepares_what_the_run_needs(tmp_path: Path) -> None:
    """It uses the environment that is there, or makes one with uv."""
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch/environment.sh").write_text('echo "installs $1"\n')
    (tmp_path / "uv").write_text('#!/bin/sh\necho "uv $*"\n')
    (tmp_path / "uv").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", TASK["setup"]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "uv venv --seed --python 3.12 .venv\ninstalls .\n"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/pip").symlink_to("/bin/true")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "installs .\n"


@pytest.mark.parametrize("rank", [0, 2])
def test_a_dry_run_starts_a_process_for_each_gpu_of_each_node(rank: int) -> None:
    command = ["bash", "-c", f"{TASK['run']}\necho address $PET_LOCAL_ADDR"]
    environment = node(ADDRESSES, rank, gpus=8) | {"DRY_RUN": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    launch, address = done.stdout.splitlines()
    words = shlex.split(launch)
    options = dict(zip(words, words[1:], strict=False))
    assert (options["--nnodes"], options["--nproc_per_node"]) == ("3", "8")
    assert options["--rdzv_endpoint"] == ("10.1.2.3:29500" if rank else "localhost:29500")
    assert address == f"address {ADDRESSES[rank]}"


@pytest.fixture
def machines() -> Iterator[list[Host]]:
    """Two nodes whose host names do not lead to the addresses by which SkyPilot knows them."""
    with hosts(2) as both:
        for host in both:
            (NAMES / host.namespace / "hosts").write_text(f"127.0.1.1 {host.name}\n127.0.0.1 localhost\n")
        yield both


@pytest.mark.cluster
def test_two_nodes_that_are_known_by_their_addresses_train(
    machines: list[Host], tmp_path: Path, cache_dir: Path
) -> None:
    addresses = tuple(host.address for host in machines)
    settings = SETTINGS | {"max_steps": "4", "timeout": "60", "cache_dir": str(cache_dir)}
    script = TASK["run"].partition(" # edit")[0].replace("/shared", str(tmp_path))
    started = []
    for rank, host in enumerate(machines):
        environment = node(addresses, rank, gpus=1) | {"NCCL_SOCKET_IFNAME": "cable"}
        command = host.command("bash", "-c", f"{script} {shlex.join(flags(settings))}")
        with (tmp_path / f"{rank}.log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log))
    statuses = [process.wait(HANG_SECONDS) for process in started]
    said = "".join((tmp_path / f"{rank}.log").read_text() for rank in range(2))
    assert statuses == [0, 0], said
    assert "2 processes on cpu" in said
    assert (tmp_path / "runs/cats/generator.safetensors").exists()
