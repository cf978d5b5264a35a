"""Functions compiled for a GPU, and what torch.compile needs on this machine."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def missing_compiler(device: torch.device) -> str:
    """Return what torch.compile needs for `device` and this machine lacks, as a noun phrase; an empty text if nothing.

    For a CPU it generates C++. For a GPU it generates Triton, which compiles a small C library for each kernel.
    """
    if device.type == "cpu":
        compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
        return "" if any(map(shutil.which, compilers)) else "a C++ compiler, g++ or clang++"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    compilers = (os.environ.get("CC", "gcc"), "gcc", "clang")
    return "" if any(map(shutil.which, compilers)) else "a C compiler, gcc or clang"


def compiled_for_gpu(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` as a few generated kernels, for tensors of any size on a GPU; without a compiler, as it is.

    The sizes are dynamic: torch.compile would otherwise compile again for every layer and batch size, and give up after
    eight of them.
    """
    if missing_compiler(torch.device("cuda")):
        return function
    return torch.compile(function, fullgraph=True, dynamic=True)
