"""Final grids are of the seed's noise, and neighbours are the nearest."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.sampler import Sampler, grid
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_name
from wgan_dist.checkpoints.state_file import STATE_FILE
from wgan_dist.data import ImageDataset, split
from wgan_dist.reporting.image_files import Picture
from wgan_dist.reporting.runs import Run, read_run
from wgan_dist.reporting.samples import final_picture, load_generator, neighbour_pairs, noise_of
from wgan_dist.sample import sample
from wgan_dist.utils.errors import UserError


@pytest.fixture
def run(run_dir: Path) -> Run:
    return read_run(run_dir, "tiny")


def pixels(picture: Picture) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture.content)) as opened:
        return np.asarray(opened)


def test_the_final_grid_is_what_the_sampler_draws_of_the_same_seed(run: Run, onnx_file: Path) -> None:
    source = load_generator(run, "")
    found = pixels(final_picture(run, source, 9, 5, "1-tiny")).astype(int)
    expected = grid(Sampler(onnx_file).sample(9, seed=5)).squeeze(-1).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert str(noise_of(source)) == "8 normal numbers"


def test_points_are_drawn_over_the_real_ones(run: Run, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    config = dataclasses.replace(run.config, data=("8gaussians",))
    points = dataclasses.replace(run, folder=tmp_path, config=config)
    found = final_picture(points, load_generator(points, ""), 9, 5, "1-points")
    sample({"ckpt": str(path), "count": "1000", "seed": "5", "out": str(tmp_path / "p.png")})
    with Image.open(tmp_path / "p.png") as expected:
        assert (pixels(found) == np.asarray(expected)).all()


def test_under_each_image_is_the_training_image_nearest_to_it(run: Run, digits: ImageDataset) -> None:
    pairs = neighbour_pairs(run, load_generator(run, ""), 5, 3, "1-tiny")
    assert pairs.training_images == len(digits) == 1797
    rows = pixels(pairs.picture)
    assert rows.shape == (2 * 32 + 2, 5 * 32 + 4 * 2)
    real = np.asarray(digits.pixels, np.float64)[:, 0]
    for number, distance in enumerate(pairs.distances):
        drawn, nearest = (rows[top : top + 32, number * 34 : number * 34 + 32].astype(float) for top in (0, 34))
        distances = np.sqrt(((real - drawn) ** 2).sum((1, 2))) / 127.5
        np.testing.assert_allclose(distance, distances.min(), rtol=1e-6)
        assert (nearest == real[distances.argmin()]).all()


def test_images_held_out_are_no_training_images(run: Run, digits: ImageDataset) -> None:
    held_out = dataclasses.replace(run, config=dataclasses.replace(run.config, holdout=0.97))
    kept = split(digits.pixels, 0.97)
    pairs = neighbour_pairs(held_out, load_generator(run, ""), 30, 3, "1-tiny")
    assert pairs.training_images == len(kept.training) < 100
    strangers = {digits.pixels[row].tobytes() for row in kept.held_out}
    shown = [pixels(pairs.picture)[34:, number * 34 : number * 34 + 32].tobytes() for number in range(30)]
    assert not strangers & set(shown)


def test_data_that_are_gone_are_named(run: Run, tmp_path: Path) -> None:
    gone = dataclasses.replace(run, config=dataclasses.replace(run.config, data=(str(tmp_path / "gone"),)))
    with pytest.raises(UserError, match="gone"):
        neighbour_pairs(gone, load_generator(run, ""), 5, 3, "")


def test_images_that_are_others_by_now_have_no_neighbours(run: Run, tmp_path: Path, digits: ImageDataset) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        Image.fromarray(digits.pixels[number, 0]).save(data / f"{number}.png")
    others = dataclasses.replace(run, config=dataclasses.replace(run.config, data=(str(data),)))
    with pytest.raises(UserError, match="no longer those that the run was trained on"):
        neighbour_pairs(others, load_generator(run, ""), 2, 3, "")
    source = load_generator(run, "")
    without_checkpoint = dataclasses.replace(others, folder=tmp_path)
    assert neighbour_pairs(without_checkpoint, source, 2, 3, "").training_images == 3
    state = tmp_path / CHECKPOINTS / checkpoint_name(1, 0) / STATE_FILE
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    assert neighbour_pairs(without_checkpoint, source, 2, 3, "").training_images == 3
