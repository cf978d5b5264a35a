"""The session itself: its table, its time limits, its exit status, how it counts; and all of it on a CPU."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from tests.gpu_session import __main__ as command
from tests.gpu_session.children import Child, outputs
from tests.gpu_session.items import CHECKS
from tests.gpu_session.loops import N_CRITIC, critic_and_generator
from tests.gpu_session.machine import Machine, greatest_difference, own_settings, set_flags
from tests.gpu_session.profiling import MARK, Counts, busy_share, count
from tests.gpu_session.session import Item, run_items
from tests.gpu_session.speed import Effort
from tests.gpu_session.table import Row, Table, at_most, attempted, measured, not_tried
from tests.processes import PYTHON, REPOSITORY, run

# Packages of the tests and of command lines: an image of a GPU machine need not have them.
ABSENT = ("fire", "termcolor", "pytest", "hypothesis", "torch_fidelity", "torchinfo")
SLOW_MINUTES = 40


def rows(path: Path) -> list[list[str]]:
    """Return the cells of the last table of a file, without its heading and times."""
    lines = path.read_text().rpartition("|---|---|---|---|---|\n")[2].splitlines()
    return [line.removeprefix("| ").removesuffix(" |").split(" | ")[:-1] for line in lines]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """An empty table."""
    return Table(tmp_path / "table.md", "# A card")


# --- the table ---


def test_rows_are_in_the_file_as_they_come(table: Table) -> None:
    for number in range(3):
        table.add("item", measured(f"row {number}", "1 ms"))
        assert rows(table.path) == [["item", f"row {other}", "measured", "1 ms"] for other in range(number + 1)]


def test_a_second_session_appends_a_table_of_its_own(table: Table) -> None:
    table.add("item", measured("a", "1"))
    Table(table.path, "# Another card").add("item", measured("b", "2"))
    text = table.path.read_text()
    assert text.startswith("# A card\n\n| item | what | outcome | found | s |\n|---|---|---|---|---|\n| item | a |")
    assert "\n\n# Another card\n\n| item |" in text
    assert rows(table.path) == [["item", "b", "measured", "2"]]


def test_a_text_with_bars_and_lines_stays_in_its_cell(table: Table) -> None:
    table.add("item", measured("a | b", "first\n  second"))
    assert table.path.read_text().splitlines()[-1].startswith(r"| item | a \| b | measured | first second | ")


@pytest.mark.parametrize(
    ("row", "failures"),
    [
        (at_most("a", 1.0, 1.0), 0),
        (at_most("a", 1.1, 1.0), 1),
        (at_most("a", math.nan, 1.0), 1),
        (attempted("a", lambda: "1 ms"), 0),
        (attempted("a", lambda: str(1 // 0)), 1),
        (not_tried("a", "there is none"), 0),
    ],
)
def test_what_counts_as_a_failure(table: Table, row: Row, failures: int) -> None:
    table.add("item", row)
    assert table.failures == failures


# --- time limits ---


def wait(seconds: float) -> Iterator[Row]:
    yield measured("before", "")
    time.sleep(seconds)
    yield measured("after", "")


def fail() -> list[Row]:
    raise ValueError("out of memory")


def short() -> Iterator[Row]:
    yield measured("row", "")


def test_an_item_whose_time_is_over_is_cut_off_and_the_next_one_runs(table: Table) -> None:
    before = signal.getsignal(signal.SIGALRM)
    run_items([Item("long", 0.2, lambda: wait(60)), Item("short", 60, short)], table, 60)
    assert rows(table.path) == [
        ["long", "before", "measured", ""],
        ["long", "", "TIMED OUT", "after 0 s"],
        ["short", "row", "measured", ""],
    ]
    assert table.failures == 1
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_item_that_raises_is_an_error_and_the_next_one_runs(table: Table) -> None:
    run_items([Item("broken", 60, fail), Item("short", 60, short)], table, 60)
    assert rows(table.path) == [["broken", "", "ERROR", "ValueError: out of memory"], ["short", "row", "measured", ""]]
    assert table.failures == 1


def test_items_after_the_end_of_the_session_are_not_tried(table: Table) -> None:
    run_items([Item("long", 60, lambda: wait(60)), Item("short", 60, short)], table, 0.2)
    assert [row[2] for row in rows(table.path)] == ["measured", "TIMED OUT", "not tried"]
    assert rows(table.path)[-1] == ["short", "", "not tried", "the 0.00333 minutes of the session are over"]


HANGING = """
import ctypes, signal
from pathlib import Path
from tests.gpu_session import session
from tests.gpu_session.table import Table

