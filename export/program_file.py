"""Write a generator as torch's exported program (.pt2) or as a package of AOTInductor, and open it."""

import io
import json
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from export.metadata import METADATA_FILE, metadata
from export.network import Export, in_precision, load
from export.parity import Runner, print_written, torch_runner, write_checked
from export.settings import ProgramSettings
from wgan_dist.utils.errors import UserError

COMPILED_SUFFIX = ".compiled.pt2"
# A folder that a compiled package contains and an exported program does not.
COMPILED_FOLDER = "/aotinductor/"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch, which warns about its own internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def to_program(export: Export, precision: str) -> ExportedProgram:
    """Convert the network to an exported program with any batch size."""
    with _quiet(), torch.no_grad():
        network = in_precision(export, precision).eval()
        return torch.export.export(network, tuple(export.example.values()), dynamic_shapes=export.dynamic_shapes)


def _check_compiler() -> None:
    """Raise UserError unless there is the C++ compiler that AOTInductor calls."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        raise UserError(f"compiled=true: needs a C++ compiler, but {compiler} is not installed; CXX names another one")


def _compiled(program: ExportedProgram, about: dict[str, str]) -> bytes:
    """Return a package of AOTInductor with its weights stored in the order that the kernels read."""
    content = io.BytesIO()
    configs = {"freezing": True, "aot_inductor.metadata": about}
    with _quiet(), torch.no_grad():
        # torch documents this function, but has no public name for it (tests/export/test_program.py holds it).
        torch._inductor.aoti_compile_and_package(program, package_path=content, inductor_configs=configs)
    return content.getvalue()


def _saved(program: ExportedProgram, about: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(about, sort_keys=True)})
    return content.getvalue()


def is_compiled(path: Path) -> bool:
    """Return whether a .pt2 file is a package of AOTInductor; raise UserError if it is not an archive at all."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(COMPILED_FOLDER in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a program written by export.program: {error}") from error


def open_program(path: Path) -> tuple[dict[str, Any], Callable[..., Tensor]]:
    """Return the metadata of a .pt2 file, and a function from the network's inputs to samples.

    Opening a program can run its code: open only files that you trust. Raises UserError for a file that is not such a
    program, or was compiled for another machine.
    """
    compiled = is_compiled(path)
    try:
        with _quiet(), path.open("rb") as file:
            if compiled:
                package = torch._inductor.aoti_load_package(file)  # as aoti_compile_and_package
                return package.get_metadata(), torch.no_grad()(package)
            extra_files = {METADATA_FILE: ""}
            module = torch.export.load(file, extra_files=extra_files).module()
        return json.loads(extra_files[METADATA_FILE]), torch.no_grad()(module)
    except Exception as error:  # torch's loaders raise many types
        raise UserError(f"{path}: not a program written by export.program: {error}") from error


def _open_runner(path: Path) -> Runner:
    return torch_runner(open_program(path)[1])


def export_program(settings: ProgramSettings) -> None:
    """Write a program and print how near it is to the network."""
    export = load(settings, COMPILED_SUFFIX if settings.compiled else settings.SUFFIX)
    if settings.compiled:
        _check_compiler()
    about = metadata(export.source, settings.uint8, settings.precision)
    program = to_program(export, settings.precision)
    content = _compiled(program, about) if settings.compiled else _saved(program, about)
    print_written(export.out, write_checked(export, content, _open_runner, settings))
