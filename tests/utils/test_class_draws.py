"""Classes drawn by their shares."""

import numpy as np

from wgan_dist.utils.class_draws import draw_classes, sample_classes


def test_each_class_takes_up_its_share_of_the_unit_interval() -> None:
    shares = np.array([0.5, 0.0, 0.25, 0.25])
    uniform = np.array([0.0, 0.49, 0.5, 0.74, 0.75, np.nextafter(1.0, 0.0)])
    assert draw_classes(uniform, shares).tolist() == [0, 0, 2, 2, 3, 3]


def test_rounded_shares_never_give_a_class_too_many() -> None:
    shares = np.full(10, 0.1)  # which add up to a little less than 1 in this order
    assert np.cumsum(shares)[-1] < 1.0
    assert draw_classes(np.array([np.nextafter(1.0, 0.0)]), shares).tolist() == [9]


def test_the_classes_of_a_seed_have_the_shares_and_do_not_depend_on_the_count() -> None:
    shares = np.array([0.6, 0.3, 0.1])
    classes = sample_classes(20_000, shares, seed=3)
    np.testing.assert_allclose(np.bincount(classes) / len(classes), shares, atol=0.012)  # 3.5 standard deviations
    assert sample_classes(50, shares, seed=3).tolist() == classes[:50].tolist()
    assert sample_classes(50, shares, seed=4).tolist() != classes[:50].tolist()
