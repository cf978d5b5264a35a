"""Where the time of a step goes: named phases, a trace of a few steps, and their table."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from wgan_dist.utils.files import atomic_file, write_text

FOLDER, TRACE, TABLE = "profile", "rank-{rank}.pt.trace.json.gz", "phases.txt"
PREFIX = "wgan_dist: "
# The phase that all others lie in.
STEP = "step"
# Steps before the recorded ones: the first compiles, allocates and reads.
SKIPPED, WARM_UP = 1, 1
# How the backends name their all-reduces in a trace: of gradients for the most part, and BatchNorm's and agreements.
ALL_REDUCES = ("gloo:all_reduce", "nccl:all_reduce")


def phase(name: str) -> AbstractContextManager[Any]:
    """What is computed in this block belongs to the phase `name`, within the phases that enclose it."""
    nobody_looks = torch.compiler.is_compiling() or not torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
    return nullcontext() if nobody_looks else record_function(PREFIX + name)


def _path(event: Any) -> tuple[str, ...]:
    """The phases that an event lies in, itself included, from the outside."""
    names: list[str] = []
    while event is not None:
        if event.name.startswith(PREFIX):
            names.insert(0, event.name.removeprefix(PREFIX))
        event = event.cpu_parent
    return tuple(names)


def _milliseconds(event: Any) -> float:
    return float(event.time_range.elapsed_us()) / 1e3


def phases(events: list[Any]) -> dict[tuple[str, ...], float]:
    """Milliseconds spent in each phase itself, without the phases in it, from the events of a profile."""
    spent: dict[tuple[str, ...], float] = defaultdict(float)
    for event in events:
        if event.name.startswith(PREFIX):
            path, length = _path(event), _milliseconds(event)
            spent[path] += length
            if path[:-1]:
                spent[path[:-1]] -= length
    return spent


def table(events: list[Any]) -> str:
    """The phases as lines: milliseconds of a step, and the share of it."""
    steps = sum(event.name == PREFIX + STEP for event in events)
    spent = phases(events)
    total = sum(spent.values())
    longest_first = sorted(spent.items(), key=lambda each: -each[1])
    rows = [*((" / ".join(path[1:]) or "rest", length) for path, length in longest_first), ("in all", total)]
    lines = [f"{'phase':<34} {'ms a step':>10} {'share':>7}"]
    lines += [f"{name:<34} {length / steps:>10.2f} {length / total:>7.1%}" for name, length in rows]
    reduced = sum(_milliseconds(event) for event in events if event.name in ALL_REDUCES)
    if reduced:
        lines.append(f"{'beside these, all-reduces':<34} {reduced / steps:>10.2f}")
    return "\n".join(lines) + "\n"


@contextmanager
def recording(run_dir: Path, steps: int, rank: int) -> Iterator[Any]:
    """Record `steps` steps of those in the block; call what it yields after each step. 0 steps: nothing is done.

    Leaves profile/ in the run folder: a trace of each process, for Perfetto or TensorBoard's profiler, and the table
    of the first, which is also printed. On a GPU the times are those of the host, and the trace has the device's.
    """
    if not steps:
        yield lambda: None
        return
    folder, told = run_dir / FOLDER, []
    folder.mkdir(exist_ok=True)

    def finish(recorded: Any) -> None:
        events = list(recorded.events())
        if not any(event.name == PREFIX + STEP for event in events):
            return
        told.append(True)
        with atomic_file(folder / TRACE.format(rank=rank)) as partial:
            # Torch packs what ends in .gz, and the partial file must.
            packed = partial.with_name(partial.name + ".gz")
            recorded.export_chrome_trace(str(packed))
            packed.replace(partial)
        if rank == 0:
            found = table(events)
            write_text(folder / TABLE, found)
            print(f"\n{found}{folder}: the trace, for ui.perfetto.dev", flush=True)

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # of a missing GPU it speaks as of an error
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    plan = schedule(skip_first=SKIPPED, wait=0, warmup=WARM_UP, active=steps, repeat=1)
    with profile(activities=kinds, schedule=plan, on_trace_ready=finish) as profiler:
        yield profiler.step
    if not told and rank == 0:
        print(f"profile={steps}: the run ended before the first step to be recorded", flush=True)
