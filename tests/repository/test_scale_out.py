"""The model of scaling agrees with closed forms, a simulated ring and simulated hosts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.scale_out import (
    AGREEMENTS,
    BUCKET,
    LAUNCHES,
    HostSeconds,
    Link,
    Prediction,
    Recipe,
    Work,
    _buckets,
    all_reduce_seconds,
    communication_seconds,
    count,
    exposed_asynchronous,
    exposed_synchronous,
    gather_seconds,
    predict_step,
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


SECONDS = st.floats(0.0, 10.0)
HOSTS = st.builds(HostSeconds, launches=SECONDS, noise=SECONDS, agreements=SECONDS)


def play_synchronous(gpu: float, host: HostSeconds, iterations: int) -> float:
    """Simulate iterations of a host whose upload of noise waits for the GPU; return when the GPU has finished."""
    now = gpu_idle = 0.0
    for _ in range(iterations):
        now = max(now + host.agreements + host.noise, gpu_idle)
        launched = now + host.launches
        gpu_idle = max(now + gpu, launched)
        now = launched
    return gpu_idle


def play_asynchronous(gpu: float, host: HostSeconds, iterations: int) -> float:
    """Simulate iterations of a host that draws and agrees one ahead; return when the GPU has finished."""
    now = gpu_idle = drawn = agreed = 0.0
    for _ in range(iterations):
        now = max(now, drawn, agreed)
        drawn, agreed = now + host.noise, now + host.agreements
        launched = now + host.launches
        gpu_idle = max(max(gpu_idle, now) + gpu, launched)
        now = launched
    return gpu_idle


@given(gpu=SECONDS, host=HOSTS)
def test_the_host_adds_to_a_step_what_simulated_iterations_show(gpu: float, host: HostSeconds) -> None:
    """The first iterations are left out, because nothing precedes them."""
    for play, exposed in ((play_synchronous, exposed_synchronous), (play_asynchronous, exposed_asynchronous)):
        seconds = (play(gpu, host, 15) - play(gpu, host, 5)) / 10
        assert gpu + exposed(gpu, host) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("catfaces64", 5 * 32), ("resnet128", 5 * 64 + 64)],  # the generator of catfaces64 takes the critic's latents
)
def test_noise_is_counted_in_rows_of_all_iterations_and_processes(name: str, rows: int) -> None:
    recipe = Recipe(name, load_config({"recipe": name}), Work(1.0, (), (), ()), row_seconds=0.25)
    one, eight = recipe.host_seconds(1, agreement=0.5), recipe.host_seconds(8, agreement=0.5)
    assert (one.noise, eight.noise) == (rows / 4, 8 * rows / 4)
    assert one.agreements == eight.agreements == 5 * 0.5  # none before the generator step
    assert one.launches == eight.launches == pytest.approx(6 * LAUNCHES)


def test_a_synchronous_step_draws_for_all_gpus_and_an_asynchronous_one_for_its_own() -> None:
    """The draws last longer than all else: 160 rows of a second each, on 8 GPUs that work for 1 s and reduce 1 GB."""
    work, gpu = Work(2e9, (1_000_000_000,), (), ()), 1 + 2 * 7 * (1 / 8 + 1e-5)
    step = predict_step(Recipe("catfaces64", load_config({"recipe": "catfaces64"}), work, 1.0), 2e9, LINK, 8)
    assert step.compute == 1.0
    assert step.compute + step.communication == pytest.approx(gpu)
    assert step.asynchronous == pytest.approx(160 - gpu)
    assert step.synchronous == pytest.approx(8 * 160 + 5 * AGREEMENTS[8] + 6 * LAUNCHES - gpu)


def test_efficiency_is_the_share_of_computation() -> None:
    step = Prediction(compute=6.0, communication=1.0, synchronous=5.0, asynchronous=1.0)
    assert (step.efficiency(step.synchronous), step.efficiency(step.asynchronous)) == (0.5, 0.75)
