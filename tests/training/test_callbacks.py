"""The order of callbacks, and that each of them ends whatever happens to the loop."""

from typing import Any

import pytest

from wgan_dist.checkpoints.train_state import Best, TrainState
from wgan_dist.training.callbacks import Callback, Callbacks, Checkpointing, StepResult


class Recorder(Callback):
    """Notes which of its methods run."""

    def __init__(self, name: str, events: list[str], stops: bool = False) -> None:
        self.name, self.events, self.stops = name, events, stops

    def on_train_begin(self, state: TrainState) -> None:
        self.events.append(f"begin {self.name}")

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        self.events.append(f"step {self.name}")

    def should_stop(self, state: TrainState) -> bool:
        return self.stops

    def on_train_end(self, state: TrainState) -> None:
        self.events.append(f"end {self.name}")

    def close(self) -> None:
        self.events.append(f"close {self.name}")


def test_callbacks_begin_and_step_in_order_and_end_in_reverse() -> None:
    events: list[str] = []
    callbacks, state = Callbacks([Recorder(name, events) for name in "ab"]), TrainState()
    with callbacks.active(state):
        callbacks.on_step_end(state, StepResult({}))
    assert events == ["begin a", "begin b", "step a", "step b", "end b", "end a", "close b", "close a"]


def test_an_error_closes_every_callback_and_ends_none() -> None:
    events: list[str] = []
    with pytest.raises(KeyError), Callbacks([Recorder(name, events) for name in "ab"]).active(TrainState()):
        raise KeyError
    assert events == ["begin a", "begin b", "close b", "close a"]


@pytest.mark.parametrize(("stops", "expected"), [((False, False), False), ((False, True), True)])
def test_any_callback_stops_the_run(stops: tuple[bool, ...], expected: bool) -> None:
    callbacks = Callbacks([Recorder("", [], each) for each in stops])
    assert callbacks.should_stop(TrainState()) is expected


class Saves:
    """Stands in for the manager: notes the steps at which a save is asked for."""

    is_main = False

    def __init__(self) -> None:
        self.steps: list[int] = []

    def save(self, state: TrainState) -> None:
        self.steps.append(state.step)


@pytest.mark.parametrize(
    ("best_step", "evaluated", "expected"),
    [
        (None, {}, [4, 8]),
        (5, {"fid": 1.0}, [4, 5, 8]),
        # The best of a resumed run was saved when it was measured.
        (5, {}, [4, 8]),
    ],
)
def test_checkpoints_are_due_at_their_cadence_and_with_a_new_best(
    best_step: int | None, evaluated: dict[str, float], expected: list[int]
) -> None:
    saves: Any = Saves()
    checkpointing = Checkpointing(saves, every=4)
    for step in range(1, 9):
        measured = best_step is not None and step >= best_step
        best = Best("fid", 1.0, True, best_step or 0, "") if measured else None
        checkpointing.on_step_end(TrainState(step, best=best), StepResult({}, evaluated))
    assert saves.steps == expected
