"""Which samples are kept from training: by their content, and never trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.faults.tiny import SETTINGS
from wgan_dist import distributed
from wgan_dist.config import load_config
from wgan_dist.data import ImageDataset, as_inputs, open_images, split
from wgan_dist.training.run import build_run
from wgan_dist.utils.errors import UserError


def test_the_parts_are_the_whole_in_order_and_about_as_great_as_asked(digits: ImageDataset) -> None:
    parts = split(digits.pixels, 0.3)
    assert sorted([*parts.training, *parts.held_out]) == list(range(len(digits)))
    assert (np.diff(parts.training) > 0).all()
    assert (np.diff(parts.held_out) > 0).all()
    # Binomial: four deviations of √(0.3 · 0.7 / 1797).
    assert len(parts.held_out) / len(digits) == pytest.approx(0.3, abs=4 * (0.21 / len(digits)) ** 0.5)


def test_content_alone_decides(digits: ImageDataset) -> None:
    order = np.random.default_rng(0).permutation(len(digits))
    here, there = split(digits.pixels, 0.2), split(digits.pixels[order], 0.2)
    assert set(order[there.held_out]) == set(here.held_out)
    # Of a copy, on the same side; of a greater share, all that were held out of a smaller one.
    twice = split(np.concatenate([digits.pixels, digits.pixels]), 0.2)
    assert twice.held_out.tolist() == [*here.held_out, *(here.held_out + len(digits))]
    assert set(here.held_out) < set(split(digits.pixels, 0.4).held_out)


def test_without_a_share_everything_is_trained_on(digits: ImageDataset) -> None:
    parts = split(digits.pixels, 0.0)
    assert (parts.training.tolist(), parts.held_out.tolist()) == (list(range(len(digits))), [])


@pytest.mark.parametrize(("share", "held"), [(1e-9, "none"), (1 - 1e-9, "all")])
def test_all_or_nothing_is_refused(share: float, held: str, digits: ImageDataset) -> None:
    with pytest.raises(UserError, match=f"holdout=.*: holds out {held} of 20 samples"):
        split(digits.pixels[:20], share)


def test_no_held_out_image_is_ever_trained_on_and_all_others_are(cache_dir: Path, tmp_path: Path) -> None:
    digits = open_images(("digits",), 16, None, "ffffff", False, str(cache_dir))
    flags = SETTINGS | {"holdout": "0.5", "batch_size": "300", "max_steps": "4", "sample_every": "0"}
    run = build_run(load_config(flags), distributed.start(1), digits)
    batches = [run.real_batches.batch(step, step) for step in range(4 * 3)]
    shown = {image.numpy().tobytes() for batch in batches for part in batch for image in part}
    parts = split(digits.pixels, 0.5)

    def inputs(rows: NDArray[np.int64]) -> set[bytes]:
        return {image.numpy().tobytes() for image in as_inputs(torch.from_numpy(digits.pixels[rows]), torch.float32)}

    assert not shown & inputs(parts.held_out)
    assert shown <= inputs(parts.training)
    # Four epochs of three batches of 300: what one drops, another shows.
    assert len(shown) > 0.99 * len(inputs(parts.training))
