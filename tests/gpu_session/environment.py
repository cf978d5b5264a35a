"""The environment of a session: the card, versions, compilers, and the flags that torch and the package set."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator

import torch

from tests.gpu_session.machine import Machine
from tests.gpu_session.runs import first_line
from tests.gpu_session.small_runs import settings_in, small_run
from tests.gpu_session.table import Row, measured

PACKAGES = ("accelerate", "triton", "numpy", "safetensors", "onnx", "onnxruntime", "onnxruntime-gpu")
COMPILERS = ("g++", "clang++", "nvcc")


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def _driver() -> str:
    if not shutil.which("nvidia-smi"):
        return "driver unknown: no nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"driver {printed.splitlines()[0]}" if printed else "driver unknown: nvidia-smi failed"


def card(machine: Machine) -> str:
    """Return the name of the device."""
    return torch.cuda.get_device_name() if machine.has_gpu else f"no GPU, {os.cpu_count()} CPU cores"


def _device(machine: Machine) -> str:
    if not machine.has_gpu:
        return card(machine)
    about = torch.cuda.get_device_properties(machine.device)
    memory, bf16 = about.total_memory / 2**30, torch.cuda.is_bf16_supported()
    return (
        f"{about.name}, 1 of {torch.cuda.device_count()}, compute capability {about.major}.{about.minor}, "
        f"{memory:.1f} GiB, {about.multi_processor_count} multiprocessors, bfloat16 {bf16}; {_driver()}"
    )


def _libraries(machine: Machine) -> str:
    cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    nccl = f", NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}" if machine.has_gpu else ""
    return f"{cuda}{nccl}"


def _flags() -> str:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        f"TF32 in convolutions {cudnn.allow_tf32}, in matrix products {products.allow_tf32}, "
        f"cudnn.benchmark {cudnn.benchmark}, threads {torch.get_num_threads()}"
    )


def versions(machine: Machine) -> Iterator[Row]:
    """Say what the session runs on and what is set, by torch and by a run with default settings."""
    yield measured("device", _device(machine))
    yield measured("system", f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPU cores")
    yield measured("torch", f"torch {torch.__version__}, {_libraries(machine)}")
    yield measured("packages", ", ".join(map(_version, PACKAGES)))
    yield measured("compilers", ", ".join(shutil.which(name) or f"no {name}" for name in COMPILERS))
    yield measured("flags of torch", _flags())
    yield first_line(machine)
    small_run(settings_in(machine.scratch))
    yield measured("flags in a run", _flags())
