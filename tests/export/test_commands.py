"""The export commands answer `--help` and wrong flags before they import what takes seconds."""

import subprocess
import sys

import pytest

from tests.processes import REPOSITORY

COMMANDS = ("export.onnx", "export.torchscript", "export.program", "export.bundle", "export.web")
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
finally:
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "jinja2", "PIL"} & sys.modules.keys()
    print("imported:", *sorted(heavy))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_wrong_flags_wait_for_no_heavy_import(command: str) -> None:
    for flag, status in (("--help", 0), ("--nosuch=1", 2)):
        process = [sys.executable, "-c", RUN, command, flag]
        result = subprocess.run(process, cwd=REPOSITORY, capture_output=True, text=True)
        assert result.returncode == status
        assert result.stdout.endswith("imported:\n")
        assert f"python -m {command} --ckpt=" in result.stdout or "unknown setting nosuch" in result.stderr
