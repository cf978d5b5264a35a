"""Custom generators, each with a property that code which rewrites known layers may get wrong."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from wgan_dist.config.image_size import square
from wgan_dist.models.registry import NetworkSpec


class _Own(nn.Module):
    """Maps latents to images of 16 × 16 pixels; subclasses differ in `between`, [n, 16, 8, 8] → [n, 8, 8, 8]."""

    def __init__(self, latent_dim: int, channels: int, **_: Any) -> None:
        super().__init__()
        self.first = nn.Linear(latent_dim, 16 * 8 * 8)
        self.conv: nn.Module = nn.Conv2d(16, 8, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(8)
        self.last = nn.ConvTranspose2d(8, channels, 4, 2, 1)
        self.build(latent_dim)

    def build(self, latent_dim: int) -> None:
        """Replace some of the layers above."""

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.last(self.between(self.first(z).unflatten(1, (16, 8, 8)), z)))


class _ConditionalNorm(nn.BatchNorm2d):
    def __init__(self, channels: int, latent_dim: int) -> None:
        super().__init__(channels, affine=False)
        self.gain = nn.Linear(latent_dim, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x) * (1 + self.gain(z))[:, :, None, None]


class NormOfTwo(_Own):
    def build(self, latent_dim: int) -> None:
        self.norm = _ConditionalNorm(8, latent_dim)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x), z))


class _HalfNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class NormOfItsOwn(_Own):
    def build(self, latent_dim: int) -> None:
        self.norm = _HalfNorm(8)


class NormWithoutStatistics(_Own):
    def build(self, latent_dim: int) -> None:
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class GroupsThenNorm(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = nn.ConvTranspose2d(16, 8, 3, 1, 1, groups=2)


class NormOfRows(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv, self.norm, self.behind = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 32)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        rows: Tensor = self.behind(F.relu(self.norm(self.conv(x.flatten(2)))))
        return rows.reshape(-1, 8, 8, 8)


class HookOfWeights(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = torch.nn.utils.weight_norm(nn.Conv2d(16, 8, 3, padding=1))


class HookOfSpectralNorm(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = torch.nn.utils.spectral_norm(nn.Conv2d(16, 8, 3, padding=1))


class HookOfValues(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv.register_forward_hook(lambda layer, inputs, output: output * 2)


class _Scaled(nn.ConvTranspose2d):
    """A convolution with its own weights, and checks that a tracer cannot follow."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise ValueError
        return F.conv_transpose2d(x, self.weight * 0.3, self.bias, 2, 1)


class ConvolutionOfItsOwn(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = _Scaled(16, 8, 4, 2, 1)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(F.avg_pool2d(self.conv(x), 2))


class ToldItsSize(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = nn.ConvTranspose2d(16, 8, 4, 2, 1)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(self.conv(x[:, :, :4, :4], output_size=[9, 9])[:, :, 1:, 1:])


class ByName(_Own):
    def build(self, latent_dim: int) -> None:
        self.conv = nn.ConvTranspose2d(16, 8, 4, 2, 1)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(F.avg_pool2d(self.conv(input=x), 2))


class Masked(_Own):
    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        images = super().forward(z)
        return images if mask is None else images * mask


class ManyLatents(_Own):
    def forward(self, z: Tensor | list[Tensor]) -> Tensor:
        if not isinstance(z, Tensor):
            z = z[0]
        return super().forward(z)


class LooksAtItsMemory(_Own):
    def between(self, x: Tensor, z: Tensor) -> Tensor:
        maps = self.norm(self.conv(x))
        return F.relu(maps.view(z.shape[0], -1)).view(maps.shape)


class FiveDimensions(_Own):
    def build(self, latent_dim: int) -> None:
        self.kernels = nn.Parameter(torch.zeros(1, 8, 16, 3, 3))

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.kernels[0], padding=1))


OWN = tuple(network.__name__ for network in _Own.__subclasses__())


def own_spec(name: str, latent_dim: int) -> NetworkSpec:
    arguments = {"latent_dim": latent_dim, "image_size": square(16), "channels": 3, "features": 4, "norm": "auto"}
    return NetworkSpec(f"{__name__}:{name}", arguments)
