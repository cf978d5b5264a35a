"""A profiler of training steps: named phases, a trace of a few steps, and a table of the phases."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from wgan_dist.utils.console import print_lines, print_now
from wgan_dist.utils.files import atomic_file, write_text

FOLDER, TRACE, TABLE = "profile", "rank-{rank}.pt.trace.json.gz", "phases.txt"
PREFIX = "wgan_dist: "
STEP = "step"  # the phase around all others
SKIPPED_STEPS, WARM_UP_STEPS = 1, 1  # before the recorded ones: the first compiles, allocates and opens the data
# The names of an all-reduce in a trace: of gradients, of BatchNorm's sums and of what the processes agree on.
ALL_REDUCES = ("gloo:all_reduce", "nccl:all_reduce")

_is_recording = False
_open_phases: list[str] = []


@contextmanager
def _recorded_phase(name: str) -> Iterator[None]:
    _open_phases.append(name)
    try:
        with record_function(PREFIX + " / ".join(_open_phases)):
            yield
    finally:
        _open_phases.pop()


def phase(name: str) -> AbstractContextManager[None]:
    """Attribute the time of the block to the phase `name`, inside the phases that enclose it.

    It costs nothing unless `recording` is active, and compiled code does not contain it.
    """
    return nullcontext() if torch.compiler.is_compiling() or not _is_recording else _recorded_phase(name)


def table(averages: Iterable[Any]) -> str:
    """Return the phases of `key_averages()` as lines of text: milliseconds per step and share of the step.

    A phase is named by the path to it, as in `step / critic / forward`, and includes the phases in it. All-reduces run
    alongside the phases.
    """
    # On a GPU each phase has a second entry for the device, with no time on the host.
    rows = {
        average.key.removeprefix(PREFIX): average
        for average in averages
        if average.cpu_time_total and (average.key.startswith(PREFIX) or average.key in ALL_REDUCES)
    }
    steps, total = rows[STEP].count, rows[STEP].cpu_time_total  # microseconds
    lines = [f"{'phase':<42} {'ms per step':>11} {'share':>7}"]
    for name in sorted(rows):
        spent = rows[name].cpu_time_total
        lines.append(f"{name:<42} {spent / steps / 1e3:>11.2f} {spent / total:>7.1%}")
    return "\n".join(lines) + "\n"


@contextmanager
def recording(run_dir: Path, steps: int, rank: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """Record `steps` training steps on `device` in the block, which calls what this yields after each step.

    Write `profile/` in the run folder: a trace per process for Perfetto or TensorBoard, and the table of the main
    process, which is also printed. On a GPU the table has the host's times, and the trace also the device's. With 0
    steps, record and write nothing.
    """
    global _is_recording
    if not steps:
        yield lambda: None
        return
    folder, was_recorded = run_dir / FOLDER, Event()
    folder.mkdir(exist_ok=True)

    def write(recorded: profile) -> None:
        averages = recorded.key_averages()
        if not any(average.key == PREFIX + STEP for average in averages):
            return
        was_recorded.set()
        with atomic_file(folder / TRACE.format(rank=rank)) as partial:
            compressed = partial.with_name(partial.name + ".gz")  # torch compresses only a file of this suffix
            recorded.export_chrome_trace(str(compressed))
            compressed.replace(partial)
        if rank == 0:
            write_text(folder / TABLE, table(averages))
            print_lines(["", *table(averages).splitlines(), f"{folder}: traces, to open in ui.perfetto.dev"])

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports a missing GPU as an error
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    plan = schedule(skip_first=SKIPPED_STEPS, wait=0, warmup=WARM_UP_STEPS, active=steps, repeat=1)
    _is_recording = True
    try:
        with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
            yield profiler.step
    finally:
        _is_recording = False
    if rank == 0 and not was_recorded.is_set():
        print_now(f"profile={steps}: the run ended before the first step to be recorded")
