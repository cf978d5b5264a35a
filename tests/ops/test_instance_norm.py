"""Instance normalisation against torch's: its values, and its first and second derivatives."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.ops.test_conv import draw
from wgan_dist.ops.instance_norm import instance_norm


def draw_inputs() -> tuple[Tensor, Tensor, Tensor]:
    x, weight, bias = (draw(*shape, seed=8).requires_grad_() for shape in ((2, 3, 3, 2), (3,), (3,)))
    return x, weight, bias


def test_derivatives_of_both_orders_are_those_of_finite_differences() -> None:
    x, weight, bias = draw_inputs()
    torch.testing.assert_close(instance_norm(x, weight, bias, 1e-5), F.instance_norm(x, None, None, weight, bias))

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return instance_norm(x, weight, bias, 1e-5)

    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


def test_a_third_derivative_is_refused() -> None:
    x, weight, bias = draw_inputs()
    first = torch.autograd.grad(instance_norm(x, weight, bias, 1e-5).square().sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="twice"):
        second.sum().backward()
