"""Image conversions and drawings: levels from and to [−1, 1], grids, enlarging, labels, animations and points."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

FIGURE_INCHES, DOTS_PER_INCH = 6.0, 100
CONTOURS, MARGIN, BINS = 20, 0.1, 100
# The two axes of a drawing of points have one scale unless their ranges differ by more than this factor.
MOST_UNEQUAL = 4.0
LABEL_HEIGHT, LABEL_SIZE = 20, 13
# Names of rows: the smallest text, the space around it, and the most characters.
LEAST_TEXT, MARGIN_OF_TEXT, NAME_LENGTH = 7, 4, 24
GAP = 2
# Pictures that people look at are at least this wide.
MIN_WIDTH = 512

# Coordinates x [w] and y [h], and the critic's scores [h, w] there.
Contours = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
# Points [n, d], their colour and their name.
PointSets = list[tuple[NDArray[np.float32], str, str]]


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [−1, 1] to uint8 in 0…255, rounded to nearest, ties to even; values beyond are clipped."""
    return ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)


def as_uint8(images: Tensor) -> Tensor:
    """Return images in uint8 as they are, and others in [−1, 1] converted to it."""
    return images if images.dtype == torch.uint8 else to_uint8(images)


def from_uint8(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert uint8 in 0…255 to `dtype` in [−1, 1]."""
    return pixels.to(dtype).div_(127.5).sub_(1.0)


def shown_channels(channels: int) -> int:
    """Return how many channels of an image a picture shows: the first one or three, or four as RGBA."""
    return channels if channels in (1, 3, 4) else 1 if channels < 3 else 3


def grid(images: Tensor, columns: int = 0) -> Tensor:
    """Arrange images [n, c, h, w] in [−1, 1] in one picture uint8 [3, height, width], roughly square without `columns`.

    RGBA images give [4, height, width], and of other numbers of channels the first one or three are shown. Two dark
    pixels surround each image, as in torchvision's make_grid, whose import costs 200 MB of memory. NaN is shown as
    grey.
    """
    images = images[:, : shown_channels(images.shape[1])]
    count, channels, height, width = images.shape
    channels = max(3, channels)
    columns = columns or round(count**0.5)
    rows = math.ceil(count / columns)
    cells = torch.zeros(rows * columns, channels, height + GAP, width + GAP, dtype=torch.uint8)
    cells[:count, :, GAP:, GAP:] = to_uint8(images.float().nan_to_num())
    cells = cells.view(rows, columns, *cells.shape[1:]).permute(2, 0, 3, 1, 4)
    return pad(cells.reshape(channels, rows * (height + GAP), -1), (0, GAP, 0, GAP))


def to_image(picture: Tensor) -> Image.Image:
    """Convert a picture uint8 [3 or 4, height, width] to a Pillow image."""
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def enlarged(picture: Image.Image, scale: int | None = None) -> Image.Image:
    """Repeat each pixel `scale` times in both directions.

    Without `scale`, the picture becomes at least 512 pixels wide by the smallest whole factor; a wider one stays as it
    is.
    """
    scale = scale or math.ceil(MIN_WIDTH / picture.width)
    return picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)


def labelled(picture: Image.Image, label: str) -> Image.Image:
    """Return the picture below a line of text, widened where the text is wider."""
    font = ImageFont.load_default(LABEL_SIZE)
    width = max(picture.width, round(font.getlength(label)) + 8)
    taller = Image.new(picture.mode, (width, picture.height + LABEL_HEIGHT), "white")
    taller.paste(picture, (0, LABEL_HEIGHT))
    ImageDraw.Draw(taller).text((4, 2), label, "black", font)
    return taller


def with_row_names(picture: Tensor, names: Sequence[str]) -> Tensor:
    """Return a grid uint8 [3 or 4, height, width] to the right of the names of its rows."""
    rows = to_image(picture)
    height = (rows.height - GAP) // len(names)
    font = ImageFont.load_default(max(LEAST_TEXT, min(LABEL_SIZE, height - GAP)))
    short = [name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…" for name in names]
    margin = round(max(map(font.getlength, short))) + 2 * MARGIN_OF_TEXT
    image = Image.new(rows.mode, (margin + rows.width, rows.height), "white")
    image.paste(rows, (margin, 0))
    for number, name in enumerate(short):
        position = MARGIN_OF_TEXT, number * height + GAP + height // 2
        ImageDraw.Draw(image).text(position, name, "black", font, anchor="lm")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def write_gif(frames: list[Image.Image], path: Path, milliseconds: int) -> None:
    """Write pictures of one size as an endless animation that shows each for `milliseconds`."""
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)


def bounds(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lower and the upper bound of each dimension [d] of the part of space that shows points [n, d]."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, MARGIN * (high - low), np.float32(1.0))
    return low - margin, high + margin


def plot_points(
    real: NDArray[np.float32] | None,
    fake: NDArray[np.float32],
    contours: Contours | None = None,
    paths: NDArray[np.float32] | None = None,
) -> Tensor:
    """Draw generated points [n, d] over real ones, if these are known, as a picture uint8 [3, height, width].

    Points of one dimension are drawn as histograms, and of more than two dimensions the first two are shown. `contours`
    are the critic's scores of points of two dimensions, drawn as level lines; `paths` [times, k, d] are the positions
    of k points in the course of training.
    """
    from matplotlib import style  # slow to import and seldom needed

    with style.context("default"):  # matplotlib reads a matplotlibrc of the working folder
        return _plot_points(real, fake, contours, paths)


def _draw_histograms(axes: Any, sets: PointSets, low: float, high: float) -> None:
    """Draw the distribution of each set of points [n, 1] between two values."""
    for points, color, label in sets:
        shares = np.full(len(points), 1.0 / len(points))
        axes.hist(points[:, 0], BINS, range=(low, high), weights=shares, histtype="step", color=color, label=label)
    axes.set(xlabel="value", ylabel="share of the points", xlim=(low, high))


def _draw_plane(axes: Any, sets: PointSets, contours: Contours | None, paths: NDArray[np.float32] | None) -> None:
    """Draw the first two dimensions of each set of points."""
    if contours is not None:
        axes.contour(*contours, levels=CONTOURS, cmap="Greys", linewidths=0.6)
    if paths is not None:
        axes.plot(paths[:, :, 0], paths[:, :, 1], color="tab:green", linewidth=0.6, alpha=0.7)
    for points, color, label in sets:
        axes.scatter(points[:, 0], points[:, 1], s=6, color=color, label=label, linewidths=0)


def _plot_points(
    real: NDArray[np.float32] | None,
    fake: NDArray[np.float32],
    contours: Contours | None,
    paths: NDArray[np.float32] | None,
) -> Tensor:
    from matplotlib.figure import Figure

    figure = Figure((FIGURE_INCHES, FIGURE_INCHES), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    low, high = (bound.tolist() for bound in bounds(fake if real is None else real))
    sets = [(real, "tab:orange", "real")] if real is not None else []
    sets.append((fake, "tab:blue", "generated"))
    if fake.shape[1] == 1:
        _draw_histograms(axes, sets, low[0], high[0])
    else:
        _draw_plane(axes, sets, contours, paths)
        widths = [high[axis] - low[axis] for axis in (0, 1)]
        is_equal = max(widths) <= MOST_UNEQUAL * min(widths)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal" if is_equal else "auto")
    if fake.shape[1] > 2:
        axes.set(xlabel=f"dimension 1 of {fake.shape[1]}", ylabel=f"dimension 2 of {fake.shape[1]}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).permute(2, 0, 1)
