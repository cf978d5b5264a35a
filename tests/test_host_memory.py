"""What processes put into memory that they share, in real processes."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.processes import PYTHON, run, torchrun
from wgan_dist import host_memory
from wgan_dist.host_memory import ALIGNMENT, LostProcessError, Meeting

SECRET = b"s" * ALIGNMENT


@pytest.mark.parametrize(("processes", "dtype"), [(2, "float32"), (4, "float64")])
def test_the_mean_is_that_of_gloo_also_when_one_process_reads_late(processes: int, dtype: str, tmp_path: Path) -> None:
    run(*torchrun(processes), "-m", "tests.averaging", dtype, cwd=tmp_path)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_memory_of_somebody_else_is_not_taken() -> None:
    here, before = os.getpid(), open_descriptors()
    own = host_memory.create(150, SECRET)
    memory = host_memory.open_of(here, own, 150, SECRET)
    assert memory
    assert bytes(memory) == SECRET + bytes(150 - len(SECRET))
    assert host_memory.open_of(here, own, 150, b"t" * ALIGNMENT) is None
    assert host_memory.open_of(here, own, 5000, SECRET) is None
    os.close(own)
    assert host_memory.open_of(here, own, 150, SECRET) is None
    memory.close()
    assert open_descriptors() == before


@contextmanager
def meeting_with(process: int, patience: float) -> Iterator[Meeting]:
    """A meeting of this process and another, which never comes."""
    size = Meeting.needs(2, 100)
    descriptor = host_memory.create(size, SECRET)
    memory = host_memory.open_of(os.getpid(), descriptor, size, SECRET)
    os.close(descriptor)
    assert memory
    meeting = Meeting(memory, 0, 2, patience)
    meeting.know([os.getpid(), process])
    yield meeting


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that does nothing."""
    with subprocess.Popen([*PYTHON, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_who_does_not_come_in_time_is_named(sleeper: "subprocess.Popen[bytes]") -> None:
    began = time.monotonic()
    with (
        meeting_with(sleeper.pid, patience=0.5) as meeting,
        pytest.raises(LostProcessError, match=r"^rank 1 has not come for 0\.5 s$"),
    ):
        meeting.meet()
    assert time.monotonic() - began >= 0.5


def test_who_was_killed_is_missed_at_once_also_before_anybody_waits_for_it(sleeper: "subprocess.Popen[bytes]") -> None:
    with meeting_with(sleeper.pid, patience=600) as meeting:
        sleeper.kill()
        with pytest.raises(LostProcessError, match="^rank 1 has ended$"):
            meeting.meet()


def test_who_came_and_then_ended_is_not_missed(sleeper: "subprocess.Popen[bytes]") -> None:
    with meeting_with(sleeper.pid, patience=600) as meeting:
        sleeper.kill()
        meeting.arrived[1] = 1
        assert torch.equal(meeting.gather(torch.tensor([3, 4])), torch.tensor([[3, 4], [0, 0]]))


def test_what_is_too_large_has_no_room(sleeper: "subprocess.Popen[bytes]") -> None:
    with meeting_with(sleeper.pid, patience=1) as meeting:
        assert meeting.has_room(torch.zeros(32))  # 128 bytes: what 100 make when they are aligned
        assert not meeting.has_room(torch.zeros(33))
        assert not meeting.has_room(torch.zeros(1, device="meta"))
