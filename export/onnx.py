"""`python -m export.onnx`: a generator as one ONNX file that any onnxruntime samples from."""

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from export.graph import Export, ExportSettings, load, metadata
from export.parity import prove
from wgan_dist import cli
from wgan_dist.files import whole_file
from wgan_dist.settings import from_flags, setting

USAGE = """
Write a trained generator as ONNX: input z float32 [n, latent_dim], output images, n free, one file.

  python -m export.onnx --ckpt=runs/0001 --out=generator.onnx

Ends by proving equality with the network at several batch sizes; if that fails there is no file.
"""


@dataclass(frozen=True)
class OnnxSettings(ExportSettings):
    """What the ONNX export is told."""

    opset: int = setting(20, "ONNX operator set", least=18, below=24)


def to_onnx(export: Export, opset: int, uint8: bool) -> onnx.ModelProto:
    """The network as an ONNX model with free batch size and metadata."""
    latent_dim = export.source.description.latent_dim
    # The exporter tells of its stages on standard output; what matters is raised.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            export.network,
            (torch.zeros(2, latent_dim),),
            input_names=["z"],
            output_names=["points" if export.source.description.makes_points else "images"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    onnx.helper.set_model_props(model, metadata(export.source, uint8))
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(path: Path, z: NDArray[np.float32]) -> NDArray[np.generic]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images: NDArray[np.generic] = session.run(None, {"z": z})[0]
    return images


def export_onnx(flags: dict[str, str]) -> None:
    """Write the ONNX file that the texts of settings describe; what the command line does."""
    settings = from_flags(OnnxSettings, flags)
    export = load(settings, ".onnx")
    model = to_onnx(export, settings.opset, settings.uint8)
    with whole_file(export.out) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        proof = prove(export, lambda z: _run(partial, z), settings.tolerance, settings.uint8)
    print(f"{export.out}: {proof}")


if __name__ == "__main__":
    cli.run(export_onnx, OnnxSettings, USAGE)
