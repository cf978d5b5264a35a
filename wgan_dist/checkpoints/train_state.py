"""What a checkpoint says in state.json: where the run is, as plain values that were checked when they were read."""

import json
import math
from dataclasses import dataclass
from typing import Any

from wgan_dist.checkpoints.best import Best
from wgan_dist.training.grad_scaler import GradScalerState
from wgan_dist.utils.errors import UserError

STATE_FILE = "state.json"
# 2: a checkpoint may lie within a generator step, and knows the best one of its run.
# 3: each player has a loss scale of its own, and counts the updates that were left out.
# 4: Adam keeps no mean where it is the gradient, at β₁ = 0.
FORMAT_VERSION = 4
PLAYERS = ("critic", "generator")


@dataclass(frozen=True)
class State:
    """Counters of the run, its settings as saved, and by player its tally and the groups of its optimizer.

    `iteration` counts the critic iterations already made of the generator step that `step` is the number of. A tally
    is None where an older version kept none.
    """

    step: int
    iteration: int
    critic_iterations: int
    config: dict[str, Any]
    data_fingerprint: str
    tallies: dict[str, GradScalerState | None]
    best: Best | None
    optimizer_groups: dict[str, list[dict[str, Any]]]


def to_bytes(state: State, package_version: str) -> bytes:
    """The content of state.json."""
    values = {
        "format_version": FORMAT_VERSION,
        "package_version": package_version,
        "step": state.step,
        "critic_iterations_of_step": state.iteration,
        "critic_iterations": state.critic_iterations,
        "config": state.config,
        "data_fingerprint": state.data_fingerprint,
        "best": vars(state.best) if state.best else None,
        "tallies": {player: vars(tally) for player, tally in state.tallies.items() if tally},
    }
    groups = {f"{player}_optimizer": each for player, each in state.optimizer_groups.items()}
    return json.dumps(values | groups, indent=1).encode()


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _tally(values: dict[str, Any]) -> GradScalerState:
    scale = float(values["scale"])
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{scale} is no loss scale")
    return GradScalerState(scale=scale, **{name: _count(values[name]) for name in ("skipped", "in_a_row", "growth")})


def _tallies(values: dict[str, Any]) -> dict[str, GradScalerState | None]:
    if "tallies" in values:
        return {player: _tally(values["tallies"][player]) for player in PLAYERS}
    scaler = values["scaler"]  # until version 2: accelerate's, of both players
    if scaler is None:
        return dict.fromkeys(PLAYERS)
    one = {"scale": scaler["scale"], "growth": scaler["_growth_tracker"], "skipped": 0, "in_a_row": 0}
    return {player: _tally(one) for player in PLAYERS}


def _parse(values: dict[str, Any]) -> State:
    return State(
        step=_count(values["step"]),
        iteration=_count(values.get("critic_iterations_of_step", 0)),  # version 1 saved at generator steps alone
        critic_iterations=_count(values["critic_iterations"]),
        config=dict(values["config"]),
        data_fingerprint=str(values["data_fingerprint"]),
        tallies=_tallies(values),
        best=Best(**values["best"]) if values.get("best") else None,
        optimizer_groups={player: list(values[f"{player}_optimizer"]) for player in PLAYERS},
    )


def from_bytes(content: bytes, source: str) -> State:
    """Read state.json of this version or an older one.

    Raises UserError naming `source` when it was written by a newer version, or is not a state.
    """
    try:
        values = json.loads(content)
        if _count(values["format_version"]) > FORMAT_VERSION:
            raise UserError(
                f"{source}: format version {values['format_version']}, written by wgan_dist "
                f"{values.get('package_version')}; this one reads up to {FORMAT_VERSION}"
            )
        return _parse(values)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{source}: {STATE_FILE} is damaged: {error}") from error
