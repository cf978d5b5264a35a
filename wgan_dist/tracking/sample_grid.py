"""Pictures of a run's samples from fixed noise: a grid of images, or points over the data."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.utils.files import MAX_TEXT_BYTES, atomic_file, read_file
from wgan_dist.utils.images import Contours, bounds, grid, plot_points, with_row_names

POINTS_DRAWN, PATHS_DRAWN = 1000, 20
CONTOUR_RESOLUTION = 100
# The most classes that a grid of samples has a row for.
CLASSES_DRAWN = 20
_FILE_NAME = re.compile(r"step-([0-9]+)-(?:ema|raw)\.npy")


@dataclass(frozen=True)
class ImageSampleGrid:
    """Draws generated images; `count` is the number that a picture shows, and `classes` name its rows, if any."""

    count: int
    classes: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """The number of images of each class."""
        return max(2, self.count // len(self.classes))

    def picture(self, weights: str, step: int, samples: Tensor, critic: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw samples [n, c, h, w] as a picture uint8 [3 or 4, height, width], with classes a row for each one."""
        return with_row_names(grid(samples, self.columns), self.classes) if self.classes else grid(samples)


def _read_points(file: Path, dimensions: int) -> NDArray[np.float32] | None:
    """Return the first points of a picture, [k, dimensions], or None for a file that is damaged or none of ours."""
    try:
        points = np.load(io.BytesIO(read_file(file, MAX_TEXT_BYTES)), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return points[:PATHS_DRAWN] if points.dtype == np.float32 and points.shape[1:] == (dimensions,) else None


@dataclass(frozen=True)
class PointSampleGrid:
    """Draws generated points over real ones: histograms of one dimension, or the first two of more.

    `folder` keeps the samples of every picture, from which the paths of the generated points are drawn; `count` is the
    number of points that a picture shows.
    """

    real: NDArray[np.float32]
    folder: Path
    count: int = POINTS_DRAWN

    def picture(self, weights: str, step: int, samples: Tensor, critic: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw samples [n, d] of the `raw` or `ema` weights as a picture uint8 [3, height, width].

        The picture shows them over real points, from two dimensions on with the samples' paths so far, and in two
        dimensions with level lines of the critic's scores.
        """
        fake = samples.float().nan_to_num().cpu().numpy()
        with atomic_file(self.folder / f"step-{step:08d}-{weights}.npy") as partial, partial.open("wb") as file:
            np.save(file, fake, allow_pickle=False)
        contours = self._contours(samples, critic) if self._dimensions == 2 else None
        return plot_points(self.real, fake, contours, self._paths(weights, step))

    @property
    def _dimensions(self) -> int:
        return int(self.real.shape[1])

    def _contours(self, samples: Tensor, critic: Callable[[Tensor], Tensor]) -> Contours:
        low, high = bounds(self.real)
        x, y = np.linspace(low, high, CONTOUR_RESOLUTION, axis=1, dtype=np.float32)
        positions = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).to(samples)
        scores = critic(positions).float().nan_to_num().cpu().numpy()
        return x, y, scores.reshape(CONTOUR_RESOLUTION, CONTOUR_RESOLUTION)

    def _paths(self, weights: str, step: int) -> NDArray[np.float32]:
        """Return the first samples of every picture up to `step`, [times, k, d].

        Files of later steps are left from before the run was resumed.
        """
        files = sorted(self.folder.glob(f"step-*-{weights}.npy"))
        past = [file for file in files if (name := _FILE_NAME.fullmatch(file.name)) and int(name[1]) <= step]
        read = [points for points in (_read_points(file, self._dimensions) for file in past) if points is not None]
        newest = len(read[-1]) if read else 0
        return np.stack([points for points in read if len(points) == newest])
