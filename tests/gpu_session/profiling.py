"""Launches, synchronisations and the busy share of the device by torch.profiler, beside the textbook's."""

import bisect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function

from tests.gpu_session.loops import N_CRITIC, Loop, critic_and_generator, our_loop, textbook_loop
from tests.gpu_session.machine import Machine
from tests.gpu_session.shapes import batches, dcgan, textbook_dcgan
from tests.gpu_session.table import Row, at_most, measured, not_tried

WARM_UP_STEPS = 3
# The first of them opens the data again and is left out.
PROFILED_STEPS = 3
MARK = "mark of a training loop"
# Calls of the CUDA runtime and driver that put work on the device, and that wait for it.
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpy", "cudaMemset", "cudaGraphLaunch")
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cuStreamSynchronize")
# Kernels and copies of DCGAN-64 at batch 64, eager: counted on a device that computes nothing.
MOST_CRITIC_LAUNCHES, MOST_GENERATOR_LAUNCHES = 300, 110


def _mark() -> None:
    with record_function(MARK):
        pass


def _profile(machine: Machine, loop: Loop) -> list[Any]:
    """Return the events of some steps of a loop that has warmed up."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports a missing GPU as an error
    loop(WARM_UP_STEPS, lambda: None)
    machine.synchronize()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if machine.has_gpu else [])]
    with profile(activities=activities) as recorded:
        loop(PROFILED_STEPS, _mark)
        machine.synchronize()
    return list(recorded.events())


def _host_times(events: Sequence[Any], names: tuple[str, ...]) -> list[float]:
    """Return the times, in microseconds, of the host's events whose names begin with one of `names`."""
    on_host = (event for event in events if event.device_type == DeviceType.CPU)
    return sorted(event.time_range.start for event in on_host if event.name.startswith(names))


def busy_share(intervals: Sequence[tuple[float, float]], first: float, last: float) -> float:
    """Return the share of the time from `first` to `last` that lies in at least one interval."""
    covered, reached = 0.0, first
    for begin, end in sorted(intervals):
        begin, end = max(begin, reached), min(end, last)
        covered += max(0.0, end - begin)
        reached = max(reached, end)
    return covered / (last - first)


def _device_intervals(events: Sequence[Any]) -> list[tuple[float, float]]:
    return [
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]


@dataclass(frozen=True)
class Counts:
    """The launches and waits of a loop on the device.

    Attributes:
        critic, generator: Kernels and copies that a critic iteration and a generator step launch, medians.
        waits: Calls that wait for the device, in all steps together.
        busy: The share of the time in which the device computes or copies.
    """

    critic: float
    generator: float
    waits: int
    busy: float

    def __str__(self) -> str:
        """Return the counts in words."""
        waits = f"{self.waits} waits in {PROFILED_STEPS - 1} steps"
        return f"{self.critic:g} / {self.generator:g} launches, {waits}, device busy {self.busy:.0%}"


def count(events: Sequence[Any]) -> Counts:
    """Count what the events of a profiled loop asked of the device, from its second step on."""
    marks = _host_times(events, (MARK,))[N_CRITIC + 1 :]
    launched, waited = _host_times(events, LAUNCHES), _host_times(events, WAITS)
    critic, generator = critic_and_generator([bisect.bisect_left(launched, mark) for mark in marks])
    first, last = marks[0], marks[-1]
    waits = bisect.bisect_left(waited, last) - bisect.bisect_left(waited, first)
    return Counts(critic, generator, waits, busy_share(_device_intervals(events), first, last))


def _counted(machine: Machine, loop: Loop) -> Counts:
    counts = count(_profile(machine, loop))
    if machine.has_gpu and not counts.critic:
        raise RuntimeError("the profiler recorded no launch: CUPTI did not start")
    return counts


def _limits(ours: Counts) -> Iterator[Row]:
    yield at_most("ours, launches of a critic iteration", ours.critic, MOST_CRITIC_LAUNCHES)
    yield at_most("ours, launches of a generator step", ours.generator, MOST_GENERATOR_LAUNCHES)
    yield at_most("ours, waits for the device", ours.waits, 0)


def launches(machine: Machine) -> Iterator[Row]:
    """Count what a critic iteration and a generator step of DCGAN-64 ask of the device, ours and the textbook's."""
    batch = batches(machine)[0]
    ours = _counted(machine, our_loop(dcgan(machine, batch)))
    yield measured("ours, critic iteration / generator step", str(ours))
    if machine.has_gpu:
        yield from _limits(ours)
    else:
        yield not_tried("ours, limits", "a CPU launches nothing")
    for name, fused in (("fused Adam", True), ("torch's default Adam", None)):
        textbook = textbook_loop(machine, textbook_dcgan(machine, batch, fused, None))
        yield measured(f"textbook, {name}", str(_counted(machine, textbook)))
