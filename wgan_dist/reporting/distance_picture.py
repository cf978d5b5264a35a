"""A picture of what the critic of a distance looks at."""

import io

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from wgan_dist.evaluation.lipschitz_distance import Fold
from wgan_dist.utils.images import bounds, grid

DOTS_PER_INCH, INCHES = 120, 6.4
# The level lines of a critic, points of each set, bins of a histogram, and images of a row.
LEVELS, RESOLUTION, POINTS, BINS, IMAGES = 15, 100, 1000, 40, 10
MAX_NAME = 20
# Images whose gradients are averaged.
GRADIENTS = 200
COLOURS = ("tab:orange", "tab:blue")


def _short(name: str) -> str:
    """Return the last part of a path, cut off where it is long, as matplotlib shows it literally.

    It reads what is between dollar signs as a formula, and leaves labels that begin with _ out of a legend.
    """
    last = name.rstrip("/").rpartition("/")[2]
    shown = last if len(last) <= MAX_NAME else f"{last[: MAX_NAME - 1]}…"
    return f"{' ' if shown.startswith('_') else ''}{shown}".replace("$", r"\$")


def _draw_plane(figure: Figure, fold: Fold, names: tuple[str, str]) -> None:
    """Draw the level lines of the critic with the points of two dimensions that it did not see."""
    low, high = bounds(torch.cat(fold.samples).numpy())
    sides = [np.linspace(low[axis], high[axis], RESOLUTION, dtype=np.float32) for axis in (0, 1)]
    plane = np.stack(np.meshgrid(*sides), axis=-1)
    scores = fold.critic.scores(torch.from_numpy(plane.reshape(-1, 2))).reshape(RESOLUTION, RESOLUTION)
    axes = figure.add_subplot()
    lines = axes.contour(*sides, scores, levels=LEVELS, cmap="Greys", linewidths=0.8)
    axes.clabel(lines, fontsize=7)
    for points, colour, name in zip(fold.samples, COLOURS, names, strict=True):
        axes.scatter(
            points[:POINTS, 0].numpy(), points[:POINTS, 1].numpy(), s=6, color=colour, label=name, linewidths=0
        )
    axes.set(title="level lines of the critic's score")


def _draw_scores(figure: Figure, fold: Fold, names: tuple[str, str]) -> None:
    """Draw histograms of the scores of the points that the critic did not see."""
    axes, scores = figure.add_subplot(), np.concatenate([fold.first, fold.second])
    limits = float(scores.min()), float(scores.max())
    for each, colour, name in zip((fold.first, fold.second), COLOURS, names, strict=True):
        shares = np.full(len(each), 1.0 / len(each))
        axes.hist(each, BINS, range=limits, weights=shares, histtype="step", color=colour, label=name)
    axes.set(xlabel="score of the critic", ylabel="share of the points")


def _mean_gradient(fold: Fold) -> Tensor:
    """Return the mean size of the critic's gradient at each pixel, [h, w], over unseen images of both sets."""
    images = torch.cat([samples[:GRADIENTS] for samples in fold.samples]).to(fold.critic.centre.device)
    images = images.requires_grad_()
    (gradient,) = torch.autograd.grad(fold.critic(images).sum(), images)
    return gradient.square().sum(1).sqrt().mean(0).cpu()


def _draw_images(figure: Figure, fold: Fold, names: tuple[str, str]) -> None:
    """Draw the unseen images of each set with the highest and the lowest scores, and the mean gradient."""
    rows, labels = [], []
    for samples, scores, name in zip(fold.samples, (fold.first, fold.second), names, strict=True):
        order = np.argsort(-scores, kind="stable")
        count = min(IMAGES, len(order))
        rows += [samples[torch.from_numpy(order[:count].copy())], samples[torch.from_numpy(order[-count:].copy())]]
        labels += [f"{name}\nhighest", f"{name}\nlowest"]
    count = min(map(len, rows))
    picture = grid(torch.cat([row[:count] for row in rows]), count)
    images, gradient = figure.subplots(2)
    images.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    height = picture.shape[1] / len(rows)
    images.set(xticks=[], yticks=[(number + 0.5) * height for number in range(len(rows))], yticklabels=labels)
    shown = gradient.imshow(_mean_gradient(fold).numpy(), cmap="magma", interpolation="nearest")
    gradient.set(title="mean size of the score's gradient at each pixel", xticks=[], yticks=[])
    figure.colorbar(shown, ax=gradient)


@matplotlib.style.context("default")  # matplotlib reads a matplotlibrc of the working folder
def draw_fold(fold: Fold, names: tuple[str, str]) -> bytes:
    """Draw what a critic sees in the samples that it was not trained on; the content of a PNG file.

    Points of two dimensions are drawn with the level lines of the critic, points of other dimensions as histograms of
    their scores. Of images, those with the highest and the lowest scores of each set are drawn, and where a change of a
    pixel changes the score most.
    """
    dimensions = fold.samples[0].shape[1:]
    names = _short(names[0]), _short(names[1])
    figure = Figure((INCHES, INCHES), DOTS_PER_INCH, layout="constrained")
    if len(dimensions) > 1:
        _draw_images(figure, fold, names)
    else:
        (_draw_plane if dimensions == (2,) else _draw_scores)(figure, fold, names)
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    return content.getvalue()
