"""Adam and RMSprop beside torch's own over many steps, state and layout in memory included."""

import copy
import subprocess
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from tests.processes import PYTHON
from wgan_dist.training.optimizers import Adam, RMSprop

Make = Callable[[list[Tensor]], Optimizer]


def parameters(dtype: torch.dtype) -> list[Tensor]:
    shapes = ((7, 5), (33,), (4, 3, 2, 2))
    return [torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=dtype).view(shape) for shape in shapes]


# Ours, torch's own, and the names of what both keep.
PAIRS: dict[str, tuple[Make, Make, tuple[str, ...]]] = {
    "Adam": (
        lambda values: Adam(values, 1e-3, (0.5, 0.9)),
        lambda values: torch.optim.Adam(values, 1e-3, (0.5, 0.9), fused=True),
        ("exp_avg", "exp_avg_sq", "step"),
    ),
    "Adam without a mean": (
        lambda values: Adam(values, 1e-3, (0.0, 0.9)),
        lambda values: torch.optim.Adam(values, 1e-3, (0.0, 0.9), fused=True),
        ("exp_avg_sq", "step"),
    ),
    "RMSprop": (
        lambda values: RMSprop(values, 1e-3, alpha=0.99),
        lambda values: torch.optim.RMSprop(values, 1e-3, alpha=0.99),
        ("square_avg",),
    ),
}


def give(ours: list[Tensor], theirs: list[Tensor], number: int) -> None:
    """Both the same gradients, of a size that changes by magnitudes, each laid out as its parameter."""
    draws = torch.Generator().manual_seed(number)
    for mine, other in zip(ours, theirs, strict=True):
        gradient = torch.randn(mine.shape, generator=draws, dtype=mine.dtype) * 10.0 ** (number % 7 - 4)
        mine.grad, other.grad = torch.empty_like(mine).copy_(gradient), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_torchs_own(name: str, dtype: torch.dtype) -> None:
    make, torchs, kept = PAIRS[name]
    ours, theirs = parameters(dtype), parameters(dtype)
    ours[2] = ours[2].contiguous(memory_format=torch.channels_last)
    pair = (make(ours), torchs(theirs))
    for number in range(60):
        give(ours, theirs, number)
        for optimizer in pair:
            optimizer.step()
    rounding = 2e-6 if dtype == torch.float32 else 1e-14
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=rounding, atol=rounding)
        mine_kept, other_kept = (each.state[value] for each, value in zip(pair, (mine, other), strict=True))
        assert sorted(mine_kept) == list(kept)
        for key in kept:
            torch.testing.assert_close(mine_kept[key], other_kept[key], rtol=rounding, atol=0.0)
    assert ours[2].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_that_is_left_out_changes_nothing(name: str) -> None:
    values = parameters(torch.float32)
    optimizer = PAIRS[name][0](values)
    give(values, values, 0)
    optimizer.step()
    before = copy.deepcopy((values, optimizer.state_dict()["state"]))
    give(values, values, 1)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    after = (values, optimizer.state_dict()["state"])
    torch.testing.assert_close(after, before, rtol=0.0, atol=0.0)


def test_a_state_is_taken_to_the_device_of_its_parameters() -> None:
    values = parameters(torch.float32)
    optimizer = Adam(values, 1e-3, (0.0, 0.9))
    give(values, values, 0)
    optimizer.step()
    elsewhere = [value.to("meta") for value in values]
    other = Adam(elsewhere, 1e-3, (0.0, 0.9))
    other.load_state_dict(optimizer.state_dict())
    assert {kept.device.type for value in elsewhere for kept in other.state[value].values()} == {"meta"}


@pytest.mark.parametrize(("name", "kept"), [(name, key) for name in PAIRS if "Adam" in name for key in PAIRS[name][2]])
def test_a_state_without_what_is_kept_is_refused(name: str, kept: str) -> None:
    values = parameters(torch.float32)
    optimizer = PAIRS[name][0](values)
    give(values, values, 0)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    del state["state"][1][kept]
    with pytest.raises(ValueError, match=f"there is no {kept}"):
        PAIRS[name][0](values).load_state_dict(state)


def test_no_optimizer_imports_the_compiler() -> None:
    script = """
import sys, torch
from wgan_dist.optimizers import Adam, RMSprop
for kind in (Adam, RMSprop):
    value = torch.ones(3, requires_grad=True)
    optimizer = kind([value], 0.1)
    value.sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
print("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([*PYTHON, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_parameter_without_gradient_stays() -> None:
    first, second = torch.ones(2), torch.ones(3)
    first.grad = torch.ones(2)
    RMSprop([first, second], 0.1).step()
    RMSprop([second], 0.1).step()
    assert second.tolist() == [1.0, 1.0, 1.0]
    assert first.tolist() == pytest.approx([1.0 - 0.1 / 0.1] * 2, abs=1e-6)  # √(0.01 · 1²) = 0.1


@pytest.mark.parametrize("name", PAIRS)
def test_it_goes_on_from_the_state_of_torchs_own(name: str) -> None:
    make, torchs, kept = PAIRS[name]
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    pair = (make(ours), torchs(theirs))
    for number in range(4):
        if number == 2:
            torch._foreach_copy_(ours, theirs)
            pair[0].load_state_dict(copy.deepcopy(pair[1].state_dict()))
        give(ours, theirs, number)
        for optimizer in pair[number < 2 :]:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13)
        assert sorted(pair[0].state[mine]) == list(kept)
    assert pair[0].param_groups[0].keys() - {"params"} == pair[0].defaults.keys()
