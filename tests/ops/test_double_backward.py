"""The gradient with respect to the input, and operations that must not be compiled."""

import pytest
import torch
from torch import Tensor

from tests.ops.test_conv import draw
from wgan_dist.ops import conv
from wgan_dist.ops.conv import conv2d
from wgan_dist.ops.double_backward import INPUT_GRADIENT_ONLY, input_gradient, input_gradient_only


def test_the_gradient_of_a_function_that_ignores_its_input_is_zero() -> None:
    assert input_gradient(lambda x: torch.ones(len(x)).requires_grad_(), torch.ones(2, 3)).tolist() == [[0.0] * 3] * 2


def test_input_gradient_only_holds_inside_the_block_and_refuses_to_nest() -> None:
    with input_gradient_only():
        assert INPUT_GRADIENT_ONLY.is_set()
        with pytest.raises(RuntimeError, match="another input gradient"), input_gradient_only():
            pass
        assert INPUT_GRADIENT_ONLY.is_set()
    assert not INPUT_GRADIENT_ONLY.is_set()
    with pytest.raises(ZeroDivisionError), input_gradient_only():
        raise ZeroDivisionError
    assert not INPUT_GRADIENT_ONLY.is_set()


def test_an_input_gradient_computes_no_gradient_of_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    weight_gradients: list[Tensor] = []
    usual = conv._conv_weight_grad

    def record(x: Tensor, gradient: Tensor, *geometry: tuple[int, int]) -> Tensor:
        weight_gradients.append(usual(x, gradient, *geometry))
        return weight_gradients[-1]

    monkeypatch.setattr(conv, "_conv_weight_grad", record)
    weights = [draw(*shape).requires_grad_() for shape in ((4, 3, 4, 4), (1, 4, 4, 4))]

    def score(x: Tensor) -> Tensor:
        return conv2d(conv2d(x, weights[0], None, (2, 2), (1, 1)).sin(), weights[1], None, (2, 2), (0, 0)).flatten()

    gradient = input_gradient(score, draw(2, 3, 8, 8))
    assert not weight_gradients
    gradient.square().sum().backward()
    assert weight_gradients
    assert all(weight.grad is not None for weight in weights)
