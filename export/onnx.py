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
from torch import nn

from export.network import FP16, FP32, Export, ExportSettings, in_precision, load, metadata, with_convolutions
from export.parity import Runner, proof_of
from export.quantize import to_int8
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils import rng
from wgan_dist.utils.files import atomic_file

USAGE = """
Write a trained generator as ONNX: input z float32 [n, latent_dim], output images, n free, one file.

  python -m export.onnx --ckpt=runs/0001 --out=generator.onnx

Ends by proving equality with the network at several batch sizes; if that fails there is no file. --precision=int8
samples several times faster on a CPU, fp16 is for GPUs; both end by telling how far they are from the network.
"""
INT8 = "int8"
CALIBRATION_LATENTS = 256


@dataclass(frozen=True)
class OnnxSettings(ExportSettings):
    """What the ONNX export is told."""

    precision: str = setting(FP32, "what it computes in: int8 is for CPUs, fp16 for GPUs", choices=(FP32, FP16, INT8))
    opset: int = setting(20, "ONNX operator set", least=18, below=24)


def to_onnx(export: Export, opset: int, uint8: bool) -> onnx.ModelProto:
    """The network as an ONNX model in float32 with free batch size and metadata."""
    return _to_onnx(with_convolutions(export), export, opset, uint8)


def _to_onnx(network: nn.Module, export: Export, opset: int, uint8: bool) -> onnx.ModelProto:
    latent_dim = export.source.description.latent_dim
    # The exporter tells of its stages on standard output; what matters is raised.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
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


def to_precision(export: Export, opset: int, uint8: bool, precision: str) -> onnx.ModelProto:
    """The network as an ONNX model that computes in fp32, fp16 or int8."""
    about = export.source.description
    if precision == FP16:
        model = _to_onnx(in_precision(export, FP16), export, opset, uint8)
    else:
        model = to_onnx(export, opset, uint8)
    if precision == INT8:
        shape = (CALIBRATION_LATENTS, about.latent_dim)
        z = rng.latent(about.latent_distribution, 0, "calibration.z", 0, shape).astype(np.float32)
        model = to_int8(model, z)
    onnx.helper.set_model_props(model, metadata(export.source, uint8, precision))
    return model


def _runner(path: Path) -> Runner:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # of fp16 it tells that a CPU has no kernels, which is known
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda z: session.run(None, {"z": z})[0]


def write_onnx(settings: OnnxSettings) -> tuple[Path, str]:
    """Write the ONNX file that the settings describe; where it is, and the words for how equal it is.

    Raises UserError, and leaves no file, when there is no generator or the file is not near enough to it.
    """
    export = load(settings, ".onnx")
    model = to_precision(export, settings.opset, settings.uint8, settings.precision)
    with atomic_file(export.out) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        proof = proof_of(export, _runner(partial), settings)
    return export.out, proof


def export_onnx(flags: dict[str, str]) -> None:
    """Write the ONNX file that the texts of settings describe; what the command line does."""
    print("{}: {}".format(*write_onnx(from_flags(OnnxSettings, flags))))


if __name__ == "__main__":
    command_line.run(export_onnx, OnnxSettings, USAGE)
