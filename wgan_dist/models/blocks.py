"""Pieces that several networks share."""

import torch
from torch import Tensor, nn

LEAKY_SLOPE = 0.2


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, in the precision of its weights, not of its input: fp16 overflows in its double backward."""

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → the same shape and dtype, each map normalised by itself."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class LayerNorm2d(nn.GroupNorm):
    """Over all values of a sample, with a scale per channel, in the precision of its weights as InstanceNorm2d."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → the same shape and dtype, each sample normalised by itself."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def norm_2d(kind: str, channels: int) -> list[nn.Module]:
    """The normalisation `kind` over feature maps [n, channels, h, w]; none gives no layer."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "instance":
        return [InstanceNorm2d(channels, affine=True)]
    if kind == "layer":
        return [LayerNorm2d(channels)]
    return []


def leaky_relu() -> nn.Module:
    return nn.LeakyReLU(LEAKY_SLOPE)


@torch.no_grad()
def init_dcgan(network: nn.Module) -> None:
    """Weights N(0, 0.02), norm scales N(1, 0.02), shifts 0 (Radford et al. 2016, section 3)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.normal_(0.0, 0.02)
        elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)):
            module.weight.normal_(1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


class Critic(nn.Module):
    """A scalar score per image; `body` must map [n, channels, size, size] to n values."""

    body: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """images [n, channels, size, size] in [−1, 1] → scores [n], unbounded."""
        return self.body(images).flatten()
