"""Differentiable augmentation of the critic's inputs (DiffAugment; Zhao et al. 2020).

Given what is drawn for it, every operation is affine in the image, so that none has a second derivative.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_dist.config.config import AUGMENT_POLICY

RGB = 3
# The operations are applied in the groups of AUGMENT_POLICY, each with a probability.
GROUPS = len(AUGMENT_POLICY)
# U[0, 1) numbers for each image: whether each group is applied, then brightness, saturation and contrast, the shifts
# down and to the right, and the vertical and horizontal place of the cutout.
DRAWS = GROUPS + 7
# The paper's ranges: the greatest shift and the sides of the cutout are these shares of the image's sides.
MAX_SHIFT, CUTOUT = 1 / 8, 1 / 2


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of a batch: of its real images, its generated images and the points of the penalty.

    Attributes:
        draws: Numbers U[0, 1) [n, DRAWS], in the precision in which the images are augmented.
        probabilities: The probability with which each group of operations is applied to an image, in [0, 1], a tensor
            [GROUPS] on the device, so that its values can change under a compiled step.
    """

    draws: Tensor
    probabilities: Tensor


def augment(images: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Return images [m, c, h, w] in [−1, 1] with colour, translation and cutout applied in this order.

    m is a multiple of the n rows of `augmentation`, which are repeated. Brightness and contrast are those of an image,
    over all its channels; saturation changes images of three channels only. What a translation uncovers, and a cutout,
    is 0, which is grey.
    """
    if augmentation is None:
        return images
    draws = augmentation.draws.repeat(len(images) // len(augmentation.draws), 1)
    is_applied = (draws[:, :GROUPS] < augmentation.probabilities).to(draws.dtype)
    colour, translation, cutout = is_applied.unbind(1)
    brightness, saturation, contrast, down, right, top, left = draws[:, GROUPS:].unbind(1)
    images = _change_colour(
        images.to(draws.dtype),
        brightness=colour * (brightness - 0.5),
        saturation=1.0 + colour * (2.0 * saturation - 1.0),
        contrast=1.0 + colour * (contrast - 0.5),
    )
    height, width = images.shape[2:]
    rows, columns = _shifted(translation, down, height), _shifted(translation, right, width)
    is_kept = 1.0 - (cutout[:, None] * _cut(top, height))[:, :, None] * _cut(left, width)[:, None, :]
    is_kept = is_kept * _is_inside(rows, height)[:, :, None] * _is_inside(columns, width)[:, None, :]
    return _take(images, rows % height, columns % width) * is_kept[:, None]


def _change_colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Return contrast(saturation(x + brightness)), each as in the code of Zhao et al., as one affine function of x.

    All factors are [n].
    """
    brightness, saturation, contrast = (factor.view(-1, 1, 1, 1) for factor in (brightness, saturation, contrast))
    offset = (1.0 - contrast) * images.mean((1, 2, 3), keepdim=True) + brightness
    if images.shape[1] != RGB:
        return contrast * images + offset
    offset = offset + contrast * (1.0 - saturation) * images.mean(1, keepdim=True)
    return contrast * saturation * images + offset


def _whole_number(uniform: Tensor, count: int) -> Tensor:
    """Return a whole number from 0 to count − 1 for each U[0, 1); rounded to single precision it can be 1."""
    return (uniform * count).floor().clamp_max(count - 1)


def _shifted(is_applied: Tensor, uniform: Tensor, size: int) -> Tensor:
    """Return for each position along an axis the position whose value a translation puts there, int64 [n, size]."""
    most = int(size * MAX_SHIFT + 0.5)
    shift = (is_applied * (_whole_number(uniform, 2 * most + 1) - most)).long()
    return torch.arange(size, device=uniform.device) - shift[:, None]


def _is_inside(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def _take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values of images at rows [n, h] and columns [n, w].

    Every position is taken once, so that the derivative adds nothing up, in whatever order.
    """
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)
    taken = images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1))
    return taken.unflatten(2, images.shape[2:])


def _cut(uniform: Tensor, size: int) -> Tensor:
    """Return 1 for the positions along an axis that the cutout covers, in part beyond the border, else 0: [n, size]."""
    side = int(size * CUTOUT + 0.5)
    first = _whole_number(uniform, size + 1 - side % 2) - side // 2
    positions = torch.arange(size, device=uniform.device, dtype=uniform.dtype) - first[:, None]
    return ((positions >= 0) & (positions < side)).to(uniform.dtype)
