"""Pictures, pixel by pixel where it matters: levels, grids, and points in the plane."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid, save_image

from export import sampler
from tests.utils.drawings import BLUE, CORNERS, ORANGE, centre, coloured, to_pixels
from wgan_dist.utils.images import GAP, enlarged, from_uint8, grid, plot_points, to_image, to_uint8


def test_levels_are_rounded_to_the_nearest_and_clipped() -> None:
    values = [-1.5, -1.0, 0.0, 1 / 127.5 - 1, 0.6 / 127.5 - 1, 0.4 / 127.5 - 1, 1.0, 2.0]
    assert to_uint8(torch.tensor(values)).tolist() == [0, 0, 128, 1, 1, 0, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_uint8(from_uint8(levels, dtype)), levels)


def test_the_sampler_that_stands_alone_makes_the_same_levels_and_grids() -> None:
    images = torch.randint(-10, 521, (7, 3, 5, 4)) / 255.0 - 1.0  # whole and half levels, and beyond
    levels = sampler.to_uint8(images.numpy())
    assert (to_uint8(images).permute(0, 2, 3, 1).numpy() == levels).all()
    inside = (slice(None), slice(GAP, -GAP), slice(GAP, -GAP))  # the sampler's grid has no border
    for count in (1, 2, 5, 7):
        for columns in (0, 1, 3):
            picture = grid(images[:count], columns)[inside].permute(1, 2, 0).numpy()
            assert (picture == sampler.grid(levels[:count], columns)).all()


@pytest.mark.parametrize(("width", "scale"), [(1, 512), (34, 16), (255, 3), (256, 2), (511, 2), (512, 1), (700, 1)])
def test_a_picture_becomes_at_least_512_pixels_wide_by_the_smallest_factor(width: int, scale: int) -> None:
    picture = enlarged(Image.new("RGB", (width, 3)))
    assert picture.size == (scale * width, scale * 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("scale", [None, 1, 3])
def test_enlarging_repeats_pixels_here_and_in_the_sampler_that_stands_alone(mode: str, scale: int | None) -> None:
    channels = len(mode.replace("L", "1"))
    pixels = torch.randint(0, 256, (3, 200, channels), dtype=torch.uint8).numpy()
    picture = enlarged(Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels), scale)
    expected = np.kron(pixels, np.ones((scale or 3, scale or 3, 1), np.uint8))
    assert picture.mode == mode
    assert (np.asarray(picture).reshape(expected.shape) == expected).all()
    assert (sampler.enlarged(pixels, scale or 0) == expected).all()


def test_a_grid_is_about_square_row_by_row_between_black_and_white() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, -0.5, 5.0]).view(5, 1, 1, 1).expand(5, 1, 3, 4)
    picture = grid(images)
    # Two columns, three rows, two dark pixels around each image.
    assert picture.shape == (3, 3 * (3 + 2) + 2, 2 * (4 + 2) + 2)
    cells = picture[0, 2::5, 2::6]
    assert cells[:3, :2].tolist() == [[0, 128], [255, 64], [255, 0]]
    assert not picture[:, :2].any()
    assert not picture[:, :, 6:8].any()


@pytest.mark.parametrize(("count", "channels"), [(2, 3), (5, 1), (64, 3), (7, 4)])
def test_grids_and_their_files_are_torchvisions(count: int, channels: int, tmp_path: Path) -> None:
    # Whole levels and thirds, and beyond; of two equally near levels torchvision takes the greater, not the even one.
    images = torch.randint(-15, 781, (count, channels, 5, 4)) / 382.5 - 1.0
    theirs = make_grid(images, round(count**0.5), normalize=True, value_range=(-1, 1))
    save_image(theirs, tmp_path / "theirs.png")
    with Image.open(tmp_path / "theirs.png") as file:
        assert (np.asarray(to_image(grid(images))) == np.asarray(file)).all()


def test_a_grid_shows_nan_as_grey() -> None:
    picture = grid(torch.full((1, 3, 2, 2), float("nan")))
    assert picture[:, 2:4, 2:4].tolist() == [[[128] * 2] * 2] * 3


def test_generated_points_are_blue_at_their_positions_among_the_real_ones() -> None:
    matrix = to_pixels(CORNERS)
    assert matrix[0, 0] > 100  # columns go with x, rows against y, at one scale
    assert matrix[1, 1] == pytest.approx(-matrix[0, 0], rel=0.01)
    assert [matrix[0, 1], matrix[1, 0]] == pytest.approx([0, 0], abs=1)
    for position in ([0.5, 0.75], [1.9, 0.1], [1.0, 0.5]):
        picture = plot_points(CORNERS, np.array([position], np.float32))
        assert picture.shape == (3, 600, 600)
        assert picture.dtype == torch.uint8
        assert centre(coloured(picture, BLUE)) == pytest.approx(matrix @ [*position, 1], abs=1.5)
        for corner in CORNERS:
            column, row = np.rint(matrix @ [*corner, 1]).astype(int)
            assert coloured(picture, ORANGE)[row, column]


def test_a_drawing_does_not_follow_the_settings_of_the_working_folder() -> None:
    """Matplotlib reads a matplotlibrc there, which may call LaTeX."""
    points = np.array([[1.0, 0.5]], np.float32)
    expected = plot_points(CORNERS, points)
    with matplotlib.rc_context({"axes.facecolor": "red", "text.usetex": True}):
        assert (plot_points(CORNERS, points) == expected).all()


def test_generated_points_far_away_do_not_shrink_the_plane() -> None:
    near = plot_points(CORNERS, np.array([[1.0, 0.5]], np.float32))
    far = plot_points(CORNERS, np.array([[1.0, 0.5], [1000.0, 1000.0], [3.4e38, 0.0]], np.float32))
    assert (coloured(near, BLUE) == coloured(far, BLUE)).all()


def test_points_of_one_dimension_are_histograms_and_of_many_the_first_two() -> None:
    """Whatever else points have, their first two dimensions decide where they are drawn."""
    line = plot_points(np.array([[0.0], [1.0]], np.float32), np.array([[0.25]] * 3 + [[0.75]], np.float32))
    blue = coloured(line, BLUE)
    low, high = np.argwhere(blue.any(axis=0))[[0, -1], 0]
    heights = [blue.shape[0] - np.argwhere(blue[:, column])[0, 0] for column in (low + 1, high - 1)]
    assert heights[0] > 1.5 * heights[1]  # three of four points, and one
    rows = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    others = rows.copy()
    others[:, :, 2:] += 100
    assert (plot_points(*rows) == plot_points(*others)).all()
    others[1, :, :2] = rows[0].mean(axis=0)[:2]
    assert not (plot_points(*rows) == plot_points(*others)).all()


def test_unknown_real_points_are_not_drawn() -> None:
    picture = plot_points(None, CORNERS)
    assert coloured(picture, BLUE).any()
    assert not coloured(picture, ORANGE).any()


def test_dimensions_of_another_scale_fill_the_drawing() -> None:
    wide = np.array([[0, 0], [1000, 0], [0, 0.001], [1000, 0.001]], np.float32)
    marks = np.argwhere(coloured(plot_points(wide, wide), BLUE))
    assert (np.ptp(marks, axis=0) > 350).all()
