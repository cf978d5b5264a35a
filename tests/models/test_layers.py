"""Layers that compute what plainer ones do: held against those."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from wgan_dist.models.layers import ConvDownsample, UpsampleConv


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_two_steps(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if isinstance(layer, ConvDownsample):
        return avg_pool2d(conv2d(x, layer.weight, layer.bias, padding=1), 2)
    return conv2d(interpolate(x, scale_factor=2.0), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [ConvDownsample, UpsampleConv])
def test_one_convolution_equals_two_steps_with_its_gradients(kind: type[nn.Conv2d], bias: bool) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, 3, padding=1, bias=bias).double()
    x = draw(2, 3, 6, 8).double().requires_grad_()
    torch.testing.assert_close(layer(x), in_two_steps(layer, x), rtol=0, atol=1e-14)
    inputs = [x, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(form.square().sum(), inputs) for form in (layer(x), in_two_steps(layer, x)))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13)
