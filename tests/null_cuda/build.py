"""Compile the null CUDA device for the torch of this environment."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

SOURCES = Path(__file__).parent / "csrc"
# The libraries of torch that call CUDA. The others only need these.
CALLERS = (
    "libc10_cuda",
    "libcaffe2_nvrtc",
    "libtorch_cuda",
    "libtorch_cuda_linalg",
    "libtorch_nvshmem",
    "libtorch_python",
)
CUDA_MAJOR = "13"
# Its name is the driver's, so that whoever loads the driver gets the library that is already loaded.
LIBRARY = "libcuda.so.1"

REPLACED = re.compile(r"_*cuda[A-Z]\w+|cublas\w+|cudnn\w+|cusolver\w+")
DRIVER_FUNCTION = re.compile(r"\bcu[A-Z]\w+(?= *\()")
# Of cuBLAS, cuDNN and cuSOLVER: what changes only handles and descriptors, and what runs kernels.
SETTERS = re.compile(r"(cublas|cublasLt|cudnn|cusolver)\w*(Set|Destroy|Finalize|Restore)[A-Z_]?\w*")
KERNELS = re.compile(
    r"cublas([SDCZI][a-z]|Gemm|Dot)\w+|cublasLtMatmul|cudnnBackendExecute"
    r"|cudnn(Convolution|BatchNormalization|Pooling|RNN|SpatialTf|CTCLoss)\w+"
    r"|cusolverDn[SDCZX](?!\w*_bufferSize)[a-z]\w+"
)


def _package_folder(name: str) -> Path | None:
    """Return the folder of an installed package without importing it, or None."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _include_folders() -> list[Path]:
    """Return where the headers are: the runtime's, cuDNN's, and Triton's copy, which alone has crt/."""
    folders = {"nvidia.cu13": "include", "nvidia.cudnn": "include", "triton.backends.nvidia": "include"}
    return [package / include for name, include in folders.items() if (package := _package_folder(name))]


def reason_not_to_build() -> str | None:
    """Return why the device cannot be built here, or None."""
    if sys.platform != "linux":
        return "needs Linux"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is not built for CUDA"
    if torch.version.cuda.split(".")[0] != CUDA_MAJOR:
        return f"torch is built for CUDA {torch.version.cuda}: only {CUDA_MAJOR} is supported"
    for tool in ("gcc", "nm"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    for header in ("cuda.h", "cuda_runtime_api.h", "crt/host_defines.h", "cudnn.h"):
        if not any((folder / header).exists() for folder in _include_folders()):
            return f"needs the header {header}"
    return None


def _symbols(library: Path, selection: str) -> set[str]:
    command = ["nm", "--dynamic", "--format=just-symbols", selection, str(library)]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {name.partition("@")[0] for name in names}


def _called_functions() -> set[str]:
    """Return the functions of CUDA's runtime, cuBLAS, cuDNN and cuSOLVER that torch calls, and all of the driver's."""
    folder = Path(torch.__file__).parent / "lib"
    libraries = [library for name in CALLERS if (library := folder / f"{name}.so").exists()]
    imported = {symbol for library in libraries for symbol in _symbols(library, "--undefined-only")}
    header = next(path for folder in _include_folders() if (path := folder / "cuda.h").exists())
    return {name for name in imported if REPLACED.fullmatch(name)} | set(DRIVER_FUNCTION.findall(header.read_text()))


def _stub(name: str) -> str:
    if SETTERS.fullmatch(name):
        body = "return 0;"
    elif KERNELS.fullmatch(name):
        body = f'record("kernel", "{name}", 0, false); return 0;'
    else:
        body = f'return not_supported("{name}");'
    return f"int {name}(void) {{ {body} }}"


def _stubs(names: Iterable[str]) -> str:
    return "\n".join(['#include "null_cuda.h"', *map(_stub, sorted(names)), ""])


def _compile(sources: Iterable[Path], library: Path) -> None:
    includes = [f"-I{folder}" for folder in (SOURCES, *_include_folders())]
    options = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run(["gcc", *options, *includes, *map(str, sources), "-o", str(library)], check=True)


def build(folder: Path) -> Path:
    """Compile the device into `folder` and return the library; it takes about two seconds."""
    written = sorted(SOURCES.glob("*.c"))
    library, stubs = folder / LIBRARY, folder / "stubs.c"
    _compile(written, library)
    stubs.write_text(_stubs(_called_functions() - _symbols(library, "--defined-only")))
    _compile([*written, stubs], library)
    return library


def environment(library: Path) -> dict[str, str]:
    """Return the environment variables that make a new process run on the device."""
    return {
        "LD_PRELOAD": str(library),
        "LD_LIBRARY_PATH": str(library.parent),  # where Triton looks for the driver to link against
        "CUDA_VISIBLE_DEVICES": "0",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # few kernels compile in less time than a pool of processes starts
    }
