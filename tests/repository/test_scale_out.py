"""The model of communication costs agrees with closed forms and with a simulated ring."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.scale_out import (
    BUCKET,
    Link,
    Work,
    _buckets,
    all_reduce_seconds,
    communication_seconds,
    count,
    gather_seconds,
    reaches,
)
from wgan_dist import distributed
from wgan_dist.config import load_config

LINK = Link(bandwidth=1e9, latency=1e-5)


def play_ring(processes: int, link: Link) -> tuple[int, float]:
    """Simulate an all-reduce round a ring, message by message; return the sum on all processes and the seconds."""
    sums = [[1] * processes for _ in range(processes)]
    seconds, size = 0.0, 1e6 / processes
    for turn in range(2 * (processes - 1)):
        moved = [((rank - turn) % processes, sums[rank][(rank - turn) % processes]) for rank in range(processes)]
        for rank, (part, value) in enumerate(moved):
            receiver = (rank + 1) % processes
            sums[receiver][part] = sums[receiver][part] + value if turn < processes - 1 else value
        seconds += size / link.bandwidth + link.latency
    assert len({total for row in sums for total in row}) == 1
    return sums[0][0], seconds


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7, 16])
def test_an_all_reduce_takes_what_a_ring_does(processes: int) -> None:
    total, seconds = play_ring(processes, LINK)
    assert total == processes
    assert all_reduce_seconds(1e6, processes, LINK) == pytest.approx(seconds)
    # Gathering the parts is the second half of it.
    assert gather_seconds(1e6 / processes, processes, LINK) == pytest.approx(seconds / 2)


def test_a_step_communicates_the_sum_of_its_collectives() -> None:
    work = Work(flops=1.0, gradients=(1000, 3000), sums=(80,), gathers=(40, 40))
    expected = sum(all_reduce_seconds(size, 5, LINK) for size in (1000, 3000, 80)) + 2 * gather_seconds(40, 5, LINK)
    assert communication_seconds(work, 5, LINK) == pytest.approx(expected)
    assert communication_seconds(work, 1, LINK) == 0


@given(share=st.floats(0.01, 0.5), ratio=st.floats(0.05, 30.0))
def test_where_communication_reaches_a_share_has_a_closed_form_without_latency(share: float, ratio: float) -> None:
    """2 (n − 1) / n · r = s / (1 − s), where r is the time of the gradients over that of the computation."""
    work, link = Work(1.0, (1_000_000,), (), ()), Link(1e6, 0.0)
    part = share / (1 - share) / (2 * ratio)
    processes = reaches(share, lambda n: 1 / ratio, work, link)
    if part >= 1:
        assert processes is None
    else:
        exact = max(2.0, 1 / (1 - part))
        assert processes is not None
        assert math.floor(exact * (1 - 1e-9)) <= processes <= math.ceil(exact * 1.001 + 1e-6)


@given(parameters=st.integers(1, 50_000_000))
def test_buckets_hold_all_gradients(parameters: int) -> None:
    buckets = _buckets(parameters)
    assert sum(buckets) == 4 * parameters
    assert max(buckets) <= BUCKET
    assert min(buckets) > 0


def test_the_work_of_fully_connected_networks_is_what_their_weights_say() -> None:
    config = load_config({"recipe": "mnist_mlp"})
    work = count(config, distributed.start(1), 1)
    generator, critic = 100 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784, 784 * 512 + 512 * 256 + 256
    first, critic_first = 100 * 256, 784 * 512
    # Forward, gradients of weights, gradients of inputs: not those of the data, nor of a frozen critic's weights.
    critic_iteration = generator + 2 * (critic + critic + (critic - critic_first))
    generator_step = generator + critic + critic + generator + (generator - first)
    products = config.n_critic * critic_iteration + generator_step
    assert work.flops == 2 * config.batch_size * products
    assert work.gradient_bytes == 4 * (5 * 533_505 + 1_486_352)
    assert (work.sums, work.gathers) == ((), ())


def test_a_batchnorm_gathers_forward_and_sums_backward() -> None:
    small = {"generator_features": "4", "critic_features": "4", "batch_size": "8"}
    work = count(load_config({"recipe": "catfaces64"} | small), distributed.start(1), 3)
    widths = [4 * 16, 4 * 8, 4 * 4, 4 * 2]
    sizes = [2 * 4 * width for width in widths]
    assert sorted(work.gathers) == sorted(6 * sizes)  # five critic iterations and one generator step
    assert sorted(work.sums) == sorted(sizes)
