"""Values computed ahead: which, in which thread, and what becomes of errors."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from wgan_dist.training.prefetcher import Prefetcher

CPU = torch.device("cpu")
# Any device but the CPU.
OTHER = torch.device("meta")
SECONDS = 30.0


class Squares:
    """A function that notes for which numbers it was called, and in which thread."""

    def __init__(self) -> None:
        self.begun = [threading.Event() for _ in range(20)]
        self.threads: list[threading.Thread] = []

    def __call__(self, number: int) -> int:
        self.threads.append(threading.current_thread())
        self.begun[number].set()
        if number == 13:
            raise OSError("unlucky")
        return number * number


@pytest.fixture
def squares() -> Squares:
    return Squares()


@pytest.fixture
def prefetcher(squares: Squares) -> Iterator[Prefetcher[int]]:
    with closing(Prefetcher(squares, OTHER)) as prefetcher:
        yield prefetcher


@pytest.mark.parametrize("device", [CPU, OTHER])
def test_values_are_those_of_the_numbers_in_any_order(squares: Squares, device: torch.device) -> None:
    with closing(Prefetcher(squares, device)) as prefetcher:
        assert [prefetcher.get(number) for number in (3, 4, 5, 5, 9, 2, 3)] == [9, 16, 25, 25, 81, 4, 9]


def test_the_next_value_is_begun_before_it_is_asked_for_and_once(squares: Squares, prefetcher: Prefetcher[int]) -> None:
    for number in range(5):
        prefetcher.get(number)
        assert squares.begun[number + 1].wait(SECONDS)
    assert not squares.begun[6].is_set()
    assert len(squares.threads) == 6


def test_values_are_computed_in_one_thread_of_the_background(squares: Squares, prefetcher: Prefetcher[int]) -> None:
    for number in (0, 1, 5):
        prefetcher.get(number)
    assert len(set(squares.threads)) == 1
    assert squares.threads[0] is not threading.current_thread()


def test_a_cpu_computes_in_the_caller_and_nothing_ahead(squares: Squares) -> None:
    prefetcher = Prefetcher(squares, CPU)
    assert prefetcher.get(4) == 16
    prefetcher.close()
    assert squares.threads == [threading.current_thread()]
    assert not squares.begun[5].is_set()


@pytest.mark.parametrize("device", [CPU, OTHER])
def test_an_error_is_raised_for_its_number_alone(squares: Squares, device: torch.device) -> None:
    with closing(Prefetcher(squares, device)) as prefetcher:
        assert prefetcher.get(12) == 144
        with pytest.raises(OSError, match="unlucky"):
            prefetcher.get(13)
        assert prefetcher.get(14) == 196


def test_closing_ends_the_thread_and_allows_another_start(squares: Squares, prefetcher: Prefetcher[int]) -> None:
    prefetcher.get(3)
    (thread,) = set(squares.threads)
    prefetcher.close()
    assert not thread.is_alive()
    assert prefetcher.get(4) == 16
    prefetcher.close()
    prefetcher.close()
