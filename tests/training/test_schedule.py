"""When things happen, against the papers' schedules and the step counts of the systems."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgan_dist.config import Config
from wgan_dist.data.samplers import GlobalBatchOrder
from wgan_dist.training.schedule import (
    critic_iterations_at,
    is_due,
    learning_rate,
    make_schedule,
    steps_per_epoch,
)


def test_warm_up_is_100_iterations_for_25_steps_and_on_every_500th() -> None:
    longer = [step for step in range(1502) if critic_iterations_at(step, 5, warmup=True) == 100]
    assert longer == [*range(25), 500, 1000, 1500]
    assert {critic_iterations_at(step, 5, warmup=True) for step in range(1502)} == {5, 100}


def test_without_warm_up_every_step_has_n_critic_iterations() -> None:
    assert {critic_iterations_at(step, 3, warmup=False) for step in range(1502)} == {3}


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (1, 0.99), (25, 0.75), (50, 0.5), (99, 0.01), (100, 0.0)])
def test_the_linear_rate_falls_from_its_base_to_zero_at_max_steps(step: int, share: float) -> None:
    assert learning_rate(2e-4, step, 100, "linear") == pytest.approx(2e-4 * share, rel=1e-12, abs=1e-20)


# cos(π / 6) = √0.75 and cos(π / 3) = 1/2.
@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (10, 0.75**0.5 / 2 + 0.5), (20, 0.75), (30, 0.5), (60, 0.0)])
def test_the_cosine_rate_falls_as_half_a_wave(step: int, share: float) -> None:
    assert learning_rate(2e-4, step, 60, "cosine") == pytest.approx(2e-4 * share, rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (50, 1.0), (51, 0.98), (75, 0.5), (99, 0.02)])
def test_a_rate_may_be_constant_before_it_falls(step: int, share: float) -> None:
    assert learning_rate(2e-4, step, 100, "linear", start=0.5) == pytest.approx(2e-4 * share, rel=1e-12)


def test_every_fourth_iteration_has_a_lazy_penalty_and_each_one_a_usual_one() -> None:
    lazy, usual = (make_schedule(Config(penalty_every=every), 10) for every in (4, 1))
    assert [iteration for iteration in range(12) if lazy.has_penalty(iteration)] == [3, 7, 11]
    assert all(usual.has_penalty(iteration) for iteration in range(12))


def test_the_constant_rate_is_exactly_its_base() -> None:
    assert {learning_rate(2e-4, step, 100, "none") for step in range(101)} == {2e-4}


@pytest.mark.parametrize(
    ("images", "batch_size", "n_critic", "real_batch_per", "steps"),
    [
        (15_500, 32, 5, "generator", 484),  # catfaces64: one real batch for all critic iterations
        (15_500, 32, 5, "critic", 97),  # the paper's way: a fifth of that
        (60_000, 64, 5, "critic", 188),  # mnist_mlp
        (60_000, 512, 3, "generator", 117),  # mnist_upsample has 118: there the incomplete last batch counts
    ],
)
def test_an_epoch_has_as_many_generator_steps_as_the_systems_count(
    images: int, batch_size: int, n_critic: int, real_batch_per: str, steps: int
) -> None:
    batches = GlobalBatchOrder(0, images, batch_size).batches_per_epoch
    assert steps_per_epoch(batches, n_critic, real_batch_per) == steps


@given(batches=st.integers(1, 10**6), n_critic=st.integers(1, 200))
def test_an_epoch_is_the_fewest_steps_that_use_every_batch(batches: int, n_critic: int) -> None:
    steps = steps_per_epoch(batches, n_critic, "critic")
    assert steps - 1 < Fraction(batches, n_critic) <= steps


def test_a_cadence_falls_on_its_multiples() -> None:
    assert [step for step in range(1, 16) if is_due(step, 5)] == [5, 10, 15]


def test_a_cadence_of_zero_never_falls() -> None:
    assert not any(is_due(step, 0) for step in range(100))


def test_durations_in_epochs_become_generator_steps() -> None:
    config = Config(
        n_critic=5,
        max_steps="50epoch",
        log_every=7,
        sample_every="1epoch",
        evaluate_every=0,
        checkpoint_every="2epoch",
        patience="3epoch",
    )
    schedule = make_schedule(config, batches_per_epoch=937)
    durations = [schedule.max_steps, schedule.log, schedule.sample, schedule.evaluate, schedule.checkpoint]
    assert [*durations, schedule.patience] == [50 * 188, 7, 188, 0, 2 * 188, 3 * 188]
