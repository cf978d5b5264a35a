"""Pictures, pixel by pixel where it matters: grids, and points in the plane with levels and paths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid, save_image

from wgan_dist.utils.images import POINTS_DRAWN, ImageGallery, PointGallery, grid, plane, to_image

# matplotlib's colours of the real points, of the generated ones, and of paths at 70 % over white.
ORANGE, BLUE, GREEN = (255, 127, 14), (31, 119, 180), (107, 189, 107)
# The legend above the plane has a sign of each kind.
LEGEND_ROWS = 50
CORNERS = np.array([[0, 0], [2, 0], [0, 1], [2, 1]], np.float32)


def coloured(picture: Tensor, colour: tuple[int, int, int], near: float = 30.0) -> NDArray[np.bool_]:
    """Which pixels below the legend are of about a colour: [height, width]."""
    distances = np.linalg.norm(picture.permute(1, 2, 0).numpy() * 255 - colour, axis=2)
    distances[:LEGEND_ROWS] = np.inf
    close: NDArray[np.bool_] = distances < near
    return close


def centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Column and row of the middle of what is marked."""
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)[::-1]


def places(real: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 2 × 3 matrix from (x, y, 1) to column and row, found by drawing the extremes of `real` alone."""
    low, high = real.min(axis=0), real.max(axis=0)
    marks = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]]], np.float32)
    found = [centre(coloured(plane(real, mark[None]), BLUE)) for mark in marks]
    solved: NDArray[np.float64] = np.linalg.solve(np.column_stack([marks, np.ones(3)]), np.stack(found)).T
    return solved


def test_a_grid_is_about_square_row_by_row_between_black_and_white() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, -0.5, 5.0]).view(5, 1, 1, 1).expand(5, 1, 3, 4)
    picture = grid(images)
    # Two columns, three rows, two dark pixels around each image.
    assert picture.shape == (3, 3 * (3 + 2) + 2, 2 * (4 + 2) + 2)
    cells = picture[0, 2::5, 2::6]
    assert cells[:3, :2].tolist() == [[0.0, 0.5], [1.0, 0.25], [1.0, 0.0]]
    assert not picture[:, :2].any()
    assert not picture[:, :, 6:8].any()


@pytest.mark.parametrize(("count", "channels"), [(2, 3), (5, 1), (64, 3), (7, 4)])
def test_grids_and_their_files_are_torchvisions(count: int, channels: int, tmp_path: Path) -> None:
    images = torch.randint(-10, 521, (count, channels, 5, 4)) / 255.0 - 1.0  # whole and half levels, and beyond
    theirs = make_grid(images, round(count**0.5), normalize=True, value_range=(-1, 1))
    assert torch.equal(grid(images), theirs)
    save_image(theirs, tmp_path / "theirs.png")
    with Image.open(tmp_path / "theirs.png") as file:
        assert (np.asarray(to_image(theirs)) == np.asarray(file)).all()


def test_a_grid_shows_what_is_not_a_number_as_grey() -> None:
    picture = grid(torch.full((1, 3, 2, 2), float("nan")))
    assert picture[:, 2:4, 2:4].tolist() == [[[0.5, 0.5]] * 2] * 3


def test_images_are_shown_as_a_grid() -> None:
    images = torch.rand(9, 3, 4, 4) * 2 - 1
    gallery = ImageGallery(9)
    assert gallery.count == 9
    assert torch.equal(gallery.picture("raw", 1, images, lambda samples: samples), grid(images))


def test_generated_points_are_blue_where_they_are_among_the_real_ones() -> None:
    matrix = places(CORNERS)
    assert matrix[0, 0] > 100  # columns go with x, rows against y, at one scale
    assert matrix[1, 1] == pytest.approx(-matrix[0, 0], rel=0.01)
    assert [matrix[0, 1], matrix[1, 0]] == pytest.approx([0, 0], abs=1)
    for place in ([0.5, 0.75], [1.9, 0.1], [1.0, 0.5]):
        picture = plane(CORNERS, np.array([place], np.float32))
        assert picture.shape == (3, 600, 600)
        assert 0 <= picture.min() < picture.max() <= 1
        assert centre(coloured(picture, BLUE)) == pytest.approx(matrix @ [*place, 1], abs=1.5)
        for corner in CORNERS:
            column, row = np.rint(matrix @ [*corner, 1]).astype(int)
            assert coloured(picture, ORANGE)[row, column]


def test_generated_points_far_away_do_not_shrink_the_plane() -> None:
    near = plane(CORNERS, np.array([[1.0, 0.5]], np.float32))
    far = plane(CORNERS, np.array([[1.0, 0.5], [1000.0, 1000.0], [3.4e38, 0.0]], np.float32))
    assert (coloured(near, BLUE) == coloured(far, BLUE)).all()


def constant(samples: Tensor) -> Tensor:
    return torch.zeros(len(samples))


def gallery_in(folder: Path) -> PointGallery:
    folder.mkdir(exist_ok=True)
    return PointGallery(CORNERS, folder)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_critics_levels_run_across_the_direction_in_which_its_scores_grow(axis: int, tmp_path: Path) -> None:
    samples = torch.tensor([[1.0, 0.5]])
    picture = gallery_in(tmp_path / "levels").picture("raw", 1, samples, lambda points: 3.0 * points[:, axis])
    without = gallery_in(tmp_path / "none").picture("raw", 1, samples, constant)
    drawn = (picture != without).any(dim=0).float()
    columns, rows = drawn.mean(dim=0), drawn.mean(dim=1)
    lines, others = (columns, rows) if axis == 0 else (rows, columns)
    # Twenty straight lines, each from one side of the plane to the other.
    assert lines.max() > 0.9 * drawn.any(dim=1 - axis).float().mean()
    assert 15 <= (lines > 0.3).sum() <= 60
    assert others.max() < 0.2


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_scores_and_samples_without_any_shape_are_drawn_all_the_same(value: float, tmp_path: Path) -> None:
    picture = gallery_in(tmp_path).picture("raw", 1, torch.full((3, 2), value), lambda p: torch.full((len(p),), value))
    assert torch.isfinite(picture).all()


def test_a_picture_of_points_leaves_the_samples_behind(tmp_path: Path) -> None:
    samples = torch.rand(POINTS_DRAWN, 2, dtype=torch.float64)
    gallery = gallery_in(tmp_path)
    gallery.picture("ema", 7, samples, constant)
    assert gallery.count == POINTS_DRAWN
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007-ema.npy"]
    assert (np.load(tmp_path / "step-00000007-ema.npy") == samples.float().numpy()).all()


# Where one point is at each step: along the lower side, up, and back.
WAY = {2: [0.2, 0.2], 4: [1.8, 0.2], 6: [1.8, 0.8]}


def draw_way(gallery: PointGallery, kind: str, *steps: int) -> Tensor:
    """The last of the pictures drawn at the steps."""
    return [gallery.picture(kind, step, torch.tensor([WAY[step]]), constant) for step in steps][-1]


def test_a_path_goes_through_every_picture_so_far_and_no_later_one(tmp_path: Path) -> None:
    matrix, gallery = places(CORNERS), gallery_in(tmp_path)

    def is_green(picture: Tensor, x: float, y: float) -> bool:
        column, row = np.rint(matrix @ [x, y, 1]).astype(int)
        return bool(coloured(picture, GREEN, 60.0)[row - 2 : row + 3, column - 2 : column + 3].any())

    first, second, third = (draw_way(gallery, "raw", step) for step in (2, 4, 6))
    assert [is_green(picture, 1.0, 0.2) for picture in (first, second, third)] == [False, True, True]
    assert [is_green(picture, 1.8, 0.5) for picture in (first, second, third)] == [False, False, True]
    # A run that goes on from step 2 knows nothing of the future it left.
    assert torch.equal(draw_way(gallery, "raw", 4), second)
    assert torch.equal(draw_way(gallery, "raw", 6), third)


def test_the_paths_of_the_last_and_the_averaged_weights_are_apart(tmp_path: Path) -> None:
    alone = draw_way(gallery_in(tmp_path / "alone"), "ema", 4)
    together = gallery_in(tmp_path / "together")
    draw_way(together, "raw", 2)
    assert torch.equal(draw_way(together, "ema", 4), alone)


def test_the_paths_are_of_the_first_twenty_points(tmp_path: Path) -> None:
    def last_picture(folder: Path, moving: int) -> Tensor:
        gallery, start = gallery_in(folder), torch.full((30, 2), 0.2)
        start[moving] = torch.tensor([1.8, 0.8])
        gallery.picture("raw", 1, start, constant)
        return gallery.picture("raw", 2, torch.full((30, 2), 0.2), constant)

    still = last_picture(tmp_path / "still", 29)
    assert not coloured(still, GREEN, 60.0).any()
    assert coloured(last_picture(tmp_path / "moving", 19), GREEN, 60.0).sum() > 100
