"""Nearest neighbours and diversity, held against scipy on digits and on random features."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from wgan_dist.data import ImageDataset
from wgan_dist.evaluation.metrics import neighbours
from wgan_dist.evaluation.metrics.neighbours import mean_pairwise_distance, nearest
from wgan_dist.utils.errors import UserError


@pytest.mark.parametrize("chunk", [1 << 24, 9000, 1])
def test_nearest_features_are_scipys_whatever_is_compared_at_a_time(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_VALUES", chunk)
    generator = np.random.default_rng(0)
    samples, values = generator.normal(size=(13, 5)), generator.normal(size=(200, 5)).astype(np.float32)
    samples = samples.astype(np.float32)
    expected = cdist(samples.astype(np.float64), values.astype(np.float64))
    found = nearest(torch.from_numpy(samples), values)
    assert (found.indices == expected.argmin(1)).all()
    np.testing.assert_allclose(found.distances, expected.min(1), rtol=1e-12)


def test_a_copy_of_a_training_image_is_found_at_distance_zero_and_only_among_the_given_rows(
    digits: ImageDataset,
) -> None:
    rows = np.arange(0, len(digits), 2)
    copies = torch.from_numpy(digits.pixels[[4, 5]])
    found = nearest(copies, digits.pixels, rows)
    assert (found.indices[0], found.distances[0]) == (4, 0.0)
    assert found.indices[1] % 2 == 0
    flat = digits.pixels.reshape(len(digits), -1) / 127.5 - 1.0
    assert found.distances[1] == pytest.approx(cdist(flat[5:6], flat[rows]).min(), rel=1e-6)


def test_pixels_and_the_images_a_network_makes_of_them_are_one() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    images = torch.from_numpy(pixels / 127.5 - 1.0).float()
    assert nearest(images, pixels).distances == pytest.approx(np.zeros(6), abs=1e-6)
    assert mean_pairwise_distance(images) == pytest.approx(mean_pairwise_distance(torch.from_numpy(pixels)), rel=1e-6)


def test_diversity_is_the_mean_over_pairs_and_nothing_in_a_collapse(digits: ImageDataset) -> None:
    some = torch.from_numpy(digits.pixels[:50].copy())
    assert mean_pairwise_distance(some) == pytest.approx(pdist(some.flatten(1).numpy() / 127.5 - 1.0).mean(), rel=1e-6)
    assert mean_pairwise_distance(some[:1].expand(8, -1, -1, -1)) == 0.0


def test_too_few_are_refused(digits: ImageDataset) -> None:
    some = torch.from_numpy(digits.pixels[:1].copy())
    with pytest.raises(UserError, match="diversity: 1 images: expected at least 2"):
        mean_pairwise_distance(some)
    with pytest.raises(ValueError, match="no values"):
        nearest(some, digits.pixels, np.zeros(0, np.int64))
