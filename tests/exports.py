"""The export commands, called with flags as on the command line."""

from collections.abc import Mapping

from export import bundle_folder, onnx_file, program_file, torchscript_file
from export.settings import BundleSettings, OnnxSettings, ProgramSettings, TorchScriptSettings, WebSettings
from export.web import folder
from wgan_dist.config.fields import from_flags


def export_onnx(flags: Mapping[str, str]) -> None:
    onnx_file.export_onnx(from_flags(OnnxSettings, flags))


def export_torchscript(flags: Mapping[str, str]) -> None:
    torchscript_file.export_torchscript(from_flags(TorchScriptSettings, flags))


def export_program(flags: Mapping[str, str]) -> None:
    program_file.export_program(from_flags(ProgramSettings, flags))


def export_bundle(flags: Mapping[str, str]) -> None:
    bundle_folder.export_bundle(from_flags(BundleSettings, flags))


def export_web(flags: Mapping[str, str]) -> None:
    folder.export_web(from_flags(WebSettings, flags))
