"""The file state.json of a checkpoint: counters, settings and parameter groups, checked when they are read."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from wgan_dist import __version__
from wgan_dist.checkpoints.run_dir import checkpoint_position
from wgan_dist.checkpoints.train_state import MAX_COUNT, AugmentationState, Best, GradScalerState, TrainState
from wgan_dist.utils.errors import UserError

STATE_FILE = "state.json"
FORMAT_VERSION = 1
NETWORKS = ("critic", "generator")
# torch counts the steps since the loss scale changed in 32 bits.
MAX_GROWTH_TRACKER = 2**31 - 1


@dataclass(frozen=True)
class SavedState:
    """Everything of a checkpoint that is not a tensor.

    Attributes:
        state: The counters of the run.
        config: Its settings, as saved.
        data_fingerprint: The hash of the data it is trained on.
        grad_scalers: By network, the state of its gradient scaler.
        optimizer_groups: By network, the parameter groups of its optimizer.
        augmentation: The state of adaptive augmentation, or None without it.
    """

    state: TrainState
    config: dict[str, Any]
    data_fingerprint: str
    grad_scalers: dict[str, GradScalerState]
    optimizer_groups: dict[str, list[dict[str, Any]]]
    augmentation: AugmentationState | None = None


def to_bytes(saved: SavedState) -> bytes:
    """Return the content of state.json."""
    values = {"format_version": FORMAT_VERSION, "package_version": __version__} | dataclasses.asdict(saved)
    return json.dumps(values, indent=1).encode()


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{value!r} is no count")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _grad_scaler(values: dict[str, Any]) -> GradScalerState:
    scale = _number(values["scale"])
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{scale} is no loss scale")
    counts = {name: _count(values[name]) for name in ("skipped", "skipped_in_a_row", "growth_tracker")}
    if counts["growth_tracker"] > MAX_GROWTH_TRACKER:
        raise ValueError(f"growth_tracker={counts['growth_tracker']}")
    return GradScalerState(scale=scale, **counts)


def _augmentation(values: dict[str, Any]) -> AugmentationState:
    probability, overfitting = _number(values["probability"]), _number(values["overfitting"])
    if not (0.0 <= probability <= 1.0 and math.isfinite(overfitting)):
        raise ValueError(f"{values} is no state of an augmentation")
    return AugmentationState(probability, overfitting)


def _best(values: dict[str, Any]) -> Best:
    best = Best(**values | {"value": _number(values["value"]), "step": _count(values["step"])})
    is_typed = isinstance(best.metric, str) and isinstance(best.protocol, str) and type(best.lower_is_better) is bool
    if not is_typed or not math.isfinite(best.value) or checkpoint_position(best.checkpoint) is None:
        raise ValueError(f"{best} is no best checkpoint")
    return best


def _train_state(values: dict[str, Any]) -> TrainState:
    counters = {name: _count(values[name]) for name in ("step", "critic_iteration", "total_critic_iterations")}
    return TrainState(**counters, best=_best(values["best"]) if values["best"] else None)


def from_bytes(content: bytes, source: str) -> SavedState:
    """Return what `to_bytes` saved; `source` names the checkpoint in errors.

    Raises:
        UserError: If it was written by a newer version, or is damaged.
    """
    try:
        values = json.loads(content)
        if _count(values["format_version"]) > FORMAT_VERSION:
            raise UserError(
                f"{source}: format version {values['format_version']}, written by wgan_dist "
                f"{values.get('package_version')}; this one reads up to {FORMAT_VERSION}"
            )
        return SavedState(
            state=_train_state(values["state"]),
            config=dict(values["config"]),
            data_fingerprint=str(values["data_fingerprint"]),
            grad_scalers={name: _grad_scaler(values["grad_scalers"][name]) for name in NETWORKS},
            optimizer_groups={name: list(values["optimizer_groups"][name]) for name in NETWORKS},
            augmentation=_augmentation(values["augmentation"]) if values["augmentation"] else None,
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{source}: {STATE_FILE} is damaged: {error}") from error
