"""What torch.compile and Triton need on this machine."""

import importlib.util
import os
import shutil

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
    return "" if any(map(shutil.which, compilers)) else "a C compiler, gcc or clang"
