"""Work in the background: one piece at a time, and no error is lost."""

import threading

import pytest

from wgan_dist.checkpoints.background_writer import BackgroundWriter


def fail(words: str) -> None:
    raise OSError(words)


def test_work_does_not_hold_up_the_caller_and_waits_for_the_work_before() -> None:
    behind, gate = BackgroundWriter(), threading.Event()
    done: list[int] = []

    def wait() -> None:
        gate.wait(10)
        done.append(1)

    behind.start(wait)
    assert done == []  # returned although the work cannot end yet
    threading.Timer(0.05, gate.set).start()
    behind.start(lambda: done.append(len(done) + 1))
    behind.finish()
    assert done == [1, 2]


def test_the_first_error_is_kept_until_it_is_asked_for_and_raised_once() -> None:
    behind = BackgroundWriter()
    done: list[str] = []
    behind.start(lambda: fail("first"))
    behind.wait()
    failed = behind.failed
    assert failed
    behind.start(lambda: done.append("never"))  # what was to come after it could overtake it
    with behind.keeping_errors():
        fail("second")
    with pytest.raises(OSError, match="first"):
        behind.finish()
    assert not behind.failed
    behind.start(lambda: done.append("again"))
    behind.finish()
    assert done == ["again"]


def test_errors_of_the_caller_are_kept_but_not_what_ends_the_process() -> None:
    behind = BackgroundWriter()
    with pytest.raises(KeyboardInterrupt), behind.keeping_errors():
        raise KeyboardInterrupt
    with behind.keeping_errors():
        fail("here")
    with pytest.raises(OSError, match="here"):
        behind.check()
