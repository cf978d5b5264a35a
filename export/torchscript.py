"""`python -m export.torchscript`: a generator as a TorchScript file, for programs built on libtorch."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.graph import Export, ExportSettings, load, metadata
from export.parity import prove
from wgan_dist import cli
from wgan_dist.files import whole_file
from wgan_dist.settings import from_flags

USAGE = """
Write a trained generator as TorchScript: input z float32 [n, latent_dim], output images, n free.

  python -m export.torchscript --ckpt=runs/0001 --out=generator.pt

Ends by proving equality with the network at several batch sizes; if that fails there is no file.
"""
METADATA_FILE = "wgan_dist.json"


@contextmanager
def _without_deprecation() -> Iterator[None]:
    """torch.jit announces its end at every entry; it works, and libtorch programs still ask for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        yield


def to_torchscript(export: Export) -> torch.jit.ScriptModule:
    """The network traced in evaluation mode and frozen."""
    example = torch.zeros(2, export.source.description.latent_dim)
    with _without_deprecation():
        traced = torch.jit.trace(export.network.eval(), example, check_trace=False)  # export.parity checks
        return torch.jit.freeze(traced)


def _run(path: Path, z: NDArray[np.float32]) -> NDArray[np.generic]:
    with _without_deprecation(), torch.no_grad():
        images: NDArray[np.generic] = torch.jit.load(str(path))(torch.from_numpy(z)).numpy()
    return images


def export_torchscript(flags: dict[str, str]) -> None:
    """Write the TorchScript file that the texts of settings describe; what the command line does."""
    settings = from_flags(ExportSettings, flags)
    export = load(settings, ".pt")
    about = json.dumps(metadata(export.source, settings.uint8), sort_keys=True)
    script = to_torchscript(export)
    with whole_file(export.out) as partial:
        with _without_deprecation():
            torch.jit.save(script, str(partial), _extra_files={METADATA_FILE: about})
        proof = prove(export, lambda z: _run(partial, z), settings.tolerance, settings.uint8)
    print(f"{export.out}: {proof}")


if __name__ == "__main__":
    cli.run(export_torchscript, ExportSettings, USAGE)
