"""`python -m export.torchscript`: a generator as a TorchScript file, for programs built on libtorch."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from export.network import BF16, FP32, Export, ExportSettings, in_precision, load, metadata
from export.parity import Runner, proof_of
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.files import atomic_file

USAGE = """
Write a trained generator as TorchScript: input z float32 [n, latent_dim], output images, n free.

  python -m export.torchscript --ckpt=runs/0001 --out=generator.pt

Ends by proving equality with the network at several batch sizes; if that fails there is no file. --precision=bf16
is for CPUs with instructions for it (AVX512-BF16, AMX), and ends by telling how far it is from the network.
"""
METADATA_FILE = "wgan_dist.json"


@dataclass(frozen=True)
class ScriptSettings(ExportSettings):
    """What the TorchScript export is told."""

    precision: str = setting(FP32, "what it computes in", choices=(FP32, BF16))


@contextmanager
def _without_deprecation() -> Iterator[None]:
    """torch.jit announces its end at every entry; it works, and libtorch programs still ask for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        yield


def to_torchscript(export: Export, precision: str = FP32) -> torch.jit.ScriptModule:
    """The network traced in evaluation mode and frozen."""
    example = torch.zeros(2, export.source.description.latent_dim)
    network = in_precision(export, precision).eval()
    with _without_deprecation():
        traced = torch.jit.trace(network, example, check_trace=False)  # export.parity checks
        return torch.jit.freeze(traced)


def _runner(path: Path) -> Runner:
    with _without_deprecation():
        script = torch.no_grad()(torch.jit.load(str(path)))
    return lambda z: script(torch.from_numpy(z)).numpy()


def export_torchscript(flags: dict[str, str]) -> None:
    """Write the TorchScript file that the texts of settings describe; what the command line does."""
    settings = from_flags(ScriptSettings, flags)
    export = load(settings, ".pt")
    about = json.dumps(metadata(export.source, settings.uint8, settings.precision), sort_keys=True)
    script = to_torchscript(export, settings.precision)
    with atomic_file(export.out) as partial:
        with _without_deprecation():
            torch.jit.save(script, str(partial), _extra_files={METADATA_FILE: about})
        proof = proof_of(export, _runner(partial), settings)
    print(f"{export.out}: {proof}")


if __name__ == "__main__":
    command_line.run(export_torchscript, ScriptSettings, USAGE)
