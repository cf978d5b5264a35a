"""Describe the machine on which a report is made."""

import os
import platform
from importlib.metadata import distributions
from pathlib import Path

import torch

import wgan_dist

LIBRARIES = ("torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "numpy")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not available on this system
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _gpus() -> str:
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(names) or "none visible to PyTorch"


def describe_machine() -> dict[str, str]:
    """Return the processor, memory, GPUs, system and libraries of this machine, as texts by name."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = sorted(f"{found.name} {found.version}" for found in distributions() if found.name in LIBRARIES)
    return {
        "Processor": _processor(),
        "Cores": f"{usable} usable of {os.cpu_count()}",
        "Memory": _memory(),
        "GPU": _gpus(),
        "System": platform.platform(),
        "Python": platform.python_version(),
        "Libraries": ", ".join([f"wgan_dist {wgan_dist.__version__}", *libraries]),
    }
