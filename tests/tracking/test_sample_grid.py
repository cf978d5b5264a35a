"""Sample grids: images, and points in the plane with level lines and paths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.utils.drawings import CORNERS, GREEN, coloured, to_pixels
from wgan_dist.tracking.sample_grid import POINTS_DRAWN, ImageSampleGrid, PointSampleGrid
from wgan_dist.utils.images import grid


def constant(samples: Tensor) -> Tensor:
    return torch.zeros(len(samples))


def points_in(folder: Path) -> PointSampleGrid:
    folder.mkdir(exist_ok=True)
    return PointSampleGrid(CORNERS, folder)


def test_images_are_shown_as_a_grid() -> None:
    images = torch.rand(9, 3, 4, 4) * 2 - 1
    sample_grid = ImageSampleGrid(9)
    assert sample_grid.count == 9
    assert torch.equal(sample_grid.picture("raw", 1, images, constant), grid(images))


@pytest.mark.parametrize("axis", [0, 1])
def test_the_critics_level_lines_run_across_the_direction_in_which_its_scores_grow(axis: int, tmp_path: Path) -> None:
    samples = torch.tensor([[1.0, 0.5]])
    picture = points_in(tmp_path / "lines").picture("raw", 1, samples, lambda points: 3.0 * points[:, axis])
    without = points_in(tmp_path / "none").picture("raw", 1, samples, constant)
    drawn = (picture != without).any(dim=0).float()
    columns, rows = drawn.mean(dim=0), drawn.mean(dim=1)
    lines, others = (columns, rows) if axis == 0 else (rows, columns)
    # Twenty straight lines, each from one side of the plane to the other.
    assert lines.max() > 0.9 * drawn.any(dim=1 - axis).float().mean()
    assert 15 <= (lines > 0.3).sum() <= 60
    assert others.max() < 0.2


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_equal_or_undefined_scores_and_samples_are_drawn_too(value: float, tmp_path: Path) -> None:
    picture = points_in(tmp_path).picture("raw", 1, torch.full((3, 2), value), lambda p: torch.full((len(p),), value))
    assert picture.dtype == torch.uint8


def test_a_picture_of_points_keeps_the_samples(tmp_path: Path) -> None:
    samples = torch.rand(POINTS_DRAWN, 2, dtype=torch.float64)
    sample_grid = points_in(tmp_path)
    sample_grid.picture("ema", 7, samples, constant)
    assert sample_grid.count == POINTS_DRAWN
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007-ema.npy"]
    assert (np.load(tmp_path / "step-00000007-ema.npy") == samples.float().numpy()).all()


# The position of one point at each step: along the lower side, then up.
PATH = {2: [0.2, 0.2], 4: [1.8, 0.2], 6: [1.8, 0.8]}


def draw_path(sample_grid: PointSampleGrid, weights: str, *steps: int) -> Tensor:
    """Return the last of the pictures drawn at the steps."""
    return [sample_grid.picture(weights, step, torch.tensor([PATH[step]]), constant) for step in steps][-1]


def test_a_path_goes_through_every_picture_so_far_and_no_later_one(tmp_path: Path) -> None:
    matrix, sample_grid = to_pixels(CORNERS), points_in(tmp_path)

    def is_green(picture: Tensor, x: float, y: float) -> bool:
        column, row = np.rint(matrix @ [x, y, 1]).astype(int)
        return bool(coloured(picture, GREEN, 60.0)[row - 2 : row + 3, column - 2 : column + 3].any())

    first, second, third = (draw_path(sample_grid, "raw", step) for step in (2, 4, 6))
    assert [is_green(picture, 1.0, 0.2) for picture in (first, second, third)] == [False, True, True]
    assert [is_green(picture, 1.8, 0.5) for picture in (first, second, third)] == [False, False, True]
    # A run that is resumed from step 2 ignores the pictures of later steps.
    assert torch.equal(draw_path(sample_grid, "raw", 4), second)
    assert torch.equal(draw_path(sample_grid, "raw", 6), third)


def test_the_paths_of_the_last_and_the_averaged_weights_are_separate(tmp_path: Path) -> None:
    alone = draw_path(points_in(tmp_path / "alone"), "ema", 4)
    together = points_in(tmp_path / "together")
    draw_path(together, "raw", 2)
    assert torch.equal(draw_path(together, "ema", 4), alone)


def test_files_of_other_names_are_no_part_of_a_path(tmp_path: Path) -> None:
    expected = draw_path(points_in(tmp_path / "alone"), "ema", 2)
    sample_grid = points_in(tmp_path / "beside")
    (tmp_path / "beside").mkdir(exist_ok=True)
    for name in ("step-x-ema.npy", "step-0_1-ema.npy", "step-1-copy-ema.npy", "step--ema.npy"):
        (tmp_path / "beside" / name).write_bytes(b"nothing of the kind")
    assert torch.equal(draw_path(sample_grid, "ema", 2), expected)


def test_the_paths_are_of_the_first_twenty_points(tmp_path: Path) -> None:
    def last_picture(folder: Path, moving: int) -> Tensor:
        sample_grid, start = points_in(folder), torch.full((30, 2), 0.2)
        start[moving] = torch.tensor([1.8, 0.8])
        sample_grid.picture("raw", 1, start, constant)
        return sample_grid.picture("raw", 2, torch.full((30, 2), 0.2), constant)

    still = last_picture(tmp_path / "still", 29)
    assert not coloured(still, GREEN, 60.0).any()
    assert coloured(last_picture(tmp_path / "moving", 19), GREEN, 60.0).sum() > 100
