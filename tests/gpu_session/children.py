"""Processes that a session starts: two on one device, and one that sees no GPU.

python -m tests.gpu_session.children worlds OUT CASE…      gradients of some cases of `tests.worlds`
python -m tests.gpu_session.children injections            `tests.injections`
python -m tests.gpu_session.children weights OUT SETTINGS  the weights after a run of `SETTINGS`, in JSON
"""

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from tests import injections, worlds
from tests.gpu_session.small_runs import trained_weights
from tests.processes import REPOSITORY
from wgan_dist import distributed

Environment = dict[str, str]
# Of each failed process: one may only tell that it has lost the other.
ERROR_CHARACTERS = 100
SHARE_DEVICE = "GPU_SESSION_SHARE_DEVICE"
WITHOUT_GPU: Environment = {"CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Child:
    """A started process, and the files that it prints to."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def failure(self) -> str | None:
        """Wait for the process; return the last line of its standard error if it failed."""
        if not (status := self.process.wait()):
            return None
        lines = self.err.read_text(errors="replace").strip().splitlines()
        said = textwrap.shorten(lines[-1] if lines else "it printed no error", ERROR_CHARACTERS)
        return f"{self.out.stem} ended with status {status}: {said}"


def outputs(children: list[Child]) -> list[str]:
    """Wait for all processes and return what they printed; raise RuntimeError with what each failed one said."""
    failures = [failure for child in children if (failure := child.failure())]
    if failures:
        raise RuntimeError("; ".join(failures))
    return [child.out.read_text() for child in children]


def _start(name: str, arguments: list[str], scratch: Path, environment: Environment) -> Child:
    out, err = scratch / f"{name}.out", scratch / f"{name}.err"
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    every = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-m", "tests.gpu_session.children", *arguments]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        return Child(subprocess.Popen(command, cwd=scratch, env=every, stdout=stdout, stderr=stderr), out, err)


@contextmanager
def started(name: str, arguments: list[str], scratch: Path, environments: list[Environment]) -> Iterator[list[Child]]:
    """Start a process in each environment; those that still run when the block ends are killed."""
    children: list[Child] = []
    try:
        for number, environment in enumerate(environments):
            children.append(_start(f"{name}-{number}", arguments, scratch, environment))
        yield children
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def two_processes(share_device: bool) -> list[Environment]:
    """Return the environments of two processes on the first device, through gloo, or each on its own, through NCCL."""
    every = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    every |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if share_device:
        return [every | {"RANK": str(rank), "LOCAL_RANK": "0", SHARE_DEVICE: "1"} for rank in range(2)]
    return [every | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def main() -> None:
    """Run what the command line names."""
    name, *arguments = sys.argv[1:]
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" and torch.cuda.is_available():
        sys.exit("a GPU is visible although CUDA_VISIBLE_DEVICES is empty")
    if SHARE_DEVICE in os.environ:
        dist.init_process_group("gloo")  # before accelerate chooses NCCL, which refuses a device for two processes
    if name == "weights":
        save_file(trained_weights(json.loads(arguments[1])), arguments[0])
    elif name == "injections":
        injections.main()
    else:
        found = worlds.gradients("float64", arguments[1:])
        if distributed.world().is_main:
            save_file(found, arguments[0])
    distributed.leave()
    distributed.end()


if __name__ == "__main__":
    main()
