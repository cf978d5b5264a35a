"""An inf on the last of several processes, in each gradient of either network, at each precision: what all of them do.

torchrun --nproc_per_node 2 -m tests.injections
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.worlds import CASES, World, assert_ranks_equal, state_of
from wgan_dist import distributed
from wgan_dist.losses import modules
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.training import grad_scaler

# Small enough that nothing of these networks overflows by itself.
SCALE = 16.0
# Before each line of the outcome.
MARK = "INJECTED "


@dataclass(frozen=True)
class Injection:
    """Where an inf comes up: the critic's inner gradient, a network's outer one, or the loss alone."""

    case: str
    precision: str
    player: str
    gradient: str


INJECTIONS = [
    Injection(case, precision, player, gradient)
    for case in ("gp-instance-1", "lp-layer-2", "clip-none-1", "sagan-bce-1")
    for precision in ("no", "bf16", "fp16")
    for player, gradient in (("critic", "inner"), ("critic", "outer"), ("critic", "loss"), ("generator", "outer"))
    if gradient != "inner" or case.split("-")[0] in PENALTIES
]


@contextmanager
def _inner() -> Iterator[None]:
    def broken(*given: Any) -> Tensor:
        gradient = input_gradient(*given)
        one = torch.zeros_like(gradient)
        one.view(-1)[0] = math.inf
        return gradient + one

    with mock.patch.object(modules, "input_gradient", broken):
        yield


@contextmanager
def _outer(parameter: Tensor) -> Iterator[None]:
    handle = parameter.register_hook(lambda gradient: gradient * math.inf)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _loss(world: World) -> Iterator[None]:
    critic: Any = world.players.critic.objective
    objective = getattr(critic, "module", critic)
    usual = objective.loss
    objective.loss = replace(usual, critic=lambda *scores: usual.critic(*scores) + math.inf)
    try:
        yield
    finally:
        objective.loss = usual


def _breaking(world: World, injection: Injection) -> Any:
    if injection.gradient == "inner":
        return _inner()
    if injection.gradient == "loss":
        return _loss(world)
    return _outer(next(getattr(world.players, injection.player).network.parameters()))


def _step(world: World, player: str, number: int) -> None:
    (world.critic_iteration if player == "critic" else world.generator_step)(number)


def try_one(injection: Injection) -> dict[str, Any]:
    """Four steps of a network, the second of them broken on the last process; what came of it."""
    world = World(replace(CASES[injection.case], mixed_precision=injection.precision))
    here = distributed.world()
    player = getattr(world.players, injection.player)
    _step(world, injection.player, 0)
    # Both networks: of the other, BatchNorm's statistics and spectral norm's vectors.
    before = [state_of(each.network) for each in (world.players.critic, world.players.generator)]
    scale = player.guard.tally().scale
    if here.rank == here.size - 1:
        with _breaking(world, injection):
            _step(world, injection.player, 1)
    else:
        _step(world, injection.player, 1)
    after = [state_of(each.network) for each in (world.players.critic, world.players.generator)]
    halved = scale / player.guard.tally().scale
    for number in (2, 3):
        _step(world, injection.player, number)
    assert_ranks_equal(world, f"after {injection}")
    learned = state_of(player.network)
    return asdict(injection) | {
        "untouched": all(map(torch.equal, before, after)),
        "scale_halved": halved,
        "skipped": player.guard.tally().skipped,
        "learned_after": not torch.equal(learned, after[("critic", "generator").index(injection.player)]),
        "finite": bool(learned.isfinite().all()),
    }


def outcomes(stdout: str) -> list[list[dict[str, Any]]]:
    """What `main` printed: for each injection, what came of it on each process."""
    return [json.loads(line.removeprefix(MARK)) for line in stdout.splitlines() if line.startswith(MARK)]


def main() -> None:
    grad_scaler.INITIAL_SCALE = SCALE
    for injection in INJECTIONS:
        found = try_one(injection)
        gathered: list[Any] = [None] * distributed.world().size
        torch.distributed.all_gather_object(gathered, found)
        if distributed.world().is_main:
            print(MARK + json.dumps(gathered), flush=True)
    distributed.leave()


if __name__ == "__main__":
    main()
