"""Run a Python script or module on the null CUDA device.

python -m tests.null_cuda.run script.py ARGUMENTS
python -m tests.null_cuda.run -m module ARGUMENTS
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.null_cuda.build import build, environment, reason_not_to_build


def main() -> None:
    """Build the device, run the command line on it and exit with its status."""
    if reason := reason_not_to_build():
        sys.exit(f"null CUDA device: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | environment(build(Path(folder)))
        sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], env=variables).returncode)


if __name__ == "__main__":
    main()
