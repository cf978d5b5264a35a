"""What a run's samples look like: a grid of images, or points in the plane over the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

from wgan_dist.utils.files import atomic_file

POINTS_DRAWN, PATHS_DRAWN = 1000, 20
LEVELS, LEVEL_PLACES, MARGIN = 20, 100, 0.25
SIDE_INCHES, DOTS_PER_INCH = 6.0, 100
LABEL_HEIGHT, LABEL_SIZE = 20, 13
GAP = 2

Score = Callable[[Tensor], Tensor]
Levels = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [−1, 1] to uint8 in 0…255, rounded to nearest, ties to even; values beyond are clipped."""
    return ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)


def grid(images: Tensor, columns: int = 0) -> Tensor:
    """Images [n, c, h, w] in [−1, 1] as one picture [3, …] in [0, 1], of RGBA [4, …], about as wide as high.

    Two dark pixels around each, as torchvision's make_grid, which with what it imports takes 200 MB of every run.
    """
    count, channels, height, width = images.shape
    channels = max(3, channels)
    columns = columns or round(count**0.5)
    rows = math.ceil(count / columns)
    cells = torch.zeros(rows * columns, channels, height + GAP, width + GAP)
    cells[:count, :, GAP:, GAP:] = (images.float().nan_to_num().clamp(-1.0, 1.0) + 1.0) / 2.0
    cells = cells.view(rows, columns, *cells.shape[1:]).permute(2, 0, 3, 1, 4)
    return pad(cells.reshape(channels, rows * (height + GAP), -1), (0, GAP, 0, GAP))


def to_image(picture: Tensor) -> Image.Image:
    """A picture [3 or 4, height, width] in [0, 1], rounded to nearest, as torchvision's save_image."""
    levels = (picture * 255.0).add_(0.5).clamp_(0.0, 255.0)
    return Image.fromarray(levels.permute(1, 2, 0).to(torch.uint8).numpy())


def labelled(picture: Image.Image, words: str) -> Image.Image:
    """The picture under a line of words, and as wide as these at least."""
    font = ImageFont.load_default(LABEL_SIZE)
    width = max(picture.width, round(font.getlength(words)) + 8)
    taller = Image.new(picture.mode, (width, picture.height + LABEL_HEIGHT), "white")
    taller.paste(picture, (0, LABEL_HEIGHT))
    ImageDraw.Draw(taller).text((4, 2), words, "black", font)
    return taller


def write_gif(frames: list[Image.Image], path: Path, milliseconds: int) -> None:
    """Pictures of one size as an endless animation."""
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)


def plane(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    levels: Levels | None = None,
    paths: NDArray[np.float32] | None = None,
) -> Tensor:
    """Points [n, 2] over real ones, as a picture [3, height, width] in [0, 1].

    `levels` are x [w], y [h] and the critic's scores [h, w], drawn as contours; `paths` [times, k, 2] is the way of k
    points through training.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # as long to import as it is seldom needed
    from matplotlib.figure import Figure

    figure = Figure((SIDE_INCHES, SIDE_INCHES), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    if levels is not None:
        axes.contour(*levels, levels=LEVELS, cmap="Greys", linewidths=0.6)
    if paths is not None:
        axes.plot(paths[:, :, 0], paths[:, :, 1], color="tab:green", linewidth=0.6, alpha=0.7)
    for points, color, label in ((real, "tab:orange", "real"), (fake, "tab:blue", "generated")):
        axes.scatter(points[:, 0], points[:, 1], s=6, color=color, label=label, linewidths=0)
    low, high = real.min(axis=0) - MARGIN, real.max(axis=0) + MARGIN
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255.0


@dataclass(frozen=True)
class ImageGallery:
    """Pictures of image data."""

    count: int

    def picture(self, kind: str, step: int, samples: Tensor, critic: Score) -> Tensor:
        """Of samples [n, c, h, w]: [3 or 4, height, width] in [0, 1]."""
        return grid(samples)


@dataclass(frozen=True)
class PointGallery:
    """Pictures of points; `folder` keeps the samples of each, from which the generator's path in time is drawn."""

    real: NDArray[np.float32]
    folder: Path
    count: int = POINTS_DRAWN

    def picture(self, kind: str, step: int, samples: Tensor, critic: Score) -> Tensor:
        """Of samples [n, 2], over real points, the critic's levels and the way here: [3, height, width] in [0, 1]."""
        fake = samples.float().nan_to_num().cpu().numpy()
        with atomic_file(self.folder / f"step-{step:08d}-{kind}.npy") as partial, partial.open("wb") as file:
            np.save(file, fake, allow_pickle=False)
        return plane(self.real[: self.count], fake, self._levels(samples, critic), self._paths(kind, step))

    def _levels(self, samples: Tensor, critic: Score) -> Levels:
        low, high = self.real.min(axis=0) - MARGIN, self.real.max(axis=0) + MARGIN
        x, y = (np.linspace(low[axis], high[axis], LEVEL_PLACES, dtype=np.float32) for axis in (0, 1))
        places = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).to(samples)
        scores = critic(places).float().nan_to_num().cpu().numpy()
        return x, y, scores.reshape(LEVEL_PLACES, LEVEL_PLACES)

    def _paths(self, kind: str, step: int) -> NDArray[np.float32]:
        """Where the first points were at each picture so far: [times, k, 2]. Later files are of an abandoned future."""
        files = sorted(self.folder.glob(f"step-*-{kind}.npy"))
        past = [file for file in files if int(file.name.split("-")[1]) <= step]
        return np.stack([np.load(file, allow_pickle=False)[:PATHS_DRAWN] for file in past])
