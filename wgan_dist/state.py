"""What a checkpoint says in state.json: where the run is, as plain values that were checked when they were read."""

import json
from dataclasses import dataclass
from typing import Any

from wgan_dist.best import Best
from wgan_dist.errors import UserError

STATE_FILE = "state.json"
# 2: a checkpoint may lie within a generator step, and knows the best one of its run.
FORMAT_VERSION = 2
_OPTIMIZERS = ("critic_optimizer", "generator_optimizer")


@dataclass(frozen=True)
class State:
    """Counters of the run, its settings as saved, the scaler's state, and the optimizers' groups by file stem.

    `iteration` counts the critic iterations already made of the generator step that `step` is the number of.
    """

    step: int
    iteration: int
    critic_iterations: int
    config: dict[str, Any]
    data_fingerprint: str
    scaler: dict[str, Any] | None
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
        "scaler": state.scaler,
        "best": vars(state.best) if state.best else None,
    }
    return json.dumps(values | state.optimizer_groups, indent=1).encode()


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _parse(values: dict[str, Any]) -> State:
    return State(
        step=_count(values["step"]),
        iteration=_count(values.get("critic_iterations_of_step", 0)),  # version 1 saved at generator steps alone
        critic_iterations=_count(values["critic_iterations"]),
        config=dict(values["config"]),
        data_fingerprint=str(values["data_fingerprint"]),
        scaler=None if values["scaler"] is None else dict(values["scaler"]),
        best=Best(**values["best"]) if values.get("best") else None,
        optimizer_groups={name: list(values[name]) for name in _OPTIMIZERS},
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
