"""Artifact → the network to be exported, and what the file will say about it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from export.deploy import folded, for_cpu, for_cpu_in_half, phased
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Artifact, Description
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config.fields import setting
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import to_uint8

METADATA_PREFIX = "wgan_dist."
FP32, BF16, FP16 = "fp32", "bf16", "fp16"


@dataclass(frozen=True)
class GeneratorSettings:
    """Which generator, and where what is made of it goes."""

    ckpt: str = setting("", "run folder, checkpoint folder or generator.safetensors")
    out: str = setting("", "file to write; beside the generator if not given")
    weights: str = setting("ema", "averaged or last weights", choices=("ema", "raw"))
    generator: str = setting("", "module:Class, for a network of your own")


@dataclass(frozen=True)
class ExportSettings(GeneratorSettings):
    """What every export is told."""

    uint8: bool = setting(False, "output uint8 [n, h, w, c] ready to save, instead of float32 [n, c, h, w] in [-1, 1]")
    tolerance: float = setting(1e-4, "fp32: greatest difference from the network, in float images of [-1, 1]", least=0)
    psnr: float = setting(35.0, "other precisions: least peak signal-to-noise ratio against the network, in dB")
    precision: str = setting(FP32, "what it computes in", choices=(FP32,))


class Uint8Images(nn.Module):
    """A generator whose output is ready to save."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator: nn.Module = generator

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → uint8 [n, h, w, c] in 0…255, rounded to nearest."""
        return to_uint8(self.generator(z)).permute(0, 2, 3, 1)


def inside(network: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A network with its generator changed; what makes levels of the images stays around it."""
    if isinstance(network, Uint8Images):
        return Uint8Images(change(network.generator))
    return change(network)


class HalfPrecision(nn.Module):
    """A copy of a generator that computes in `dtype` between latents and images in float32."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.generator, self.dtype = copy.deepcopy(generator).to(dtype), dtype

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, c, h, w] in [−1, 1]."""
        return self.generator(z.to(self.dtype)).float()


class Contiguous(nn.Module):
    """A network whose samples lie in memory in the order of their shape: who reads the bare memory relies on it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: nn.Module = network

    def forward(self, z: Tensor) -> Tensor:
        """As the network's."""
        samples: Tensor = self.network(z)
        return samples.contiguous()


def with_convolutions(export: "Export") -> nn.Module:
    """The network to be exported without transposed convolutions, wherever it can be written so."""
    return inside(export.network, lambda each: phased(each, export.source.description.latent_dim))


def in_precision(export: "Export", precision: str) -> nn.Module:
    """The network to be exported, in fp32 or bf16 as torch's kernels of a CPU compute it fastest, wherever it can be
    written so; in fp16, which is for GPUs, as it is.
    """
    if precision == FP16:
        return inside(export.network, lambda each: HalfPrecision(each, torch.float16))
    latent_dim, choice = export.source.description.latent_dim, for_cpu_in_half if precision == BF16 else for_cpu
    found = inside(export.network, lambda each: phased(each, latent_dim, choice, channels_last=True))
    if precision == BF16:
        found = inside(found, lambda each: HalfPrecision(each, torch.bfloat16))
    return Contiguous(found)


@dataclass(frozen=True)
class Export:
    """A network to be exported in float32, with spectral norm and BatchNorm in its weights, the one it must equal,
    where it came from, and where it goes."""

    network: nn.Module
    original: nn.Module
    source: Artifact
    out: Path


def _beside(path: Path, settings: ExportSettings, suffix: str) -> Path:
    """Where an export goes unless told: beside the generator, but not into a checkpoint, which is pruned one day.

    By the generator's name, and with its precision and uint8 in it where they are asked for: who opens generator.onnx
    expects float32 images.
    """
    folder = path.parent.parent.parent if path.parent.parent.name == CHECKPOINTS else path.parent
    precision = "" if settings.precision == FP32 else f"_{settings.precision}"
    return folder / f"{path.stem}{precision}{'_uint8' if settings.uint8 else ''}{suffix}"


def _without_spectral_norm(network: nn.Module) -> nn.Module:
    """The same function with the division by the spectral norm done once, on the weights."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network


def _check_points(settings: ExportSettings, about: Description) -> None:
    if about.makes_points and settings.uint8:
        raise UserError("uint8=true: for images, and this generator makes points")
    if about.makes_points and settings.precision != FP32:
        # Without a greatest value there is no peak to measure noise against, and nothing to gain by half a network.
        raise UserError(f"precision={settings.precision}: for images, and this generator makes points; expected {FP32}")


def load(settings: ExportSettings, suffix: str) -> Export:
    """The generator that the settings name; `suffix` is that of the file to be written.

    Raises UserError when there is none, or when it cannot be read.
    """
    if not settings.ckpt:
        raise UserError("ckpt: expected --ckpt=, a run folder, a checkpoint folder or a generator.safetensors")
    path = generator_file.locate(settings.ckpt, settings.weights)
    source = generator_file.load(path, settings.generator)
    _check_points(settings, source.description)
    original = source.network.float()
    # Loaded once more: copies of a parametrised network share the classes that folding takes apart.
    again = _without_spectral_norm(generator_file.load(path, settings.generator).network.float())
    network = folded(again, source.description.latent_dim)
    out = Path(settings.out) if settings.out else _beside(path, settings, suffix)
    if settings.uint8:
        return Export(Uint8Images(network), Uint8Images(original), source, out)
    return Export(network, original, source, out)


def _form(points: bool, uint8: bool) -> dict[str, str]:
    if points:
        return {"value_range": "unbounded", "layout": "nc"}
    return {"value_range": "0,255" if uint8 else "-1,1", "layout": "nhwc" if uint8 else "nchw"}


def metadata(source: Artifact, uint8: bool, precision: str = FP32) -> dict[str, str]:
    """What a stranger needs to use the file, as texts."""
    about: Description = source.description
    values = {
        "latent_dim": about.latent_dim,
        "latent_distribution": about.latent_distribution,
        "image_size": about.image_size,
        "channels": about.channels,
        **_form(about.makes_points, uint8),
        "network": about.network.name,
        "weights": about.weights,
        "precision": precision,
        "generator_steps": about.steps,
        "data": about.data,
        "description": about.description,
        "license": about.license,
        "package_version": about.package_version,
        "source_sha256": source.sha256,
    }
    return {f"{METADATA_PREFIX}{name}": str(value) for name, value in values.items()}
