"""The real samples of critic iterations: which, mirrored or not, and in any order."""

from contextlib import closing

import numpy as np
import pytest
import torch

from wgan_dist.data.samplers import GlobalBatchOrder
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.training.noise import NoiseSource
from wgan_dist.training.real_batches import RealBatch, RealBatches
from wgan_dist.utils import rng
from wgan_dist.utils.levels import EIGHT_BITS, FLOAT32, UINT16, Levels

SIZE, BATCH, SEED = 40, 8, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 2, 3, 5), np.uint8)
# The images that are trained on.
ROWS = np.arange(60)[::-1][:SIZE]


def make_batches(flip: bool = False, fresh: bool = True, workers: int = 0, rank: int = 0) -> RealBatches:
    slices = micro_batch_slices(BATCH, 2, World(rank, 2))
    noise = NoiseSource(SEED, 4, "normal", slices, torch.device("cpu"), torch.float64)
    order = GlobalBatchOrder(SEED, SIZE, BATCH)
    return RealBatches(IMAGES, EIGHT_BITS, order, ROWS, noise, fresh, flip, workers)


def expected(number: int, flip: bool = False, rank: int = 0) -> list[torch.Tensor]:
    """Of eight images in two micro-batches on two ranks, a rank has two of each micro-batch."""
    order = GlobalBatchOrder(SEED, SIZE, BATCH)
    images = IMAGES[ROWS[order.rows(number)]].astype(np.float64) / 127.5 - 1.0
    if flip:
        mirrored = rng.uniform(SEED, "critic.flip", number, (BATCH,)) < 0.5
        images[mirrored] = images[mirrored][..., ::-1]
    return [torch.from_numpy(images[first : first + 2].copy()) for first in (2 * rank, 4 + 2 * rank)]


def assert_close(found: RealBatch, others: list[torch.Tensor]) -> None:
    for pair in zip(found.samples, others, strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=1e-15)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_the_order_and_mirrored_as_drawn(workers: int, flip: bool, rank: int) -> None:
    with closing(make_batches(flip, workers=workers, rank=rank)) as batches:
        for number in range(3, 7):  # across the end of an epoch of five batches
            assert_close(batches.batch(0, number), expected(number, flip, rank))


def test_a_batch_depends_on_its_number_alone() -> None:
    with closing(make_batches()) as batches:
        for number in (4, 5, 1, 9, 10, 9, 9):
            assert_close(batches.batch(0, number), expected(number))


def test_a_step_may_take_one_batch_for_all_its_critic_iterations() -> None:
    with closing(make_batches(flip=True, fresh=False)) as batches:
        first = batches.batch(2, 10)
        assert_close(first, expected(2, flip=True))
        assert batches.batch(2, 11) is first
        assert_close(batches.batch(3, 12), expected(3, flip=True))


def test_closed_batches_can_be_read_again() -> None:
    batches = make_batches()
    assert_close(batches.batch(0, 2), expected(2))
    batches.close()
    assert_close(batches.batch(0, 2), expected(2))
    batches.close()


@pytest.mark.parametrize("dtype", [UINT16, FLOAT32])
def test_values_of_a_source_are_scaled_by_the_levels_of_their_channels(dtype: str) -> None:
    values = np.random.default_rng(1).uniform(0, 5000, (SIZE, 2, 3, 5)).astype(dtype)
    low, high = (1000.0, 2000.5), (3000.0, 2500.0)
    noise = NoiseSource(SEED, 4, "normal", [slice(0, BATCH)], torch.device("cpu"), torch.float64)
    order, rows = GlobalBatchOrder(SEED, SIZE, BATCH), np.arange(SIZE)
    with closing(RealBatches(values, Levels(dtype, low, high), order, rows, noise, True, True, 0)) as batches:
        (found,) = batches.batch(0, 2).samples
    chosen = values[order.rows(2)].astype(np.float64)
    expected = np.stack([np.interp(chosen[:, c], [low[c], high[c]], [-1, 1]) for c in (0, 1)], axis=1)
    mirrored = rng.uniform(SEED, "critic.flip", 2, (BATCH,)) < 0.5
    expected[mirrored] = expected[mirrored][..., ::-1]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_labels_travel_with_their_samples() -> None:
    labels = IMAGES[:, 0, 0, 0].astype(np.int64)
    slices = micro_batch_slices(BATCH, 2, World(1, 2))
    noise = NoiseSource(SEED, 4, "normal", slices, torch.device("cpu"), torch.float64)
    order = GlobalBatchOrder(SEED, SIZE, BATCH)
    with closing(RealBatches(IMAGES, EIGHT_BITS, order, ROWS, noise, True, False, 0, labels)) as batches:
        batch = batches.batch(0, 3)
    for samples, of_samples in zip(batch.samples, batch.labels, strict=True):
        assert of_samples is not None
        torch.testing.assert_close((samples[:, 0, 0, 0] + 1.0) * 127.5, of_samples.double(), rtol=0, atol=1e-9)
