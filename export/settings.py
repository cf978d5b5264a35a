"""The settings of the export commands. Nothing here imports torch, so that the commands start at once."""

from dataclasses import dataclass
from typing import ClassVar

from wgan_dist.config.fields import parse_existing_path, setting
from wgan_dist.config.output_paths import check_file, check_folder

FP32, BF16, FP16, INT8 = "fp32", "bf16", "fp16", "int8"


@dataclass(frozen=True)
class GeneratorSettings:
    """The generator to export and the path to write."""

    ckpt: str = setting(
        "",
        "Run folder, checkpoint folder or generator.safetensors.",
        group="Choose the generator",
        parse=parse_existing_path,
        required=True,
    )
    out: str = setting("", "File to write; by default a file beside the generator.")
    weights: str = setting("ema", "Averaged (ema) or last (raw) weights.", choices=("ema", "raw"))
    generator: str = setting("", "The module:Class of a custom network.")


@dataclass(frozen=True)
class ExportSettings(GeneratorSettings):
    """The settings of every export to one file. Raises UserError unless `out` ends in the suffix of the format."""

    SUFFIX: ClassVar[str]

    uint8: bool = setting(
        False,
        "Output uint8 [n, h, w, c] ready to save, instead of float32 [n, c, h, w] in [-1, 1].",
        group="Choose the format",
    )
    tolerance: float = setting(
        1e-4, "Maximum difference from the network with fp32, in float images of [-1, 1].", least=0
    )
    psnr: float = setting(35.0, "Minimum peak signal-to-noise ratio against the network with other precisions, in dB.")
    precision: str = setting(FP32, "Number format of the computation.", choices=(FP32,))

    def __post_init__(self) -> None:
        if self.out:
            check_file(self.out, self.SUFFIX)


@dataclass(frozen=True)
class OnnxSettings(ExportSettings):
    """The settings of the ONNX export."""

    SUFFIX = ".onnx"
    precision: str = setting(
        FP32, "Number format of the computation: int8 for CPUs, fp16 for GPUs.", choices=(FP32, FP16, INT8)
    )
    opset: int = setting(20, "Version of the ONNX operator set.", least=15, below=24)


@dataclass(frozen=True)
class TorchScriptSettings(ExportSettings):
    """The settings of the TorchScript export."""

    SUFFIX = ".pt"
    precision: str = setting(FP32, "Number format of the computation.", choices=(FP32, BF16))


@dataclass(frozen=True)
class ProgramSettings(ExportSettings):
    """The settings of the export as a torch program."""

    SUFFIX = ".pt2"
    precision: str = setting(FP32, "Number format of the computation.", choices=(FP32, BF16))
    compiled: bool = setting(False, "Compile for this machine with AOTInductor; needs a C++ compiler.")


@dataclass(frozen=True)
class FolderSettings(GeneratorSettings):
    """The settings of every export to a folder. Raises UserError if `out` has the suffix of a file."""

    ckpt: str = setting(
        "",
        "Run folder, checkpoint folder, generator.safetensors, or a file written by export.onnx.",
        group="Choose the generator",
        parse=parse_existing_path,
        required=True,
    )
    out: str = setting("", "Folder to write.", required=True)

    def __post_init__(self) -> None:
        check_folder(self.out)


@dataclass(frozen=True)
class BundleSettings(FolderSettings):
    """The settings of the bundle."""

    precision: str = setting(FP32, "Number format of the computation: int8 is faster on a CPU.", choices=(FP32, INT8))


@dataclass(frozen=True)
class WebSettings(FolderSettings):
    """The settings of the web page."""

    webgpu: bool = setting(
        True, "Include the WebGPU runtime: 27 MB that only browsers with WebGPU load.", group="Choose the runtime"
    )
    runtime: str = setting("", "The dist folder of onnxruntime-web, instead of the package from npm.")
    cache_dir: str = setting("~/.cache/wgan_dist", "Folder in which the package from npm is kept.")
