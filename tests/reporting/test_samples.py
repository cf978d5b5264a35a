"""Final samples are those of the seed, and nearest images are the nearest."""

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.sampler import Sampler, grid
from tests.generators import small_spec, write_generator
from tests.runs import report_on, write_run, write_sample
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.data.holdout import split_holdout
from wgan_dist.reporting.image_files import Picture
from wgan_dist.reporting.run_data import RunData, read_run
from wgan_dist.reporting.samples import final_picture, latent_space, load_generator, nearest_images, shown_values
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import GAP
from wgan_dist.utils.levels import Levels


@pytest.fixture
def run(run_dir: Path) -> RunData:
    return read_run(run_dir, "tiny")


def pixels(picture: Picture) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture.content)) as opened:
        return np.asarray(opened)


def test_the_final_grid_equals_that_of_the_sampler(run: RunData, onnx_file: Path) -> None:
    source = load_generator(run, "")
    drawn = pixels(final_picture(run, source, 9, 5, "1-tiny")).astype(int)
    assert drawn.shape[:2] == (5 * 104, 5 * 104)
    found = drawn[::5, ::5][GAP:-GAP, GAP:-GAP]
    expected = grid(Sampler(onnx_file).sample(9, seed=5)).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert str(latent_space(source)) == "8 normal numbers"


def test_pictures_of_values_say_what_they_show(run: RunData) -> None:
    description = load_generator(run, "").description
    assert shown_values(description) == ""
    depth = dataclasses.replace(description, levels=Levels("uint16", (1000.0,), (4316.0,)))
    assert shown_values(depth) == "Grey is channel 1, 1,000 to 4,316."
    levels = Levels("float32", (250.5, 0.0, -1e-3, 0.0, 0.0), (320.0, 1.0, 1e-3, 1.0, 1.0))
    five = dataclasses.replace(description, network=small_spec("dcgan", 5), channel_names=tuple("abcde"), unit="K")
    assert shown_values(dataclasses.replace(five, levels=levels)) == (
        "Red is a, 250.5 to 320 K; green is b, 0 to 1 K; blue is c, -0.001 to 0.001 K. The images have 5 channels."
    )
    two = dataclasses.replace(description, network=small_spec("dcgan", 2))
    assert shown_values(two) == "Grey is channel 1, 0 to 255. The images have 2 channels."


