"""The state of a checkpoint is read only if every value of it is of its own type."""

import json
from typing import Any

import pytest

from wgan_dist.checkpoints import state_file
from wgan_dist.checkpoints.state_file import SavedState
from wgan_dist.checkpoints.train_state import Best, GradScalerState, TrainState
from wgan_dist.utils.errors import UserError

SCALER = GradScalerState(skipped=1, skipped_in_a_row=0, scale=8.0, growth_tracker=3)
SAVED = SavedState(
    state=TrainState(step=4, critic_iteration=1, total_critic_iterations=21, best=Best("fid", 3.5, True, 4, "step-4")),
    config={"image_size": 16},
    data_fingerprint="f",
    grad_scalers={"critic": SCALER, "generator": SCALER},
    optimizer_groups={"critic": [{"lr": 0.1}], "generator": []},
)


def refuse(path: tuple[str, ...], value: Any) -> None:
    """Expect a state with `value` at `path` to be refused."""
    values = json.loads(state_file.to_bytes(SAVED))
    inner = values
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(UserError, match=r"^here: state\.json is damaged: "):
        state_file.from_bytes(json.dumps(values).encode(), "here")


def test_a_state_comes_back() -> None:
    assert state_file.from_bytes(state_file.to_bytes(SAVED), "here") == SAVED


@pytest.mark.parametrize(
    "path",
    [("state", "step"), ("state", "best", "value"), ("state", "best", "step"), ("grad_scalers", "critic", "scale")],
)
@pytest.mark.parametrize("value", ["8", "0_8", True, None, [8]])
def test_a_number_of_another_type_is_refused(path: tuple[str, ...], value: Any) -> None:
    refuse(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("state", "best", "value"), 10**400),
        (("state", "step"), 2**53 + 1),
        (("state", "best", "metric"), [1]),
        (("state", "best", "lower_is_better"), "no"),
        (("grad_scalers", "critic", "growth_tracker"), 2**31),
    ],
)
def test_what_cannot_be_is_refused(path: tuple[str, ...], value: Any) -> None:
    refuse(path, value)
