"""Real training processes that start in a tenth of a second, forked from one that has imported everything.

As a program it is that one: it reads a request per line, forks, and answers.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.processes import REPOSITORY

SHIM = Path(__file__).parent / "shim.c"
HANG_SECONDS = 60
# With what a run imports only when it first needs it.
IMPORTED = (
    "wgan_dist.training.trainer",
    "wgan_dist.tracking.trackers",
    "wgan_dist.reporting.model_card",
    "torch._dynamo",
    "torchvision.utils",
)


class Server:
    """A process to fork from, with the shim preloaded; each fork trains like `python -m wgan_dist.train`."""

    def __init__(self, scratch: Path) -> None:
        library = scratch / "shim.so"
        subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
        environment = {"LD_PRELOAD": str(library), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.faults.server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: list[str], log: Path, **environment: str) -> int:
        """Start training, with its output in `log`, and return the process id."""
        return int(self._ask(arguments=arguments, log=str(log), environment=environment))

    def wait(self, process: int, seconds: float = HANG_SECONDS) -> int | None:
        """Return the exit status (−9 for SIGKILL), or None if the process has not ended in time."""
        answer = self._ask(wait=process, seconds=seconds)
        return None if answer is None else int(answer)

    def run(self, arguments: list[str], log: Path, **environment: str) -> int | None:
        """Train to the end; kill a process that hangs."""
        process = self.start(arguments, log, **environment)
        status = self.wait(process)
        if status is None:
            os.kill(process, 9)
            self.wait(process)
        return status


def _train(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    from wgan_dist.train import main

    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv[1:] = arguments
    main()


def _start(arguments: list[str], log: str, environment: dict[str, str]) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        _train(arguments, log, environment)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(process: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def serve() -> None:
    """Serve requests until standard input ends."""
    import torch

    for name in IMPORTED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(request["wait"], request["seconds"]) if "wait" in request else _start(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
