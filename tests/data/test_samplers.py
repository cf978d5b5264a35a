from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wgan_dist.data.datasets import ImageDataset
from wgan_dist.data.samplers import GlobalBatchOrder, RankSampler, flip_horizontally, micro_batches, to_network_inputs
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.utils.images import from_uint8

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))
SEEDS = st.integers(0, 2**63 - 1)
WHOLE = [slice(None)]


def batch_of(order: GlobalBatchOrder, number: int) -> list[int]:
    return [int(index) for index in order.permutation(number)[order.batch_slice(number)]]


def numbered(count: int) -> ImageDataset:
    """Return images that hold their own number in every pixel."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, 2, 2))
    return ImageDataset("numbered", np.ascontiguousarray(pixels), "", ())


@settings(deadline=None)
@given(SEEDS, SIZES, st.integers(0, 3))
def test_an_epoch_shows_each_image_at_most_once_and_drops_an_incomplete_batch(
    seed: int, sizes: tuple[int, int], epoch: int
) -> None:
    size, batch_size = sizes
    order = GlobalBatchOrder(seed, size, batch_size)
    assert order.batches_per_epoch == size // batch_size
    first = epoch * order.batches_per_epoch
    batches = [batch_of(order, first + number) for number in range(order.batches_per_epoch)]
    assert {len(batch) for batch in batches} == {batch_size}
    shown = [index for batch in batches for index in batch]
    assert len(set(shown)) == len(shown) == size // batch_size * batch_size
    assert set(shown) <= set(range(size))


def test_images_that_an_epoch_drops_are_shown_by_others() -> None:
    order = GlobalBatchOrder(seed=0, size=10, batch_size=4)
    assert {index for number in range(20) for index in batch_of(order, number)} == set(range(10))


def test_epochs_and_seeds_differ() -> None:
    orders = [GlobalBatchOrder(seed, size=40, batch_size=10) for seed in (0, 1)]
    epochs = {
        tuple(sum((batch_of(order, 4 * epoch + k) for k in range(4)), [])) for order in orders for epoch in (0, 1)
    }
    assert len(epochs) == 4


@given(SEEDS, SIZES, st.lists(st.integers(0, 200), min_size=2, max_size=5))
def test_a_batch_depends_on_its_number_only(seed: int, sizes: tuple[int, int], numbers: list[int]) -> None:
    forwards, backwards = GlobalBatchOrder(seed, *sizes), GlobalBatchOrder(seed, *sizes)
    expected = [batch_of(forwards, number) for number in numbers]
    assert [batch_of(backwards, number) for number in reversed(numbers)][::-1] == expected


@settings(deadline=None)
@given(SEEDS, SIZES, st.integers(0, 100))
def test_a_sampler_that_starts_later_continues_the_same_sequence(seed: int, sizes: tuple[int, int], start: int) -> None:
    order = GlobalBatchOrder(seed, *sizes)
    fresh, resumed = RankSampler(order, 0, WHOLE), RankSampler(order, start, WHOLE)
    for number, (old, new) in enumerate(zip(islice(fresh, start, start + 5), resumed, strict=False), start):
        assert old.tolist() == new.tolist() == batch_of(order, number)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_all_ranks_make_the_global_batch(processes: int, accumulation: int) -> None:
    order, batches = GlobalBatchOrder(seed=3, size=50, batch_size=16), 7  # beyond the second epoch
    samplers = [
        iter(RankSampler(order, 0, micro_batch_slices(16, accumulation, World(rank, processes))))
        for rank in range(processes)
    ]
    for number in range(batches):
        parts: list[NDArray[np.int64]] = [next(sampler) for _ in range(accumulation) for sampler in samplers]
        assert {len(part) for part in parts} == {16 // processes // accumulation}
        assert np.concatenate(parts).tolist() == batch_of(order, number)


def test_a_sampler_of_some_rows_yields_only_these_in_the_same_order() -> None:
    order, rows = GlobalBatchOrder(seed=0, size=6, batch_size=3), np.array([1, 4, 5, 7, 8, 9])
    for some, places in zip(islice(RankSampler(order, 0, WHOLE, rows), 6), RankSampler(order, 0, WHOLE), strict=False):
        assert some.tolist() == rows[places].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_micro_batches_follow_the_sampler(workers: int) -> None:
    order = GlobalBatchOrder(seed=0, size=20, batch_size=8)
    sampler = RankSampler(order, 1, micro_batch_slices(8, 2, World(1, 2)))
    found = [pixels for pixels, _ in islice(micro_batches(numbered(20).values, sampler, workers, False), 12)]
    # With eight images in two micro-batches on two ranks, the second rank has 2, 3 and 6, 7.
    batches = [batch_of(order, number) for number in range(1, 7)]
    expected = [part for batch in batches for part in (batch[2:4], batch[6:8])]
    assert [pixels[:, 0, 0, 0].tolist() for pixels in found] == expected
    for pixels in found:
        assert (pixels.shape, pixels.dtype) == ((2, 3, 2, 2), torch.uint8)
        assert (pixels == pixels[:, :1, :1, :1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uint8_is_mapped_to_minus_one_to_one(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    numbers = from_uint8(levels, dtype)
    assert numbers.dtype == dtype
    assert numbers[[0, 255]].tolist() == [-1, 1]
    torch.testing.assert_close(numbers, torch.linspace(-1, 1, 256, dtype=torch.float64).to(dtype))
    assert levels.tolist() == list(range(256))


@pytest.mark.parametrize("workers", [0, 2])
def test_micro_batches_of_points_are_unchanged_rows(workers: int) -> None:
    order = GlobalBatchOrder(seed=0, size=20, batch_size=8)
    points = np.random.default_rng(0).normal(scale=100.0, size=(20, 2)).astype(np.float32)
    found = [rows for rows, _ in islice(micro_batches(points, RankSampler(order, 1, WHOLE), workers, False), 3)]
    for number, rows in enumerate(found, 1):
        assert rows.dtype == torch.float32
        assert (rows.numpy() == points[batch_of(order, number)]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_scaled_pixels_or_unchanged_points(dtype: torch.dtype) -> None:
    pixels, points = torch.tensor([0, 255], dtype=torch.uint8), torch.tensor([[-3.5, 260.0]])
    assert to_network_inputs(pixels, dtype).tolist() == [-1.0, 1.0]
    assert to_network_inputs(points, dtype).tolist() == [[-3.5, 260.0]]
    assert to_network_inputs(pixels, dtype).dtype == to_network_inputs(points, dtype).dtype == dtype


def test_mirroring_equals_numpy() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), np.uint8))
    which = torch.tensor([True, False, False, True, True])
    found = flip_horizontally(images, which).numpy()
    for number, flipped in enumerate(which.tolist()):
        expected = np.fliplr(images[number].numpy().transpose(1, 2, 0)) if flipped else None
        kept = images[number].numpy() if expected is None else expected.transpose(2, 0, 1)
        assert (found[number] == kept).all()
