"""RMSprop by another kernel: torch's own over many steps, state and layout in memory included."""

import copy

import pytest
import torch
from torch import Tensor

from wgan_dist.rmsprop import RMSprop


def parameters(dtype: torch.dtype) -> list[Tensor]:
    shapes = ((7, 5), (33,), (4, 3, 2, 2))
    return [torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=dtype).view(shape) for shape in shapes]


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_steps_are_torchs_own(dtype: torch.dtype, rounding: float) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    ours[2] = ours[2].contiguous(memory_format=torch.channels_last)
    pair = (RMSprop(ours, 1e-3, alpha=0.99), torch.optim.RMSprop(theirs, 1e-3, alpha=0.99))
    draws = torch.Generator().manual_seed(0)
    for number in range(60):
        for mine, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(mine.shape, generator=draws, dtype=dtype) * 10.0 ** (number % 7 - 4)
            mine.grad, other.grad = torch.empty_like(mine).copy_(gradient), gradient
        for optimizer in pair:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=rounding, atol=rounding)
        squares = (each.state[value]["square_avg"] for each, value in zip(pair, (mine, other), strict=True))
        torch.testing.assert_close(*squares, rtol=rounding, atol=0.0)


def test_a_parameter_without_gradient_stays() -> None:
    first, second = torch.ones(2), torch.ones(3)
    first.grad = torch.ones(2)
    RMSprop([first, second], 0.1).step()
    RMSprop([second], 0.1).step()
    assert second.tolist() == [1.0, 1.0, 1.0]
    assert first.tolist() == pytest.approx([1.0 - 0.1 / 0.1] * 2, abs=1e-6)  # √(0.01 · 1²) = 0.1


def test_it_goes_on_from_the_state_of_torchs_own() -> None:
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    pair = (RMSprop(ours, 1e-3, alpha=0.99), torch.optim.RMSprop(theirs, 1e-3, alpha=0.99))
    for number in range(4):
        if number == 2:
            torch._foreach_copy_(ours, theirs)
            pair[0].load_state_dict(copy.deepcopy(pair[1].state_dict()))
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad, other.grad = torch.cos(mine + number), torch.cos(other + number)
        for optimizer in pair[number < 2 :]:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13)
