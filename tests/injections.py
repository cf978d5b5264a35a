"""Inject an inf on the last of several processes, in each gradient of each network and at each precision.

Each process prints whether it skipped the update, as the others did.

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

# Small enough that no gradient of these networks overflows without an injection.
SCALE = 16.0
# The prefix of each line of results.
MARK = "INJECTED "


@dataclass(frozen=True)
class Injection:
    """The place of an inf.

    Attributes:
        player: The network that is trained, "critic" or "generator".
        gradient: "inner" for the gradient in the penalty, "outer" for that of a parameter, "loss" for the loss value.
    """

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
def _inf_in_inner_gradient() -> Iterator[None]:
    original = input_gradient

    def with_inf(*arguments: Any) -> Tensor:
        gradient = original(*arguments)
        error = torch.zeros_like(gradient)
        error.view(-1)[0] = math.inf
        return gradient + error

    with mock.patch.object(modules, "input_gradient", with_inf):
        yield


@contextmanager
def _inf_in_parameter_gradient(parameter: Tensor) -> Iterator[None]:
    handle = parameter.register_hook(lambda gradient: gradient * math.inf)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _inf_in_loss(world: World) -> Iterator[None]:
    critic: Any = world.gan.critic.loss
    objective = getattr(critic, "module", critic)
    original = objective.loss
    objective.loss = replace(original, critic=lambda *scores: original.critic(*scores) + math.inf)
    try:
        yield
    finally:
        objective.loss = original


def _inject(world: World, injection: Injection) -> Any:
    if injection.gradient == "inner":
        return _inf_in_inner_gradient()
    if injection.gradient == "loss":
        return _inf_in_loss(world)
    return _inf_in_parameter_gradient(next(getattr(world.gan, injection.player).network.parameters()))


def _step(world: World, player: str, number: int) -> None:
    (world.critic_iteration if player == "critic" else world.generator_step)(number)


def run_injection(injection: Injection) -> dict[str, Any]:
    """Train a network for four steps, inject an inf into the second on the last process, and return the results."""
    world = World(replace(CASES[injection.case], mixed_precision=injection.precision))
    process = distributed.world()
    player = getattr(world.gan, injection.player)
    _step(world, injection.player, 0)
    # The other network may change too: the statistics of BatchNorm and the vectors of spectral norm.
    before = [state_of(network.network) for network in (world.gan.critic, world.gan.generator)]
    scale = player.scaler.state().scale
    if process.rank == process.size - 1:
        with _inject(world, injection):
            _step(world, injection.player, 1)
    else:
        _step(world, injection.player, 1)
    after = [state_of(network.network) for network in (world.gan.critic, world.gan.generator)]
    halved = scale / player.scaler.state().scale
    for number in (2, 3):
        _step(world, injection.player, number)
    assert_ranks_equal(world, f"after {injection}")
    learned = state_of(player.network)
    return asdict(injection) | {
        "untouched": all(map(torch.equal, before, after)),
        "scale_halved": halved,
        "skipped": player.scaler.state().skipped,
        "learned_after": not torch.equal(learned, after[("critic", "generator").index(injection.player)]),
        "finite": bool(learned.isfinite().all()),
    }


def outcomes(stdout: str) -> list[list[dict[str, Any]]]:
    """Return the results that `main` printed: for each injection, those of each process."""
    return [json.loads(line.removeprefix(MARK)) for line in stdout.splitlines() if line.startswith(MARK)]


def main() -> None:
    grad_scaler.INITIAL_SCALE = SCALE
    for injection in INJECTIONS:
        result = run_injection(injection)
        gathered: list[Any] = [None] * distributed.world().size
        torch.distributed.all_gather_object(gathered, result)
        if distributed.world().is_main:
            print(MARK + json.dumps(gathered), flush=True)
    distributed.leave()
    distributed.end()


if __name__ == "__main__":
    main()