def hang():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as code in C that does not return
    ctypes.{library}(None).sleep(60)
    yield

session.GRACE_SECONDS = 0.5
items = [session.Item("hangs", 0.2, hang), session.Item("next", 60, hang)]
session.run_items(items, Table(Path("table.md"), "# A card"), 60)
"""


def hanging(library: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a session whose first item hangs in a function of the C library."""
    return run(*PYTHON, "-c", HANGING.format(library=library), cwd=folder, fails=1)


def test_code_that_cannot_be_interrupted_ends_the_session_with_a_row(tmp_path: Path) -> None:
    hanging("CDLL", tmp_path)
    assert rows(tmp_path / "table.md") == [
        ["hangs", "", "TIMED OUT", "after 0 s; not interruptible: the session ends"],
        ["next", "", "not tried", "the session ended in hangs"],
    ]


def test_code_that_keeps_the_interpreters_lock_ends_the_session_with_a_traceback(tmp_path: Path) -> None:
    done = hanging("PyDLL", tmp_path)
    assert "in hang" in done.stderr
    assert rows(tmp_path / "table.md") == []


# --- the command ---


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Return the exit status of the command line."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # undone after the test
    monkeypatch.setattr(sys, "argv", ["gpu_session", *arguments])
    with own_settings(), pytest.raises(SystemExit) as exit_of:
        command.main()
    return exit_of.value.code


@pytest.mark.parametrize(("row", "expected"), [(not_tried("a", "there is none"), 0), (at_most("a", 2.0, 1.0), 1)])
def test_the_exit_status_tells_whether_anything_failed(
    row: Row, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Machine] = []

    def check(machine: Machine) -> list[Row]:
        checked.append(machine)
        return [row]

    monkeypatch.setitem(CHECKS, "speed", (10.0, check))
    out = tmp_path / "table.md"
    assert status(monkeypatch, "--cpu", f"--out={out}", "speed") == expected
    assert [machine.device.type for machine in checked] == ["cpu"]
    assert rows(out) == [["speed", "a", str(row.outcome), row.found]]


def test_an_unknown_item_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "--cpu", "spede") == 2
    assert capsys.readouterr().err == f"error: item=spede: expected one of {', '.join(CHECKS)}\n"


def test_a_file_that_cannot_be_written_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert status(monkeypatch, "--cpu", f"--out={tmp_path}") == 2
    assert capsys.readouterr().err == f"error: out={tmp_path}: cannot be written: Is a directory\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert status(monkeypatch, f"--out={tmp_path / 'table.md'}") == 2
    assert capsys.readouterr().err == "error: no GPU was found; --cpu goes the same ways without one\n"
    assert not (tmp_path / "table.md").exists()


def test_it_needs_no_package_of_command_lines_or_tests(tmp_path: Path) -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({ABSENT}); import tests.gpu_session.__main__"
    run(*PYTHON, "-c", code, cwd=tmp_path)


# --- the processes that it starts ---


