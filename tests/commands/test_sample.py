"""Sampling with torch: the same images as the sampler's, and ways between seeds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.sampler import Sampler, grid, latents
from tests.exports import export_onnx
from tests.generators import small_spec, write_generator
from tests.processes import PYTHON, run
from wgan_dist.checkpoints import generator_file
from wgan_dist.sample import between, images_of, sample, way
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import LABEL_HEIGHT


def pixels(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_same_seed_gives_the_same_images_with_and_without_torch(
    run_dir: Path, onnx_file: Path, tmp_path: Path
) -> None:
    run(*PYTHON, "-m", "wgan_dist.sample", f"--ckpt={run_dir}", "--count=9", "--seed=4", "--out=g.png", cwd=tmp_path)
    expected = grid(Sampler(onnx_file).sample(9, seed=4)).squeeze(-1).astype(int)
    found = pixels(tmp_path / "g.png").astype(int)
    assert np.abs(found - expected).max() <= 1  # rounding of values within float error of a half
    assert (found == expected).mean() > 0.999


def test_single_files_and_checkpoint_folders_and_files_are_taken(run_dir: Path, tmp_path: Path) -> None:
    sample({"ckpt": str(run_dir / "checkpoints/step-00000006"), "count": "3", "out": str(tmp_path / "a")})
    sample({"ckpt": str(run_dir / generator_file.EMA_FILE), "count": "3", "out": str(tmp_path / "b")})
    for name in ("000000.png", "000001.png", "000002.png"):
        assert (pixels(tmp_path / "a" / name) == pixels(tmp_path / "b" / name)).all()


def test_raw_and_averaged_weights_draw_different_images(run_dir: Path, tmp_path: Path) -> None:
    for kind in ("ema", "raw"):
        sample({"ckpt": str(run_dir), "weights": kind, "count": "4", "out": str(tmp_path / f"{kind}.png")})
    assert (pixels(tmp_path / "ema.png") != pixels(tmp_path / "raw.png")).any()


def test_great_circle_keeps_the_length_and_passes_through_both_ends() -> None:
    start, end = np.array([3.0, 0.0], np.float32), np.array([0.0, 3.0], np.float32)
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = share * np.pi / 2
        np.testing.assert_allclose(
            between(start, end, share, "normal"), 3 * np.array([np.cos(angle), np.sin(angle)]), atol=1e-6
        )
    np.testing.assert_allclose(between(start, end, 0.5, "uniform"), [1.5, 1.5])
    np.testing.assert_allclose(between(start, start, 0.3, "normal"), start, atol=1e-6)
    one = np.array([0.7], np.float32)
    np.testing.assert_allclose(between(one, -2 * one, 0.5, "normal"), -0.5 * one, atol=1e-6)


def test_a_way_visits_the_first_image_of_every_seed(run_dir: Path, tmp_path: Path) -> None:
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    stops = way(source, (1, 5, 2), frames=4)
    assert stops.shape == (9, 8)
    for place, seed in ((0, 1), (4, 5), (8, 2)):
        np.testing.assert_allclose(stops[place], latents(1, 8, "normal", seed)[0], atol=1e-6)
    sample({"ckpt": str(run_dir), "interpolate": "1,5,2", "frames": "4", "out": str(tmp_path / "way.png")})
    assert pixels(tmp_path / "way.png").shape == (32, 9 * 32 + 8 * 2)
    with Image.open(tmp_path / "way.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 9


def test_truncation_scales_the_same_latents_and_labels_each_strip(run_dir: Path, tmp_path: Path) -> None:
    sample({"ckpt": str(run_dir), "truncation": "0.5,1", "seed": "4", "out": str(tmp_path / "t.png")})
    found = pixels(tmp_path / "t.png").astype(int)
    height = 32 + LABEL_HEIGHT
    assert found.shape == (2 * height, 8 * 32 + 7 * 2)
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    for number, scale in enumerate((0.5, 1.0)):
        z = latents(8, 8, "normal", 4) * np.float32(scale)
        strip = found[number * height : (number + 1) * height]
        assert (strip[LABEL_HEIGHT:] == grid(images_of(source, z), columns=8).squeeze(-1)).all()
        assert strip[:LABEL_HEIGHT].min() < 100 < 200 < np.median(strip[:LABEL_HEIGHT])
    assert (found[:LABEL_HEIGHT] != found[height : height + LABEL_HEIGHT]).any()


@pytest.mark.parametrize(("scale", "fails"), [("1", False), ("1.01", True)])
def test_uniform_latents_are_not_scaled_beyond_their_bounds(scale: str, fails: bool, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"), distribution="uniform")
    flags = {"ckpt": str(path), "truncation": f"0.5,{scale}", "count": "2", "out": str(tmp_path / "t.png")}
    if fails:
        with pytest.raises(UserError, match=r"truncation=0.5,1.01: .*uniform in \[-1, 1\); expected scales up to 1"):
            sample(flags)
    else:
        sample(flags)
    assert (tmp_path / "t.png").exists() is not fails


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--ckpt="),
        ({"ckpt": "nowhere"}, "nowhere"),
        ({"interpolate": "1"}, "two seeds"),
        ({"truncation": "0.5", "interpolate": "1,2"}, "expected one of them"),
        ({"truncation": "-0.5"}, "truncation=-0.5: expected at least 0"),
        ({"out": "{file}/x.png"}, "cannot be written"),
    ],
)
def test_bad_requests_are_named(flags: dict[str, str], message: str, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = {name: value.replace("{file}", str(tmp_path / "file")) for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        sample(given if not flags or "ckpt" in flags else {"ckpt": str(run_dir)} | given)


@pytest.fixture(scope="module")
def points_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("points"), small_spec("points"), "8gaussians")


def test_points_are_written_as_the_samplers_are(points_generator: Path, tmp_path: Path) -> None:
    sample({"ckpt": str(points_generator), "count": "150", "seed": "4", "out": str(tmp_path / "p.csv")})
    export_onnx({"ckpt": str(points_generator), "out": str(tmp_path / "g.onnx")})
    found = np.loadtxt(tmp_path / "p.csv", delimiter=",")
    assert found.shape == (150, 2)
    np.testing.assert_allclose(found, Sampler(tmp_path / "g.onnx").sample(150, seed=4), atol=1e-5)


def blue_and_orange(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> tuple[int, int]:
    """How many pixels are of the generated points and of the real ones."""
    blue, orange = ((picture.astype(int) - colour) ** 2 for colour in ([31, 119, 180], [255, 127, 14]))
    return int((blue.sum(-1) < 100).sum()), int((orange.sum(-1) < 100).sum())


@pytest.mark.parametrize("data", ["8gaussians", "points_of_a_strange_set"])
def test_a_picture_of_points_shows_them_over_the_data_they_were_learnt_from(data: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), data)
    sample({"ckpt": str(path), "count": "300", "out": str(tmp_path / "p.png")})
    blue, orange = blue_and_orange(pixels(tmp_path / "p.png"))
    assert blue > 20
    # Of a set that is not known only the legend's sign remains, for its points lie under the generated ones.
    assert orange > 500 if data == "8gaussians" else orange < 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"truncation": "0.5"}, "^truncation=0.5: for images, and this generator makes points$"),
        ({"interpolate": "1,2"}, "^interpolate: for images, and this generator makes points$"),
        ({"out": "points.txt"}, r"out=points.txt: .*points; expected a file ending in .png or .csv"),
        ({"out": "{file}/p.csv"}, "p.csv: cannot be written"),
        ({"out": "{file}/p.png"}, "cannot write .*p.png"),
    ],
)
def test_bad_requests_for_points_are_named(
    flags: dict[str, str], message: str, points_generator: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    given = {name: value.replace("{file}", str(tmp_path / "file")) for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        sample({"ckpt": str(points_generator)} | given)
