"""Tests of the samples held out from training."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.faults.tiny import SETTINGS
from wgan_dist import distributed
from wgan_dist.config import load_config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.holdout import choose_rows, split_holdout
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.labels import Labels
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.training.build_run import build_run
from wgan_dist.utils.errors import UserError


def holding(pixels: NDArray[np.uint8]) -> ImageDataset:
    return ImageDataset("some", pixels, "", ())


def test_the_parts_are_complete_ordered_and_of_about_the_requested_share(digits: ImageDataset) -> None:
    parts = split_holdout(digits, 0.3)
    assert sorted([*parts.training, *parts.held_out]) == list(range(len(digits)))
    assert (np.diff(parts.training) > 0).all()
    assert (np.diff(parts.held_out) > 0).all()
    # Four standard deviations of the binomial distribution: √(0.3 · 0.7 / 1797).
    assert len(parts.held_out) / len(digits) == pytest.approx(0.3, abs=4 * (0.21 / len(digits)) ** 0.5)


def test_the_split_depends_on_the_content_only(digits: ImageDataset) -> None:
    order = np.random.default_rng(0).permutation(len(digits))
    here, there = split_holdout(digits, 0.2), split_holdout(holding(digits.pixels[order]), 0.2)
    assert set(order[there.held_out]) == set(here.held_out)
    # Copies are on the same side, and a larger share holds out all samples of a smaller one.
    twice = split_holdout(holding(np.concatenate([digits.pixels, digits.pixels])), 0.2)
    assert twice.held_out.tolist() == [*here.held_out, *(here.held_out + len(digits))]
    assert set(here.held_out) < set(split_holdout(digits, 0.4).held_out)


def test_without_a_holdout_all_samples_are_training_samples(digits: ImageDataset) -> None:
    parts = split_holdout(digits, 0.0)
    assert (parts.training.tolist(), parts.held_out.tolist()) == (list(range(len(digits))), [])


@pytest.mark.parametrize(("share", "held"), [(1e-9, "none"), (1 - 1e-9, "all")])
def test_holding_out_all_or_none_is_refused(share: float, held: str, digits: ImageDataset) -> None:
    with pytest.raises(UserError, match=f"holdout=.*: holds out {held} of 20 samples"):
        split_holdout(holding(digits.pixels[:20]), share)


def with_classes(pixels: NDArray[np.uint8], *values: int) -> ImageDataset:
    names = tuple(f"class {number}" for number in range(max(values) + 1))
    return ImageDataset("some", pixels, "", (), labels=Labels(names, np.array(values, np.int64)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.95])
def test_each_class_is_held_out_by_its_share(digits: ImageDataset, share: float) -> None:
    values = np.repeat([2, 0, 1, 3], [2, 3, 30, 1762])
    parts = split_holdout(with_classes(digits.pixels, *values), share)
    assert sorted([*parts.training, *parts.held_out]) == list(range(len(digits)))
    for number, size in ((0, 3), (1, 30), (2, 2), (3, 1762)):
        held_out = int((values[parts.held_out] == number).sum())
        assert held_out == min(max(round(share * size), 1), size - 1)
    order = np.random.default_rng(0).permutation(len(digits))
    mixed = split_holdout(with_classes(digits.pixels[order], *values[order]), share)
    assert set(order[mixed.held_out]) == set(parts.held_out)


def test_equal_samples_stay_together_within_and_across_classes(digits: ImageDataset) -> None:
    pixels = np.concatenate([digits.pixels[:20], digits.pixels[:20], digits.pixels[:10]])
    parts = split_holdout(with_classes(pixels, *[0] * 40, *[1] * 10), 0.3)
    held_out = set(parts.held_out)
    assert {row % 20 for row in held_out} == {row for row in held_out if row < 20}
    assert {row + 20 for row in held_out if row < 20} == {row for row in held_out if 20 <= row < 40}
    assert {row + 40 for row in held_out if row < 10} == {row for row in held_out if row >= 40}
    assert 6 <= len({row % 20 for row in held_out}) <= 9  # 6 of the first class, and of the second 3 at least


def test_a_class_of_copies_is_refused(digits: ImageDataset) -> None:
    pixels = np.concatenate([digits.pixels[:5], digits.pixels[:1], digits.pixels[:1]])
    with pytest.raises(UserError, match="^holdout=0.5: holds out all of 2 samples of the class 'class 1'; expected"):
        split_holdout(with_classes(pixels, *[0] * 5, 1, 1), 0.5)


def test_training_sees_all_images_but_those_held_out(cache_dir: Path) -> None:
    digits = open_images(("digits",), ImageSettings(square(16)), str(cache_dir))
    flags = SETTINGS | {"holdout": "0.5", "batch_size": "300", "max_steps": "4", "sample_every": "0"}
    run = build_run(load_config(flags), distributed.start(1), digits)
    batches = [run.real_batches.batch(step, step) for step in range(4 * 3)]
    shown = {image.numpy().tobytes() for batch in batches for part in batch.samples for image in part}
    parts = split_holdout(digits, 0.5)

    def inputs(rows: NDArray[np.int64]) -> set[bytes]:
        return {
            image.numpy().tobytes() for image in to_network_inputs(torch.from_numpy(digits.pixels[rows]), torch.float32)
        }

    assert not shown & inputs(parts.held_out)
    assert shown <= inputs(parts.training)
    # Four epochs of three batches of 300: the samples that one epoch drops are in another.
    assert len(shown) > 0.99 * len(inputs(parts.training))


def test_the_same_samples_are_chosen_from_a_set_in_any_order(digits: ImageDataset) -> None:
    order = np.random.default_rng(0).permutation(len(digits))
    mixed, rows = holding(digits.pixels[order]), np.arange(len(digits))
    here, there = choose_rows(digits, rows, 100, 3), choose_rows(mixed, rows, 100, 3)
    assert (digits.pixels[here] == mixed.pixels[there]).all()
    assert len(set(here)) == 100
    assert (choose_rows(digits, rows, 30, 3) == here[:30]).all()
    assert set(choose_rows(digits, here, 500, 3)) == set(here)
    # Other seeds choose independently: of half the samples about half are in common.
    halves = [set(choose_rows(digits, rows, len(digits) // 2, seed)) for seed in range(6)]
    common = [len(one & other) for one, other in itertools.combinations(halves, 2)]
    assert all(abs(each - len(digits) / 4) < 4 * (len(digits) / 16) ** 0.5 for each in common)


def test_chosen_samples_are_like_all_others(digits: ImageDataset) -> None:
    """The mean level of chosen samples has the standard error of a random choice."""
    levels = digits.pixels.mean(axis=(1, 2, 3))
    chosen = choose_rows(digits, np.arange(len(digits)), 400, 0)
    assert levels[chosen].mean() == pytest.approx(levels.mean(), abs=4 * levels.std() / 400**0.5)


def test_copies_are_chosen_as_other_samples_are(digits: ImageDataset) -> None:
    """Half of the samples have one of two values: about half of those that are chosen have them, for any seed."""
    pixels = digits.pixels[:400].copy()
    pixels[:100], pixels[100:200] = pixels[0], pixels[100]
    for seed in range(10):
        chosen = choose_rows(holding(pixels), np.arange(400), 100, seed)
        assert abs(int((chosen < 200).sum()) - 50) < 4 * 25**0.5
