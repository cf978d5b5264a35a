"""Initialisation of weights."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

# The gain of He's initialisation over the mean of fan in and fan out, relative to Glorot's (the authors' code of
# Gulrajani et al. 2017).
HE_GAIN = 2.0**0.5

Network = TypeVar("Network", bound=nn.Module)


def _with_values(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a network, except those on the meta device, where drawing imports torch's compiler."""
    return (module for module in network.modules() if not any(each.is_meta for each in module.parameters(False)))


@torch.no_grad()
def init_dcgan(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and norm scales from N(1, 0.02), and zero biases (Radford et al. 2016, sec. 3)."""
    for module in _with_values(network):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.normal_(0.0, 0.02)
        elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)) and module.affine:
            module.weight.normal_(1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def init_glorot(network: Network, gain: float = 1.0) -> Network:
    """Draw weights of convolutions and dense layers from U(±gain · √(6 / (fan in + fan out))), and zero biases.

    Glorot and Bengio 2010, eq. 16. Returns the same network or layer.
    """
    for module in _with_values(network):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight, gain)
            if module.bias is not None:
                module.bias.zero_()
    return network
