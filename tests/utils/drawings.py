"""Measurements on pictures of points in the plane."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.utils.images import plot_points

# matplotlib's colours of the real points, of the generated ones, and of paths at 70 % over white.
ORANGE, BLUE, GREEN = (255, 127, 14), (31, 119, 180), (107, 189, 107)
# The legend above the plane shows both colours too.
LEGEND_ROWS = 50
CORNERS = np.array([[0, 0], [2, 0], [0, 1], [2, 1]], np.float32)


def coloured(picture: Tensor, colour: tuple[int, int, int], near: float = 30.0) -> NDArray[np.bool_]:
    """Return which pixels below the legend have about this colour: [height, width]."""
    distances = np.linalg.norm(picture.permute(1, 2, 0).numpy().astype(np.float64) - colour, axis=2)
    distances[:LEGEND_ROWS] = np.inf
    close: NDArray[np.bool_] = distances < near
    return close


def centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean column and row of the marked pixels."""
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)[::-1]


def to_pixels(real: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the 2 × 3 matrix from (x, y, 1) to column and row, found by drawing the extremes of `real` alone."""
    low, high = real.min(axis=0), real.max(axis=0)
    marks = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]]], np.float32)
    centres = [centre(coloured(plot_points(real, mark[None]), BLUE)) for mark in marks]
    solved: NDArray[np.float64] = np.linalg.solve(np.column_stack([marks, np.ones(3)]), np.stack(centres)).T
    return solved
