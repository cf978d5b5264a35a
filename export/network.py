"""The network to export, loaded from a generator file, and its variants for different runtimes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from export.deploy import fold_batch_norm, for_cpu, for_cpu_bf16, replace_transposed_convolutions
from export.settings import BF16, FP16, FP32, ExportSettings
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Artifact, Description
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import to_uint8


def _samples(network: nn.Module, z: Tensor, label: Tensor | None) -> Tensor:
    """Return the samples of a network, which takes labels if it has classes."""
    samples: Tensor = network(z) if label is None else network(z, label)
    return samples


class Uint8Images(nn.Module):
    """A generator whose output is ready to save."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator: nn.Module = generator

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, latent_dim] and, with classes, label int64 [n] → uint8 [n, h, w, c] in 0…255, rounded to nearest."""
        return to_uint8(_samples(self.generator, z, label)).permute(0, 2, 3, 1)


class HalfPrecision(nn.Module):
    """A copy of a generator that computes in `dtype`; its latents and images stay float32."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.generator, self.dtype = copy.deepcopy(generator).to(dtype), dtype

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, latent_dim] and, with classes, label int64 [n] → images [n, c, h, w] in [−1, 1]."""
        return _samples(self.generator, z.to(self.dtype), label).float()


class Contiguous(nn.Module):
    """A network whose output is contiguous in memory, for programs that read the output's memory directly.

    The files of torch take the names of their inputs from its arguments.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: nn.Module = network

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, latent_dim] and, with classes, label int64 [n] → the network's output."""
        return _samples(self.network, z, label).contiguous()


@dataclass(frozen=True)
class Export:
    """A network to export.

    Attributes: network (float32, with spectral norm and BatchNorm folded into its weights), original (the network that
    it must equal), source (the generator file), out (the path to write).
    """

    network: nn.Module
    original: nn.Module
    source: Artifact
    out: Path

    @property
    def example(self) -> dict[str, Tensor]:
        """The inputs for two samples by their names: z and, with classes, label."""
        description = self.source.description
        label = {"label": torch.zeros(2, dtype=torch.int64)} if description.classes else {}
        return {"z": torch.zeros(2, description.latent_dim)} | label

    @property
    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """Return the dynamic axes for torch.export: axis 0 of each input is the number of samples."""
        return ({0: torch.export.Dim("n")},) * len(self.example)


def _change_generator(network: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Apply `change` to the generator, inside the conversion to uint8 if there is one."""
    return Uint8Images(change(network.generator)) if isinstance(network, Uint8Images) else change(network)


def with_convolutions(export: Export) -> nn.Module:
    """Return the network with its transposed convolutions replaced by convolutions, where this is possible."""
    description = export.source.description

    def change(generator: nn.Module) -> nn.Module:
        return replace_transposed_convolutions(generator, description.latent_dim, classes=len(description.classes))

    return _change_generator(export.network, change)


def in_precision(export: Export, precision: str) -> nn.Module:
    """Return the network in fp32 or bf16, with the layers that torch computes fastest on a CPU, or in fp16 for GPUs."""
    if precision == FP16:
        return _change_generator(export.network, lambda generator: HalfPrecision(generator, torch.float16))
    choice = for_cpu_bf16 if precision == BF16 else for_cpu

    def change(generator: nn.Module) -> nn.Module:
        latent_dim, classes = export.source.description.latent_dim, len(export.source.description.classes)
        network = replace_transposed_convolutions(generator, latent_dim, choice, channels_last=True, classes=classes)
        return HalfPrecision(network, torch.bfloat16) if precision == BF16 else network

    return Contiguous(_change_generator(export.network, change))


def _default_path(path: Path, settings: ExportSettings, suffix: str) -> Path:
    """Return the path beside the generator; for a checkpoint, which may be pruned, the path in the run folder.

    Precision and uint8 are part of the name unless they are the defaults: a reader of generator.onnx expects float32
    images.
    """
    folder = path.parent.parent.parent if path.parent.parent.name == CHECKPOINTS else path.parent
    precision = "" if settings.precision == FP32 else f"_{settings.precision}"
    return folder / f"{path.stem}{precision}{'_uint8' if settings.uint8 else ''}{suffix}"


def _without_spectral_norm(network: nn.Module) -> nn.Module:
    """Divide the weights by their spectral norm once and for all."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network


def _check_settings(settings: ExportSettings, description: Description) -> None:
    if description.makes_points and settings.uint8:
        raise UserError("uint8=true: this generator makes points; expected false, as uint8 is for images")
    if settings.uint8 and not description.levels.is_eight_bit:
        raise UserError(f"uint8=true: this generator makes {description.levels.dtype} values; expected false")
    if description.makes_points and settings.precision != FP32:
        # Points are unbounded, so their peak signal-to-noise ratio is undefined.
        raise UserError(f"precision={settings.precision}: this generator makes points; expected {FP32}")


def load(settings: ExportSettings, suffix: str) -> Export:
    """Load the generator that the settings name; `suffix` ends the name of the file to write.

    Raises UserError if there is no generator or it cannot be read.
    """
    if not settings.ckpt:
        raise UserError("ckpt: expected --ckpt=, a run folder, a checkpoint folder or a generator.safetensors")
    path = generator_file.locate(settings.ckpt, settings.weights)
    source = generator_file.load(path, settings.generator)
    _check_settings(settings, source.description)
    original = source.network.float()
    # The file is read again: copies of a parametrised module share the class that remove_parametrizations changes.
    plain = _without_spectral_norm(generator_file.load(path, settings.generator).network.float())
    network = fold_batch_norm(plain, source.description.latent_dim, len(source.description.classes))
    out = Path(settings.out) if settings.out else _default_path(path, settings, suffix)
    if settings.uint8:
        return Export(Uint8Images(network), Uint8Images(original), source, out)
    return Export(network, original, source, out)
