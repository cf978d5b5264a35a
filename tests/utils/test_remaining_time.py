"""The estimate of the remaining time."""

import pytest

from wgan_dist.utils.remaining_time import WINDOW_SECONDS, RemainingTime, duration_text


def test_an_even_pace_is_continued() -> None:
    remaining = RemainingTime(100.0, 10)
    assert remaining.estimate(120.0, 20, 50) == pytest.approx(60.0)
    assert remaining.estimate(140.0, 30, 50) == pytest.approx(40.0)
    assert remaining.estimate(180.0, 50, 50) == 0.0


def test_a_slow_beginning_is_forgotten_after_the_window() -> None:
    remaining = RemainingTime(0.0, 0)
    remaining.estimate(1000.0, 10, 10_000)  # compiling: 100 seconds a step
    for second in range(1, 400):
        remaining.estimate(1000.0 + second, 10 + second, 10_000)
    assert remaining.estimate(1400.0, 410, 10_000) == pytest.approx(9590.0)


def test_a_pace_that_slows_down_is_followed() -> None:
    remaining = RemainingTime(0.0, 0)
    for step in range(1, 1001):
        remaining.estimate(float(step), step, 2000)
    for step in range(1, 51):  # another program shares the GPU
        estimate = remaining.estimate(1000.0 + 10 * step, 1000 + step, 2000)
    assert estimate == pytest.approx(950 * 10.0)


def test_records_rarer_than_the_window_give_the_pace_between_the_last_two() -> None:
    remaining = RemainingTime(0.0, 0)
    remaining.estimate(10 * WINDOW_SECONDS, 1, 10)
    assert remaining.estimate(12 * WINDOW_SECONDS, 3, 10) == pytest.approx(7 * WINDOW_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (123, "2 min 3 s"),
        (3723.4, "1 h 2 min"),
        (86_399, "23 h 59 min"),
        (270_000, "3 d 3 h"),
    ],
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
