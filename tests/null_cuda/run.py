"""Run Python in a new process on the null CUDA device.

python -m tests.null_cuda.run script.py ARGUMENTS
python -m tests.null_cuda.run -m module ARGUMENTS
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.null_cuda.build import build, environment, reason_not_to_build
from tests.processes import PYTHON, REPOSITORY


def run_on_device(library: Path, arguments: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the Python interpreter with `arguments` on the device; `options` are those of `subprocess.run`."""
    variables = os.environ | environment(library) | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([*PYTHON, *arguments], env=variables, text=True, **options)


def results(library: Path, module: str, arguments: list[str], request: Any, timeout: float) -> Any:
    """Run a module on the device that reads JSON and prints JSON, and return what it prints.

    Raises:
        RuntimeError: If it fails; the message is what it wrote to standard error.
    """
    command = ["-m", module, *arguments]
    done = run_on_device(library, command, input=json.dumps(request), capture_output=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{module} failed with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    """Build the device, run the command line on it and exit with its status."""
    if reason := reason_not_to_build():
        sys.exit(f"null CUDA device: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run_on_device(build(Path(folder)), sys.argv[1:]).returncode)


if __name__ == "__main__":
    main()
