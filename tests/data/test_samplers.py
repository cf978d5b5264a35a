from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wgan_dist.data.datasets import ImageDataset
from wgan_dist.data.samplers import (
    BatchOrder,
    ClassBalancedOrder,
    GlobalBatchOrder,
    RankSampler,
    flip_horizontally,
    micro_batches,
    to_network_inputs,
)
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.utils import rng
from wgan_dist.utils.images import from_uint8

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))
SEEDS = st.integers(0, 2**63 - 1)
WHOLE = [slice(None)]


def batch_of(order: BatchOrder, number: int) -> list[int]:
    return [int(index) for index in order.rows(number)]


def test_a_batch_is_a_part_of_the_permutation_of_its_epoch() -> None:
    order = GlobalBatchOrder(seed=5, size=11, batch_size=3)
    for number in (0, 1, 2, 3, 7, 4, 0):
        permutation = rng.permutation(5, "order", number // 3, 11)
        assert batch_of(order, number) == permutation[number % 3 * 3 :][:3].tolist()


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


# Classes of 3, 7, 1 and 9 samples, mixed.
CLASSES: NDArray[np.int64] = (
    np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [3, 7, 1, 9])).astype(np.int64)
)


def balanced_draw(seed: int, number: int) -> int:
    """Return draw `number` of a balanced order of CLASSES, by its definition."""
    turn, place = divmod(number, 4)
    chosen = int(rng.permutation(seed, "order.classes", turn, 4)[place])
    members = np.flatnonzero(chosen == CLASSES)
    count = len(members)
    return int(members[rng.permutation(seed, f"order.class.{chosen}", turn // count, count)[turn % count]])


def test_a_balanced_batch_depends_on_its_number_only() -> None:
    order = ClassBalancedOrder(3, CLASSES, batch_size=6)
    assert (order.size, order.batches_per_epoch) == (20, 3)
    for number in (0, 1, 2, 3, 4, 30, 31, 5, 0):
        found = order.rows(number)
        assert found.dtype == np.int64
        assert found.tolist() == [balanced_draw(3, 6 * number + place) for place in range(6)]


@settings(deadline=None)
@given(SEEDS, st.integers(1, 12))
def test_a_balanced_order_draws_every_class_and_every_sample_of_a_class_equally_often(
    seed: int, batch_size: int
) -> None:
    order = ClassBalancedOrder(seed, CLASSES, batch_size)
    rounds = 3 * 7 * 9  # each class is drawn a whole number of times
    batches = -(-4 * rounds // batch_size)
    draws = np.concatenate([order.rows(number) for number in range(batches)])[: 4 * rounds]
    assert (np.sort(CLASSES[draws].reshape(rounds, 4)) == np.arange(4)).all()
    assert len({tuple(each) for each in CLASSES[draws].reshape(rounds, 4)}) > 12  # of the 24 orders of four classes
    for number, size in enumerate((3, 7, 1, 9)):
        drawn = draws[CLASSES[draws] == number].reshape(-1, size)
        assert (np.sort(drawn) == np.flatnonzero(CLASSES == number)).all()
    assert batch_of(ClassBalancedOrder(seed + 1, CLASSES, 12), 0) != batch_of(ClassBalancedOrder(seed, CLASSES, 12), 0)


def test_ranks_share_a_balanced_batch() -> None:
    order, rows = ClassBalancedOrder(0, CLASSES, batch_size=8), np.arange(100, 120)
    samplers = [iter(RankSampler(order, 2, micro_batch_slices(8, 1, World(rank, 2)), rows)) for rank in range(2)]
    for number in (2, 3):
        shares = np.concatenate([next(sampler) for sampler in samplers])
        assert shares.tolist() == (100 + order.rows(number)).tolist()


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
    labels = np.arange(100, 120)
    found = list(islice(micro_batches(numbered(20).values, sampler, workers, pin_memory=False, labels=labels), 12))
    # With eight images in two micro-batches on two ranks, the second rank has 2, 3 and 6, 7.
    batches = [batch_of(order, number) for number in range(1, 7)]
    expected = [part for batch in batches for part in (batch[2:4], batch[6:8])]
    assert [pixels[:, 0, 0, 0].tolist() for pixels, _ in found] == expected
    for (pixels, classes), rows in zip(found, expected, strict=True):
        assert (pixels.shape, pixels.dtype) == ((2, 3, 2, 2), torch.uint8)
        assert (pixels == pixels[:, :1, :1, :1]).all()
        assert classes is not None
        assert (classes.tolist(), classes.dtype) == ([100 + row for row in rows], torch.int64)


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
    found = list(islice(micro_batches(points, RankSampler(order, 1, WHOLE), workers, pin_memory=False), 3))
    for number, (rows, labels) in enumerate(found, 1):
        assert labels is None
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