def child(folder: Path, name: str, script: str) -> Child:
    """Start a shell as a process of the session."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        return Child(subprocess.Popen(["sh", "-c", script], stdout=stdout, stderr=stderr), out, err)


def test_of_several_processes_each_failed_one_is_named(tmp_path: Path) -> None:
    scripts = {"first": "echo done", "second": "echo why >&2; echo lost >&2; exit 3", "third": "exit 4"}
    children = [child(tmp_path, name, script) for name, script in scripts.items()]
    with pytest.raises(RuntimeError) as raised:
        outputs(children)
    assert str(raised.value) == "second ended with status 3: lost; third ended with status 4: it printed no error"
    assert outputs(children[:1]) == ["done\n"]


# --- how it measures ---


def test_what_an_item_sets_in_torch_is_undone_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def found() -> tuple[object, ...]:
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        deterministic = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark, deterministic

    before = found()
    with suppress(ValueError), own_settings():
        torch.set_num_threads(3)
        set_flags(conv_tf32=not before[1], matmul_tf32=not before[2], benchmark=not before[3], deterministic=True)
        assert found() == (3, not before[1], not before[2], not before[3], True)
        fail()
    assert found() == before


def test_the_generator_step_is_what_follows_the_last_critic_iteration() -> None:
    marks = []
    for start in (0.0, 1000.0, 5000.0):  # what lies between steps belongs to neither
        marks += [start + 2.0 * number for number in range(N_CRITIC)] + [start + 2.0 * N_CRITIC + 7.0]
    assert critic_and_generator(marks) == (2.0, 7.0)


def test_overlapping_intervals_count_once_and_only_within_the_time() -> None:
    assert busy_share([(-5.0, 1.0), (2.0, 4.0), (3.0, 3.5), (3.0, 5.0), (9.0, 20.0)], 0.0, 10.0) == 0.5
    assert busy_share([], 0.0, 10.0) == 0.0


def event(name: str, start: float, end: float, device: DeviceType = DeviceType.CPU, annotation: bool = False) -> object:
    """Return an event as the profiler has them."""
    times = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(name=name, time_range=times, device_type=device, is_user_annotation=annotation)


def step_events(start: float) -> list[object]:
    """Return the events of a step of 60 µs: 3 launches in a critic iteration of 10 µs and 4 in the generator step."""
    marks = [start + 10.0 * number for number in range(N_CRITIC)]
    calls = ["cudaLaunchKernel", "cuLaunchKernelEx", "cudaMemcpyAsync", "cudaEventRecord", "aten::add"]
    critic = [event(name, mark + 1.0, mark + 2.0) for mark in marks for name in calls]
    generator = [event("cudaLaunchKernel", start + 55.0, start + 56.0) for _ in range(4)]
    kernels = [event("cudaLaunchKernel of the device", start, start + 30.0, DeviceType.CUDA)]
    annotations = [event(MARK, start, start + 60.0, DeviceType.CUDA, annotation=True)]
    ends = [event(MARK, mark, mark) for mark in [*marks, start + 60.0]]
    wait = event("cudaStreamSynchronize", start + 5.0, start + 6.0)
    return [*critic, *generator, *kernels, *annotations, *ends, wait]


def test_launches_waits_and_busy_share_are_those_after_the_first_step() -> None:
    events = [found for start in (0.0, 60.0, 120.0) for found in step_events(start)]
    end = [event("cudaDeviceSynchronize", 200.0, 201.0), event("cudaLaunchKernel", 199.0, 200.0)]
    assert count([*events, *end]) == Counts(critic=3, generator=4, waits=2, busy=0.5)


@pytest.mark.parametrize(("seconds_per_step", "steps"), [(0.1, 10), (0.001, 50), (3.0, 5)])
def test_the_number_of_timed_steps_has_bounds(seconds_per_step: float, steps: int) -> None:
    assert Effort(warm_up=4, estimated=3, seconds=1.0, least=5, most=50).steps(seconds_per_step) == steps


def test_a_difference_that_is_not_a_number_is_the_greatest() -> None:
    one, two, none = torch.ones(2), torch.full((2,), 2.0), torch.tensor([1.0, math.nan])
    assert greatest_difference([one, two], [one, one]) == 1.0
    assert math.isnan(greatest_difference([one, none, two], [one, one, one]))


# --- the whole session ---


@pytest.mark.slow
def test_a_session_on_a_cpu_finds_everything_as_promised(tmp_path: Path) -> None:
    script, out = REPOSITORY / "launch/verify_gpu.sh", tmp_path / "table.md"
    words = ["bash", str(script), "--cpu", f"--out={out}", f"--minutes={SLOW_MINUTES}"]
    # Imported by Python at its start, here and in the processes that the session starts.
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules |= dict.fromkeys({ABSENT})\n")
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60 * (SLOW_MINUTES + 5))
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(out)
    assert list(dict.fromkeys(row[0] for row in found)) == list(CHECKS)
    assert {row[2] for row in found} == {"held", "measured", "not tried"}
    assert [row[1] for row in found if row[2] == "not tried"] == [
        "nccl",
        "ours, limits",
        "ours, dense networks, batch 4, bf16, compiled with CUDA graphs",
        "--compile --cuda_graphs",
    ]
    assert not (REPOSITORY / "gpu_session.md").exists()
