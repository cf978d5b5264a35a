"""`python -m export.program`: a generator as torch's own exported program (.pt2), or compiled for this machine."""

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from export.network import BF16, FP32, Export, ExportSettings, in_precision, load, metadata
from export.parity import Runner, proof_of
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file

USAGE = """
Write a trained generator as torch's exported program: input z float32 [n, latent_dim], output images, n free.

  python -m export.program --ckpt=runs/0001 --out=generator.pt2

Ends by proving equality with the network at several batch sizes; if that fails there is no file. --compiled writes a
package of AOTInductor instead: machine code for this kind of CPU, which torch and C++ programs load. Both are programs:
open only such as you trust.
"""
METADATA_FILE = "wgan_dist.json"
SUFFIX, COMPILED_SUFFIX = ".pt2", ".compiled.pt2"
# Of the folder that a compiled package has and an exported program has not.
COMPILED_FOLDER = "/aotinductor/"

Draw = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ProgramSettings(ExportSettings):
    """What the export of a program is told."""

    precision: str = setting(FP32, "what it computes in", choices=(FP32, BF16))
    compiled: bool = setting(False, "compiled for this machine by AOTInductor; needs a C++ compiler")


@contextmanager
def _quiet() -> Iterator[None]:
    """torch warns of its own internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def to_program(export: Export, precision: str = FP32) -> ExportedProgram:
    """The network as an exported program with free batch size."""
    example = (torch.zeros(2, export.source.description.latent_dim),)
    with _quiet(), torch.no_grad():
        network = in_precision(export, precision).eval()
        return torch.export.export(network, example, dynamic_shapes=({0: Dim("n")},))


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        found = shutil.which(get_cpp_compiler())
    except Exception:  # torch's own, which is not part of its documented interface
        found = None
    if found is None:
        raise UserError("compiled=true: needs a C++ compiler, as g++; there is none, or CXX names none")


def _compile(program: ExportedProgram, about: dict[str, str], path: Path) -> None:
    """Write a package of AOTInductor, with the weights in the order its kernels want."""
    configs = {"freezing": True, "aot_inductor.metadata": about}
    with _quiet(), torch.no_grad():
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=configs)


def is_compiled(path: Path) -> bool:
    """Whether a .pt2 file is a package of AOTInductor; raises UserError if it is no such file at all."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(COMPILED_FOLDER in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a program written by export.program: {error}") from error


def open_program(path: Path) -> tuple[dict[str, Any], Draw]:
    """What a .pt2 file says about itself, and what draws samples of latents z [n, latent_dim] by it.

    It is a program: open only what you trust. Raises UserError for a file that is none, or is for another machine.
    """
    compiled = is_compiled(path)
    try:
        with _quiet():
            if compiled:
                package = torch._inductor.aoti_load_package(str(path))
                return package.get_metadata(), torch.no_grad()(package)
            extra = {METADATA_FILE: ""}
            module = torch.export.load(path, extra_files=extra).module()
        return json.loads(extra[METADATA_FILE]), torch.no_grad()(module)
    except Exception as error:  # whatever torch's loaders raise
        raise UserError(f"{path}: not a program written by export.program: {error}") from error


@contextmanager
def _whole_program(out: Path) -> Iterator[Path]:
    """As whole_file, but torch reads and writes only what ends in .pt2."""
    with atomic_file(out) as partial:
        program = partial.with_name(partial.name + SUFFIX)
        try:
            yield program
            program.replace(partial)
        finally:
            program.unlink(missing_ok=True)


def _runner(path: Path) -> Runner:
    draw = open_program(path)[1]
    return lambda z: draw(torch.from_numpy(z)).numpy()


def export_program(flags: dict[str, str]) -> None:
    """Write the program that the texts of settings describe; what the command line does."""
    settings = from_flags(ProgramSettings, flags)
    export = load(settings, COMPILED_SUFFIX if settings.compiled else SUFFIX)
    if export.out.suffix != SUFFIX:
        raise UserError(f"out={export.out}: expected a file ending in {SUFFIX}, or torch does not read it")
    if settings.compiled:
        _check_compiler()
    about = metadata(export.source, settings.uint8, settings.precision)
    program = to_program(export, settings.precision)
    with _whole_program(export.out) as partial:
        if settings.compiled:
            _compile(program, about, partial)
        else:
            torch.export.save(program, partial, extra_files={METADATA_FILE: json.dumps(about, sort_keys=True)})
        proof = proof_of(export, _runner(partial), settings)
    print(f"{export.out}: {proof}")


if __name__ == "__main__":
    command_line.run(export_program, ProgramSettings, USAGE)
