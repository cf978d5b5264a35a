"""Tests of the distributions of points against closed forms and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import chisquare, ks_2samp, kstest
from sklearn.datasets import make_swiss_roll

from wgan_dist.data.datasets import POINT_COUNT, open_points
from wgan_dist.data.points import are_points
from wgan_dist.data.synthetic import DRAWS, MIXTURES, Mixture, swiss_roll
from wgan_dist.evaluation.metrics.points import exact_wasserstein
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.rng import uniform

# The smallest p-value of a hundred tests of true hypotheses is below this once in ten thousand.
RARE = 1e-6
# The modes and the standard deviations as the papers define them.
RING = [(2 * np.cos(k * np.pi / 4) / 1.414, 2 * np.sin(k * np.pi / 4) / 1.414) for k in range(8)]
GRID = [(x / 2.828, y / 2.828) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
PAPERS = [("8gaussians", RING, 0.02 / 1.414), ("25gaussians", GRID, 0.05 / 2.828)]


@pytest.mark.parametrize(("name", "modes", "deviation"), PAPERS)
def test_the_modes_and_their_deviation_are_those_of_the_papers(
    name: str, modes: list[tuple[float, float]], deviation: float
) -> None:
    mixture = MIXTURES[name]
    assert len(mixture.modes) == len(modes)
    assert cdist(modes, mixture.modes).min(axis=0) == pytest.approx(np.zeros(len(modes)), abs=1e-12)
    assert cdist(modes, mixture.modes).min(axis=1) == pytest.approx(np.zeros(len(modes)), abs=1e-12)
    assert mixture.deviation == pytest.approx(deviation)


@pytest.mark.parametrize(("name", "modes", "deviation"), PAPERS)
def test_points_of_a_mixture_are_normal_around_equally_likely_modes(
    name: str, modes: list[tuple[float, float]], deviation: float
) -> None:
    values = open_points(name).values.astype(np.float64)
    nearest = cdist(values, modes).argmin(axis=1)
    assert chisquare(np.bincount(nearest, minlength=len(modes))).pvalue > RARE
    residuals = (values - np.array(modes)[nearest]) / deviation
    for axis in (0, 1):
        assert kstest(residuals[:, axis], "norm").pvalue > RARE
    # The squared length of a standard normal vector of two is exponential; independent axes are uncorrelated.
    assert kstest((residuals**2).sum(axis=1) / 2, "expon").pvalue > RARE
    assert abs(np.corrcoef(residuals.T)[0, 1]) < 5 / np.sqrt(len(values))


@pytest.mark.parametrize(("name", "modes", "deviation"), PAPERS)
def test_mean_and_variance_of_a_mixture_follow_from_its_modes(
    name: str, modes: list[tuple[float, float]], deviation: float
) -> None:
    values = open_points(name).values.astype(np.float64)
    variance = np.var(modes, axis=0) + deviation**2
    assert values.mean(axis=0) == pytest.approx([0, 0], abs=5 * np.sqrt(variance.max() / len(values)))
    assert values.var(axis=0) == pytest.approx(variance, rel=0.02)


def sklearn_roll(count: int, seed: int) -> np.ndarray:
    roll, _ = make_swiss_roll(count, noise=0.25, random_state=seed)
    plane: np.ndarray = roll[:, [0, 2]] / 7.5
    return plane


def test_the_swiss_roll_has_the_distribution_of_scikit_learn() -> None:
    ours, theirs = swiss_roll(20_000, seed=1), sklearn_roll(20_000, seed=1)
    # Projections in several directions, and distances from the centre, which show the density of the spiral.
    for angle in np.linspace(0, np.pi, 8, endpoint=False):
        direction = np.array([np.cos(angle), np.sin(angle)])
        assert ks_2samp(ours @ direction, theirs @ direction).pvalue > RARE
    assert ks_2samp(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)).pvalue > RARE


def test_the_swiss_roll_is_as_close_to_scikit_learn_as_two_of_its_draws() -> None:
    between_theirs = max(exact_wasserstein(sklearn_roll(800, 1), sklearn_roll(800, seed)) for seed in (2, 3, 4))
    assert exact_wasserstein(sklearn_roll(800, 1), swiss_roll(800, 0)) < 1.2 * between_theirs


def test_the_noise_of_the_swiss_roll_has_the_deviation_of_the_paper() -> None:
    # The difference to the same points without noise is the noise.
    t = 1.5 * np.pi * (1 + 2 * uniform(0, "points.place", 0, (50_000,)))
    residuals = swiss_roll(50_000, 0) * 7.5 - (t * np.stack([np.cos(t), np.sin(t)])).T
    assert kstest(residuals.ravel() / 0.25, "norm").pvalue > RARE


@pytest.mark.parametrize("name", DRAWS)
def test_points_depend_on_the_seed_only(name: str) -> None:
    first, again = open_points(name), open_points(name)
    assert first.values.shape == (POINT_COUNT, 2) == (len(first), *first.shape)
    assert first.values.dtype == np.float32
    assert (first.values == again.values).all()
    assert first.fingerprint == again.fingerprint
    draw = DRAWS[name]
    assert (draw(50, 7)[:20] == draw(20, 7)).all()
    assert not (draw(50, 7) == draw(50, 8)).any()


def test_fingerprints_differ() -> None:
    assert len({open_points(name).fingerprint for name in DRAWS}) == len(DRAWS) == 3


def test_points_know_their_mixture() -> None:
    assert {name: open_points(name).mixture for name in DRAWS} == {**MIXTURES, "swissroll": None}


def test_all_modes_are_drawn() -> None:
    one = Mixture(np.array([[3.0, 4.0]]), 0.0)
    assert (one.draw(10, 0) == [3.0, 4.0]).all()
    four = Mixture(np.arange(8.0).reshape(4, 2), 0.0)
    assert {tuple(point) for point in four.draw(200, 0).tolist()} == {(0, 1), (2, 3), (4, 5), (6, 7)}


@pytest.mark.parametrize(
    ("data", "expected"),
    [(("8gaussians",), True), (("digits",), False), (("a/", "b/"), False), (("8gaussians/",), False)],
)
def test_only_names_of_distributions_are_points(data: tuple[str, ...], expected: bool) -> None:
    assert are_points(data) == expected


@pytest.mark.parametrize("data", ["8gaussians,digits", "digits,swissroll", "8gaussians,25gaussians"])
def test_points_cannot_be_merged_with_other_data(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^data={data}: (8gaussians|swissroll) are points, which cannot be merged"):
        train({"data": data, "run_dir": str(tmp_path / "run"), "cache_dir": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": "8gaussians"}, "generator=dcgan: is for images, and the data are points"),
        ({"data": "8gaussians", "generator": "points"}, "critic=dcgan: is for images, and the data are points"),
        ({"data": "digits", "generator": "points"}, "generator=points: is for points, and the data are images"),
        ({"data": "digits", "critic": "points"}, "critic=points: is for points, and the data are images"),
        ({"recipe": "toy_8gaussians", "data": "digits"}, "generator=points: is for points, and the data are images"),
        ({"recipe": "digits", "data": "swissroll"}, "generator=dcgan_upsample: is for images, and the data are points"),
        (
            {"recipe": "toy_8gaussians", "generator_norm": "batch"},
            "generator_norm=batch: the points generator supports none",
        ),
    ],
)
def test_networks_that_do_not_fit_the_data_are_refused_before_the_run(
    flags: dict[str, str], message: str, tmp_path: Path, cache_dir: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(flags | {"run_dir": str(tmp_path / "run"), "cache_dir": str(cache_dir), "threads": "1"})
    assert list(tmp_path.iterdir()) == []
