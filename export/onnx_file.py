"""Write a generator as one ONNX file."""

import contextlib
import io
import logging
import shlex
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch

from export.metadata import metadata
from export.network import Export, in_precision, load, with_convolutions
from export.onnx_graph import TORCH_OPSET, in_opset, set_least_ir_version, simplify
from export.parity import Runner, drawn_inputs, print_written, write_checked
from export.quantize import to_int8
from export.settings import FP16, FP32, INT8, OnnxSettings
from wgan_dist.checkpoints import generator_file
from wgan_dist.utils.console import print_now

CALIBRATION_LATENTS = 256


def to_onnx(export: Export, settings: OnnxSettings) -> onnx.ModelProto:
    """Convert the network to an ONNX model with metadata and any batch size; int8 is converted as fp32."""
    description = export.source.description
    network = in_precision(export, FP16) if settings.precision == FP16 else with_convolutions(export)
    # The exporter prints its stages to standard output. Errors are raised.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            tuple(export.example.values()),
            input_names=list(export.example),
            output_names=["points" if description.makes_points else "images"],
            dynamic_shapes=export.dynamic_shapes,
            opset_version=max(settings.opset, TORCH_OPSET),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = in_opset(program.model_proto, settings.opset)
    simplify(model)
    onnx.helper.set_model_props(model, metadata(export.source, settings.uint8, settings.precision))
    onnx.checker.check_model(model, full_check=True)
    return model


def _open_onnx(path: Path) -> Runner:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # onnxruntime warns that a CPU has no fp16 kernels, which is expected
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def write_onnx(settings: OnnxSettings) -> tuple[Path, str]:
    """Write the ONNX file that the settings describe; return its path and how near it is to the network, in words.

    Raises UserError, and leaves no file, if there is no generator or the file is not near enough to it.
    """
    export = load(settings, settings.SUFFIX)
    model, size = to_onnx(export, settings), ""
    if settings.precision == INT8:
        bytes_in_fp32 = model.ByteSize()
        model = to_int8(model, drawn_inputs(export.source.description, "calibration", 0, CALIBRATION_LATENTS))
        size = f"; the file has {model.ByteSize() / bytes_in_fp32:.0%} of its size in fp32"
    set_least_ir_version(model)
    text = write_checked(export, model.SerializeToString(deterministic=True), _open_onnx, settings)
    return export.out, text + size


def _comparison_command(settings: OnnxSettings, out: Path) -> str:
    """Return the command that measures the file beside the generator that it was exported from."""
    source = generator_file.locate(settings.ckpt, settings.weights)
    return shlex.join(["python", "-m", "wgan_dist.evaluate", f"--ckpt={source},{out}"])


def export_onnx(settings: OnnxSettings) -> None:
    """Write an ONNX file and print how near it is to the network."""
    out, text = write_onnx(settings)
    print_written(out, text)
    if settings.precision != FP32:
        print_now(f"compare their metrics: {_comparison_command(settings, out)}")
