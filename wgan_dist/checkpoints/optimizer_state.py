"""The state of an optimizer as tensors and plain values, and back."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from wgan_dist.utils.errors import UserError

# What torch's optimizers keep for a parameter, with the settings that this package gives them.
ADAM, RMSPROP = {"step", "exp_avg", "exp_avg_sq"}, {"step", "square_avg"}


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return the state of each parameter as tensors named `number.key`, and the parameter groups as plain values."""
    state = optimizer.state_dict()
    tensors = {
        f"{number}.{key}": torch.as_tensor(value)
        for number, values in state["state"].items()
        for key, value in values.items()
    }
    return tensors, state["param_groups"]


def load_optimizer_state(
    optimizer: Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]], source: str
) -> None:
    """Restore what `optimizer_state` returned, after the groups went through JSON; `source` names it in errors.

    Raises:
        UserError: If it is not the state of such an optimizer.
    """
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in tensors.items():
            number, key = name.split(".", 1)
            if number != str(int(number)):
                raise ValueError(f"{name} is no value of a parameter")
            state.setdefault(int(number), {})[key] = value
        own = optimizer.state_dict()["param_groups"]
        _check_keys(state, own)
        rates = [{"lr": _learning_rate(group["lr"])} for group in groups]
        # The settings of a run decide all else; a file cannot turn on what they do not name.
        optimizer.load_state_dict(
            {"state": state, "param_groups": [mine | rate for mine, rate in zip(own, rates, strict=True)]}
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{source}: the state of an optimizer of other networks, or damaged: {error}") from error
    _match_parameters(optimizer, source)


def _learning_rate(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise ValueError(f"lr={value!r} is no learning rate")
    return value


def _check_keys(state: dict[int, dict[str, Tensor]], groups: list[dict[str, Any]]) -> None:
    """Raise ValueError unless the parameters are those of the groups, each with the values of its optimizer."""
    numbers = {number for group in groups for number in group["params"]}
    keys = ADAM if "betas" in groups[0] else RMSPROP
    for number, values in state.items():
        if number not in numbers or values.keys() != keys:
            raise ValueError(f"parameter {number} has {', '.join(sorted(values))}")
        if values["step"].numel() != 1 or not all(value.is_floating_point() for value in values.values()):
            raise ValueError(f"parameter {number} has values of other types")


def _match_parameters(optimizer: Optimizer, source: str) -> None:
    """Check shapes, and give each value the memory layout of its parameter.

    Fused kernels pass over a parameter and its state side by side and check neither.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if key == "step":
                continue
            if value.shape != parameter.shape:
                raise UserError(f"{source}: the state of an optimizer of other networks: {key} {list(value.shape)}")
            values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
