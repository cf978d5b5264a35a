"""What processes put into memory that they share, in real processes."""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.processes import PYTHON, run, torchrun
from wgan_dist import host_memory
from wgan_dist.host_memory import ALIGNMENT, LostProcessError, Meeting

SECRET = b"s" * ALIGNMENT


@pytest.mark.parametrize(("processes", "dtype"), [(2, "float32"), (3, "float64"), (4, "float64")])
def test_the_mean_is_that_of_gloo_also_when_one_process_reads_late(processes: int, dtype: str, tmp_path: Path) -> None:
    run(*torchrun(processes), "-m", "tests.averaging", dtype, cwd=tmp_path)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_memory_of_somebody_else_is_not_taken() -> None:
    here, before = os.getpid(), open_descriptors()
    own = host_memory.create(150, SECRET)
    assert own
    memory = host_memory.open_of(here, own, 150, SECRET)
    assert memory
    assert bytes(memory) == SECRET + bytes(150 - len(SECRET))
    assert host_memory.open_of(here, own, 150, b"t" * ALIGNMENT) is None
    assert host_memory.open_of(here, own, 5000, SECRET) is None
    os.close(own)
    assert host_memory.open_of(here, own, 150, SECRET) is None
    memory.close()
    assert open_descriptors() == before


def meeting_with(*others: int, patience: float) -> Meeting:
    """A meeting of this process, the first, and others, which never come."""
    size = Meeting.needs(1 + len(others), 100)
    descriptor = host_memory.create(size, SECRET)
    memory = host_memory.open_of(os.getpid(), descriptor, size, SECRET)
    watched = host_memory.watch([os.getpid(), *others])
    assert descriptor
    assert memory
    assert watched
    os.close(descriptor)
    return Meeting(memory, 0, 1 + len(others), patience, watched)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that does nothing."""
    with subprocess.Popen([*PYTHON, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_who_does_not_come_in_time_is_named(sleeper: "subprocess.Popen[bytes]") -> None:
    began = time.monotonic()
    with pytest.raises(LostProcessError, match=r"^rank 1 has not come for 0\.5 s$"):
        meeting_with(sleeper.pid, patience=0.5).meet()
    assert time.monotonic() - began >= 0.5


def test_who_was_killed_is_missed_at_once_also_before_anybody_waits_for_it(sleeper: "subprocess.Popen[bytes]") -> None:
    meeting = meeting_with(sleeper.pid, patience=600)
    sleeper.kill()
    with pytest.raises(LostProcessError, match="^rank 1 has ended$"):
        meeting.meet()


def test_who_came_and_then_ended_is_not_missed(sleeper: "subprocess.Popen[bytes]") -> None:
    meeting = meeting_with(sleeper.pid, os.getpid(), patience=0.5)
    meeting.arrived[1] = 1
    sleeper.kill()
    with pytest.raises(LostProcessError, match=r"^rank 2 has not come for 0\.5 s$"):
        meeting.meet()


def test_who_comes_while_it_is_looked_for_is_not_missed(sleeper: "subprocess.Popen[bytes]") -> None:
    meeting = meeting_with(sleeper.pid, patience=600)

    class ComesAndEnds:
        def poll(self, timeout: int) -> list[tuple[int, int]]:
            meeting.arrived[1] = 1
            return [(0, 0)]

    meeting.watched[1] = ComesAndEnds()  # type: ignore[call-overload]
    meeting.meet()


def test_another_length_is_another_place_in_the_run(sleeper: "subprocess.Popen[bytes]") -> None:
    meeting = meeting_with(sleeper.pid, patience=600)
    meeting.arrived[1] = 1
    meeting.put[0][1] = host_memory.ALIGNMENT
    gathered = meeting.gather(torch.tensor([3, 4]))
    assert torch.equal(gathered, torch.tensor([[3, 4], [0, 0]]))
    meeting.arrived[1] = 2
    with pytest.raises(LostProcessError, match="^rank 1 is at another place of the run$"):
        meeting.gather(torch.tensor([3, 4]))


def test_what_is_too_large_has_no_room(sleeper: "subprocess.Popen[bytes]") -> None:
    meeting = meeting_with(sleeper.pid, patience=1)
    assert meeting.has_room(torch.zeros(32))  # 128 bytes: what 100 make when they are aligned
    assert not meeting.has_room(torch.zeros(33))
    assert not meeting.has_room(torch.zeros(1, device="meta"))
    with pytest.raises(ValueError, match="^132 bytes in a round of 128$"):
        meeting.places(torch.zeros(33))


def refuse(*given: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_a_system_that_refuses_gives_none_and_keeps_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    for name in ("memfd_create", "posix_fallocate"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, refuse)
            assert host_memory.create(150, SECRET) is None
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert host_memory.watch([os.getpid()]) is None
    assert host_memory.open_of(os.getpid(), None, 150, SECRET) is None
    assert open_descriptors() == before


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open"])
def test_where_the_system_refuses_one_process_all_go_by_sockets(call: str, tmp_path: Path) -> None:
    script = f"""
import os
from wgan_dist import distributed

def refuse(*given):
    raise OSError(38, "Function not implemented")

if os.environ["RANK"] == ("0" if "{call}" == "memfd_create" else "1"):
    os.{call} = refuse
distributed.start(threads=1)
assert distributed._words == []
assert distributed.all_reduce_max(distributed.world().rank) == 1
distributed.leave()
"""
    (tmp_path / "refused.py").write_text(script)
    run(*torchrun(2), "refused.py", cwd=tmp_path)
