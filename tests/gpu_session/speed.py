"""Milliseconds of a critic iteration and of a generator step, beside the textbook's."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.gpu_session.loops import N_CRITIC, Loop, Textbook, critic_and_generator, our_loop, textbook_loop
from tests.gpu_session.machine import Machine, own_settings, set_flags
from tests.gpu_session.shapes import batches, dcgan, resnet, textbook_dcgan, textbook_resnet
from tests.gpu_session.small_runs import DENSE
from tests.gpu_session.table import Row, attempted, measured, not_tried


@dataclass(frozen=True)
class Effort:
    """The steps before the timing of a loop, its duration, and the bounds of its steps.

    Attributes:
        warm_up: Steps before, in which cudnn.benchmark tries its kernels and torch.compile compiles.
        estimated: Steps after them, from whose time the number of timed steps follows.
        seconds, least, most: The time that the timed steps take together, and the bounds of their number.
    """

    warm_up: int
    estimated: int
    seconds: float
    least: int
    most: int

    def steps(self, seconds_per_step: float) -> int:
        """Return how many steps are timed."""
        return min(max(self.least, round(self.seconds / seconds_per_step)), self.most)

    def __str__(self) -> str:
        """Return the method in words."""
        bounds = f"at least {self.least} and at most {self.most}"
        return f"{self.warm_up} steps to warm up, then medians over the steps of {self.seconds:g} s, {bounds}"


ON_GPU, ON_CPU = Effort(4, 3, 1.0, 5, 50), Effort(1, 1, 0.0, 2, 2)
METHOD = "{clock} before each critic iteration and after each generator step, without waits in between; {effort}"


class Clock:
    """Notes times, by CUDA events on a GPU and by the host's clock on a CPU."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Note the time without waiting for the device."""
        if self.machine.has_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """Return the times since the first one."""
        first = self._marks[0]
        if not self.machine.has_gpu:
            return [1e3 * (mark - first) for mark in self._marks]
        torch.cuda.synchronize()
        return [first.elapsed_time(mark) for mark in self._marks]


def _effort(machine: Machine) -> Effort:
    return ON_GPU if machine.has_gpu else ON_CPU


def _seconds_per_step(machine: Machine, loop: Loop, steps: int) -> float:
    machine.synchronize()
    began = time.perf_counter()
    loop(steps, lambda: None)
    machine.synchronize()
    return (time.perf_counter() - began) / steps


def _speed(machine: Machine, loop: Loop) -> str:
    clock, effort = Clock(machine), _effort(machine)
    loop(effort.warm_up, lambda: None)
    steps = effort.steps(_seconds_per_step(machine, loop, effort.estimated))
    loop(steps + 1, clock.mark)
    # The first step opens the data again.
    critic, generator = critic_and_generator(clock.milliseconds()[N_CRITIC + 1 :])
    return f"{critic:.3g} / {generator:.3g} ms, {steps} steps"


@dataclass(frozen=True)
class Variant:
    """A way to compute a run: its settings, and what replaces what a run sets; None leaves that."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    tf32: bool | None = None
    layout: torch.memory_format | None = None


LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
BF16, COMPILED = {"mixed_precision": "bf16"}, {"compile": "true"}
EAGER = [
    Variant("as started"),
    *(Variant(f"float32 without TF32, {name}", {}, False, layout) for name, layout in LAYOUTS.items()),
    *(Variant(f"float32 with TF32, {name}", {}, True, layout) for name, layout in LAYOUTS.items()),
    *(Variant(f"bf16, {name}", BF16, True, layout) for name, layout in LAYOUTS.items()),
]
# How the textbook is set: with cudnn.benchmark and TF32 in all products, or as torch is; and the dtype of autocast.
TEXTBOOKS: list[tuple[str, bool, torch.dtype | None]] = [
    ("as torch is set", False, None),
    ("benchmark and TF32", True, None),
    ("benchmark and bf16", True, torch.bfloat16),
]
RESNET = [Variant("as started"), Variant("float32 with TF32", {}, True), Variant("bf16", BF16, True)]


def _ours(machine: Machine, variant: Variant, settings: dict[str, str]) -> str:
    with own_settings():
        loop = our_loop(settings | variant.settings, variant.layout)
        if variant.tf32 is not None:
            set_flags(variant.tf32, variant.tf32, benchmark=True)
        return _speed(machine, loop)


def _textbook(machine: Machine, tuned: bool, case: Textbook) -> str:
    with own_settings():
        set_flags(conv_tf32=True, matmul_tf32=tuned, benchmark=tuned)
        return _speed(machine, textbook_loop(machine, case))


def _textbooks(machine: Machine, what: str, case: Callable[[torch.dtype | None], Textbook]) -> Iterator[Row]:
    """Time the textbook as torch is set by default, as public repositories set it, and so in bfloat16."""
    for name, tuned, autocast in TEXTBOOKS:
        yield attempted(f"textbook, {what}, {name}", functools.partial(_textbook, machine, tuned, case(autocast)))


def speed(machine: Machine) -> Iterator[Row]:
    """Time DCGAN-64 at two batch sizes in each precision and memory layout, and the ResNet of `cifar10_resnet`."""
    clock = "CUDA events" if machine.has_gpu else "the host's clock"
    yield measured("method", METHOD.format(clock=clock, effort=_effort(machine)))
    for batch in batches(machine):
        what = f"DCGAN-64, batch {batch}"
        yield from _textbooks(machine, what, functools.partial(textbook_dcgan, machine, batch, None))
        for variant in EAGER:
            settings = dcgan(machine, batch)
            yield attempted(f"ours, {what}, {variant.name}", functools.partial(_ours, machine, variant, settings))
    yield from _textbooks(machine, "cifar10_resnet", functools.partial(textbook_resnet, machine))
    for variant in RESNET:
        measure = functools.partial(_ours, machine, variant, resnet(machine))
        yield attempted(f"ours, cifar10_resnet, {variant.name}", measure)


def compiled_speed(machine: Machine) -> Iterator[Row]:
    """Time compiled steps in bfloat16, without and with CUDA graphs."""
    torch.compiler.reset()
    settings = dcgan(machine, batches(machine)[0]) | BF16 | COMPILED | ({} if machine.has_gpu else DENSE)
    what = f"ours, {'DCGAN-64' if machine.has_gpu else 'dense networks'}, batch {batches(machine)[0]}, bf16"
    compiled = Variant("compiled", tf32=True)
    yield attempted(f"{what}, compiled", functools.partial(_ours, machine, compiled, settings))
    if machine.has_gpu:
        measure = functools.partial(_ours, machine, compiled, settings | {"cuda_graphs": "true"})
        yield attempted(f"{what}, compiled with CUDA graphs", measure)
    else:
        yield not_tried(f"{what}, compiled with CUDA graphs", "a CPU has no graphs")