def test_points_are_drawn_over_real_points(run: RunData, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    config = dataclasses.replace(run.config, data=("8gaussians",))
    points = dataclasses.replace(run, folder=tmp_path, config=config)
    found = final_picture(points, load_generator(points, ""), 9, 5, "1-points")
    sample(SampleSettings(ckpt=str(path), count=1000, seed=5, out=str(tmp_path / "p.png")))
    with Image.open(tmp_path / "p.png") as expected:
        assert (pixels(found) == np.asarray(expected)).all()


def test_below_each_image_is_the_nearest_training_image(run: RunData, digits: ImageDataset, cache_dir: Path) -> None:
    pairs = nearest_images(run, load_generator(run, ""), 5, 3, "1-tiny", str(cache_dir))
    assert pairs.training_images == len(digits) == 1797
    rows = pixels(pairs.picture)[::3, ::3][GAP:-GAP, GAP:-GAP, 0]
    assert rows.shape == (2 * 32 + GAP, 5 * 32 + 4 * GAP)
    real = np.asarray(digits.pixels, np.float64)[:, 0]
    for number, distance in enumerate(pairs.distances):
        drawn, nearest = (rows[top : top + 32, number * 34 : number * 34 + 32].astype(float) for top in (0, 34))
        distances = np.sqrt(((real - drawn) ** 2).sum((1, 2))) / 127.5
        np.testing.assert_allclose(distance, distances.min(), rtol=1e-6)
        assert (nearest == real[distances.argmin()]).all()


def test_held_out_images_are_not_searched(run: RunData, digits: ImageDataset, cache_dir: Path) -> None:
    held_out = dataclasses.replace(run, config=dataclasses.replace(run.config, holdout=0.97))
    kept = split_holdout(digits, 0.97)
    pairs = nearest_images(held_out, load_generator(run, ""), 30, 3, "1-tiny", str(cache_dir))
    assert pairs.training_images == len(kept.training) < 100
    strangers = {digits.pixels[row].tobytes() for row in kept.held_out}
    lower = pixels(pairs.picture)[GAP + 34 : -GAP, GAP:, 0]
    shown = [lower[:, number * 34 : number * 34 + 32].tobytes() for number in range(30)]
    assert not strangers & set(shown)


def with_data(run: RunData, data: Path) -> RunData:
    return dataclasses.replace(run, config=dataclasses.replace(run.config, data=(str(data),)))


def test_missing_data_are_named(
    run: RunData, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="gone: its images are missing, or are not those that"):
        nearest_images(with_data(run, tmp_path / "gone"), load_generator(run, ""), 5, 3, "", str(cache_dir))
    assert "gone: there is no such" in capsys.readouterr().err


def test_images_that_have_changed_are_not_searched(
    run: RunData, tmp_path: Path, digits: ImageDataset, cache_dir: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        Image.fromarray(digits.pixels[number, 0]).save(data / f"{number}.png")
    with pytest.raises(UserError, match="its images are missing, or are not those that the run was trained on"):
        nearest_images(with_data(run, data), load_generator(run, ""), 2, 3, "", str(cache_dir))


@pytest.mark.parametrize("broken", [False, True])
def test_a_stranger_learns_nothing_of_a_folder_that_a_run_names(run: RunData, tmp_path: Path, broken: bool) -> None:
    """Neither whether there are images, nor the name of one that cannot be read, reaches the page."""
    pictures = tmp_path / "Pictures"
    pictures.mkdir()
    Image.new("L", (32, 32)).save(pictures / "private.png")
    if broken:
        (pictures / "secret.png").write_bytes(b"")
    message = f"data={pictures}: its images are missing, or are not those that the run was trained on"
    with pytest.raises(UserError) as error:
        nearest_images(with_data(run, pictures), load_generator(run, ""), 2, 3, "", str(tmp_path / "cache"))
    assert str(error.value) == message


def test_a_run_without_a_generator_opens_no_data(tmp_path: Path) -> None:
    (tmp_path / "Pictures").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "Pictures" / "private.png")
    run = write_run(tmp_path / "run", data=(str(tmp_path / "Pictures"),), image_size=square(32))
    report_on([str(run)], out=str(tmp_path / "report.html"), cache_dir=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    assert "private" not in (tmp_path / "report.html").read_text()


def test_the_page_says_what_pictures_show(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", image_size=square(16))
    write_sample(run, 3, "ema", 100)
    write_generator(run, small_spec("dcgan", 1), levels=Levels("uint16", (0.0,), (65535.0,)), channel_names=("<b>T",))
    report_on([str(run)], out=str(tmp_path / "report.html"), cache_dir=str(tmp_path / "cache"))
    page = (tmp_path / "report.html").read_text()
    assert len(re.findall(r"<figcaption>(?:(?!</figcaption>).)*Grey is &lt;b&gt;T, 0 to 65,535\.", page, re.S)) == 2


def test_a_generator_that_computes_no_numbers_is_told_on_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", image_size=square(16))
    path = write_generator(tmp_path / "run", small_spec("dcgan"))
    source = generator_file.load(path)
    weights = {name: value * 1e30 if value.dim() > 1 else value for name, value in source.network.state_dict().items()}
    path.write_bytes(generator_file.to_bytes(weights, source.description))
    report_on([str(run)], out=str(tmp_path / "report.html"), cache_dir=str(tmp_path / "cache"))
    page = (tmp_path / "report.html").read_text()
    assert "generator.safetensors: its samples have values that are not finite" in page
