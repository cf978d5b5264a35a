"""Skipped updates: exactly those that are not finite, on every process; fused optimizers never wait for the device."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from tests.worlds import CASES, World
from wgan_dist.checkpoints.train_state import GradScalerState
from wgan_dist.training import grad_scaler as module
from wgan_dist.training.buffer_snapshot import BufferSnapshot
from wgan_dist.training.grad_scaler import GradScaler

CPU = torch.device("cpu")
OPTIMIZERS: dict[str, Any] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.1, betas=(0.5, 0.9), fused=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, 0.1),
    "sgd": lambda parameters: SGD(parameters, 0.1, fused=True),
}
EACH = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


def make(name: str, dynamic: bool = True, buffers: tuple[Tensor, ...] = ()) -> tuple[nn.Linear, Optimizer, GradScaler]:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) + number)
    optimizer = OPTIMIZERS[name](layer.parameters())
    return layer, optimizer, GradScaler(optimizer, BufferSnapshot(buffers), CPU, dynamic)


def loss_of(layer: nn.Linear, number: int, broken: bool) -> Tensor:
    """Finite itself; of the broken, a single derivative is not."""
    loss = (layer(torch.tensor([[1.0, -2.0, 0.5 + number]])) ** 2).sum()
    if broken:
        layer.weight.register_hook(lambda gradient: gradient + torch.tensor([[0, 0, 0], [0, math.inf, 0]]))
    return loss


def take(layer: nn.Linear, guard: GradScaler, number: int, broken: bool) -> None:
    guard.optimizer.zero_grad()
    guard.buffers.save()
    loss = loss_of(layer, number, broken)
    guard.backward(loss)
    layer.weight._backward_hooks = None
    guard.step()


def everything(layer: nn.Linear, optimizer: Optimizer) -> list[Tensor]:
    values = (value for each in optimizer.state.values() for value in each.values() if isinstance(value, Tensor))
    return [tensor.detach().clone() for tensor in (*layer.parameters(), *values)]


@EACH
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_broken_update_changes_no_bit_and_the_next_is_as_if_it_had_not_been(name: str, dynamic: bool) -> None:
    clean, clean_optimizer, clean_guard = make(name, dynamic=False)
    layer, optimizer, guard = make(name, dynamic)
    for number, broken in enumerate([False, True, True, False]):
        before = everything(layer, optimizer)
        take(layer, guard, number, broken)
        if broken:
            assert all(map(torch.equal, everything(layer, optimizer), before))
        else:
            take(clean, clean_guard, number, broken)
    assert all(map(torch.equal, layer.parameters(), clean.parameters()))  # powers of two round nothing
    assert guard.state().skipped == 2


@EACH
def test_a_broken_first_update_leaves_nothing_in_the_optimizer(name: str) -> None:
    layer, _, guard = make(name)
    clean, _, clean_guard = make(name)
    take(layer, guard, 0, True)
    for number in (1, 2):
        take(layer, guard, number, False)
        take(clean, clean_guard, number, False)
    assert all(map(torch.equal, layer.parameters(), clean.parameters()))


def test_a_loss_that_is_not_finite_breaks_every_gradient_though_none_of_its_derivatives_is() -> None:
    layer, optimizer, guard = make("adam", dynamic=False)
    before = everything(layer, optimizer)
    for wrong in (math.inf, -math.inf, math.nan):
        optimizer.zero_grad()
        guard.buffers.save()
        loss = layer(torch.ones(1, 3)).sum() + wrong
        guard.backward(loss)
        assert all(bool(p.grad.isnan().all()) for p in layer.parameters() if p.grad is not None)
        guard.step()
    assert all(map(torch.equal, everything(layer, optimizer), before))
    assert guard.state() == GradScalerState(skipped=3, skipped_in_a_row=3, scale=1.0, growth_tracker=0)


def test_buffers_keep_their_values_with_a_broken_update_and_take_new_ones_with_a_sound_one() -> None:
    statistics, count = torch.tensor([1.0, 2.0]), torch.tensor(7)
    layer, _, guard = make("adam", buffers=(statistics, count))
    for broken, expected in ((True, ([1.0, 2.0], 7)), (False, ([2.0, 4.0], 8))):
        guard.optimizer.zero_grad()
        guard.buffers.save()
        loss = loss_of(layer, 0, broken)
        statistics.mul_(2)
        count.add_(1)
        guard.backward(loss)
        layer.weight._backward_hooks = None
        guard.step()
        assert (statistics.tolist(), int(count)) == expected


@settings(deadline=None, max_examples=10)
@given(st.lists(st.booleans(), max_size=30), st.sampled_from(sorted(OPTIMIZERS)))
def test_scale_and_weights_go_as_torchs_own_scaler_would(pattern: list[bool], name: str) -> None:
    theirs, optimizer, _ = make(name)
    scaler = torch.amp.GradScaler("cpu", growth_interval=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROWTH_INTERVAL", 4)
        layer, _, guard = make(name)
        for number, broken in enumerate(pattern):
            take(layer, guard, number, broken)
            optimizer.zero_grad()
            scaler.scale(loss_of(theirs, number, broken)).backward()
            theirs.weight._backward_hooks = None
            scaler.step(optimizer)
            scaler.update()
    state = guard.state()
    assert state.scale == scaler.get_scale()
    assert state.growth_tracker == scaler._get_growth_tracker()
    assert state.skipped == sum(pattern)
    assert state.skipped_in_a_row == (pattern[::-1].index(False) if False in pattern else len(pattern))
    assert all(map(torch.equal, layer.parameters(), theirs.parameters()))


def test_a_scale_that_nothing_helps_stays_a_number_and_the_run_can_go_on() -> None:
    layer, optimizer, guard = make("adam")
    for number in range(200):
        take(layer, guard, number, True)
    before = everything(layer, optimizer)
    take(layer, guard, 0, False)
    expected = GradScalerState(skipped=200, skipped_in_a_row=0, scale=2.0**-10, growth_tracker=1)
    assert guard.state() == expected
    assert all(bool(value.isfinite().all()) for value in everything(layer, optimizer))
    assert not all(map(torch.equal, layer.parameters(), before[:2]))


def test_a_state_goes_on_where_it_was() -> None:
    layer, _, guard = make("adam")
    take(layer, guard, 0, True)
    take(layer, guard, 1, False)
    other = make("adam")[2]
    other.load(guard.state())
    assert (
        other.state()
        == guard.state()
        == GradScalerState(skipped=1, skipped_in_a_row=0, scale=2.0**15, growth_tracker=1)
    )


class HostReads(TorchDispatchMode):
    """Notes each operation that waits for a value of the device: any of these stalls a GPU."""

    NAMES = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__.split(".")[-1] in self.NAMES:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("case", ["gp-instance-2", "spectral-none-1", "dropout-gp-2", "sagan-bce-1"])
def test_a_step_reads_nothing_back_from_the_device(case: str, precision: str) -> None:
    world = World(replace(CASES[case], mixed_precision=precision))
    with HostReads() as reads:
        float(torch.ones(()))
        assert reads.found  # it sees one
        reads.found.clear()
        world.critic_iteration(0)
        world.generator_step(0)
        world.gan.ema.update(0)
    assert reads.found == []


def test_updates_without_the_lazy_penalty_do_not_end_a_row_of_skipped_ones() -> None:
    layer, optimizer, guard = make("adam")
    rows = []
    for number in range(8):
        is_broken = is_whole = number % 2 == 1 and number < 6
        optimizer.zero_grad()
        guard.backward(loss_of(layer, number, is_broken))
        layer.weight._backward_hooks = None
        guard.step(is_whole or number == 7)
        rows.append(guard.state().skipped_in_a_row)
    assert rows == [0, 1, 1, 2, 2, 3, 3, 0]
    assert guard.state().skipped == 3
