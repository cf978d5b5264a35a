"""The export commands, called with flags as on the command line."""

import functools
from collections.abc import Mapping

import onnx
from torch.onnx._internal._lazy_import import onnxscript_apis  # type: ignore[attr-defined]

from export import bundle_folder, onnx_file, program_file, torchscript_file
from export.settings import BundleSettings, OnnxSettings, ProgramSettings, TorchScriptSettings, WebSettings
from export.web import folder
from wgan_dist.config.fields import from_flags


def unsqueezes_of_several_axes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that some runtimes cannot compute; no exported graph should have any."""
    sizes = {each.name: onnx.numpy_helper.to_array(each).size for each in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == "Unsqueeze" and sizes[node.input[1]] > 1]


@functools.cache
def _read_conversions_once() -> None:
    """Keep the list of torch's conversions to ONNX, which never changes and which every export reads again."""
    onnxscript_apis.get_torchlib_ops = functools.cache(onnxscript_apis.get_torchlib_ops)


def export_onnx(flags: Mapping[str, str]) -> None:
    _read_conversions_once()
    onnx_file.export_onnx(from_flags(OnnxSettings, flags))


def export_torchscript(flags: Mapping[str, str]) -> None:
    torchscript_file.export_torchscript(from_flags(TorchScriptSettings, flags))


def export_program(flags: Mapping[str, str]) -> None:
    program_file.export_program(from_flags(ProgramSettings, flags))


def export_bundle(flags: Mapping[str, str]) -> None:
    _read_conversions_once()
    bundle_folder.export_bundle(from_flags(BundleSettings, flags))


def export_web(flags: Mapping[str, str]) -> None:
    _read_conversions_once()
    folder.export_web(from_flags(WebSettings, flags))
