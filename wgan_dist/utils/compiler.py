"""The compilers that torch.compile and Triton need, and which of them this machine lacks."""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

import torch


def missing_compiler(device: torch.device) -> str:
    """Return what torch.compile needs for `device` and this machine lacks, as a noun phrase; an empty text if nothing.

    For a CPU it generates C++. For a GPU it generates Triton, which compiles a Python extension in C for its launches.
    """
    if device.type == "cpu":
        compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
        return "" if any(map(shutil.which, compilers)) else "a C++ compiler, g++ or clang++"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    compilers = (os.environ.get("CC", "gcc"), "gcc", "clang")
    if not any(map(shutil.which, compilers)):
        return "a C compiler, gcc or clang"
    # Debian's own scheme points to a folder that the headers are never in.
    headers = Path(sysconfig.get_path("include", "posix_prefix"))
    return "" if (headers / "Python.h").is_file() else f"Python's C headers in {headers}"
