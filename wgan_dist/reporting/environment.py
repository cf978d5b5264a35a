"""The machine that a report is made on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import wgan_dist

LIBRARIES = ("torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "numpy")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _graphics() -> str:
    if not torch.cuda.is_available():
        return "none that torch sees"
    return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))


def _libraries() -> str:
    found = [f"wgan_dist {wgan_dist.__version__}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def describe() -> dict[str, str]:
    """What computes here, in words."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "Processor": _processor(),
        "Cores": f"{usable} usable of {os.cpu_count()}",
        "Memory": _memory(),
        "Graphics": _graphics(),
        "System": platform.platform(),
        "Python": platform.python_version(),
        "Libraries": _libraries(),
    }
