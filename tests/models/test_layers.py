"""Layers that compute what plainer ones do: held against those."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from wgan_dist.models.layers import ConvDownsample, MinibatchStandardDeviation, UpsampleConv


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


@pytest.mark.parametrize("count", [4, 8, 11, 2])
def test_the_minibatch_standard_deviation_is_that_of_each_four_samples(count: int) -> None:
    x = draw(count, 3, 2, 5).double()
    output = MinibatchStandardDeviation()(x)
    expected = [x.numpy()[first : first + 4].std(0).mean() for first in range(0, count, 4)]
    assert torch.equal(output[:, :3], x)
    np.testing.assert_allclose(output[:, 3], np.repeat(expected, 4)[:count, None, None] * np.ones((2, 5)), rtol=1e-7)


def test_equal_samples_have_no_standard_deviation_and_finite_gradients() -> None:
    x = torch.ones(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    deviation = MinibatchStandardDeviation()(x)[:, -1]
    (gradient,) = torch.autograd.grad(deviation.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert deviation.max() < 1e-3
    assert gradient.isfinite().all()
    assert second.isfinite().all()
