"""The items of a session in their order."""

import functools
from collections.abc import Callable, Iterable, Iterator

from tests.gpu_session import distribution, environment, exported, operations, profiling, runs, speed
from tests.gpu_session.machine import Machine, own_settings
from tests.gpu_session.session import Item
from tests.gpu_session.table import Row

# The time of a session. The limits below, in seconds, are for it; in sum they are more, since few items need theirs.
MINUTES = 8.0

Check = Callable[[Machine], Iterable[Row]]


def _half_precision(machine: Machine) -> Iterator[Row]:
    yield from operations.penalties(machine)
    yield from runs.half_precision(machine)


CHECKS: dict[str, tuple[float, Check]] = {
    "versions and flags": (20, environment.versions),
    "global BatchNorm": (15, distribution.batch_norm),
    "two processes against one": (50, distribution.two_worlds),
    "optimizers": (10, operations.optimizers),
    "fast operations": (40, operations.fast_operations),
    "device against CPU": (35, runs.devices),
    "launches and waits": (35, profiling.launches),
    "speed": (105, speed.speed),
    "speed, compiled": (90, speed.compiled_speed),
    "non-finite updates": (35, distribution.non_finite_updates),
    "half precision": (20, _half_precision),
    "compiled against eager": (60, runs.compiled),
    "resume": (30, runs.resumed),
    "ONNX": (15, exported.onnx),
}


def _checked(check: Check, machine: Machine) -> Iterator[Row]:
    with own_settings():
        yield from check(machine)


def items(machine: Machine, minutes: float) -> list[Item]:
    """Return the items for a session of so many minutes; the limit of each grows and shrinks with them."""
    return [
        Item(name, seconds * minutes / MINUTES, functools.partial(_checked, check, machine))
        for name, (seconds, check) in CHECKS.items()
    ]
