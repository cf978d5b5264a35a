"""The sizes of feature maps in networks for images of any height and width.

A generator doubles the size of its maps a number of times, and a critic halves it as often. Where this does not lead to
the size of the images, the networks compute at the next greater size: the generator crops its images from it, the
critic pads them to it with zeros, which are grey. Images whose sides are 4 times a power of two need neither.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad


def doublings(image_size: tuple[int, int]) -> int:
    """Return how often a map of about 4×4 is doubled to have the area of an image, but at least once.

    It is log₂(√(height · width) / 4), rounded to nearest: a rectangle has as many layers as a square of its area.
    """
    height, width = image_size
    return max(1, ((2 * height * width).bit_length() - 1) // 2 - 2)


@dataclass(frozen=True)
class MapSizes:
    """The size at which a network computes: the image's height and width, rounded up to multiples of `factor`."""

    image_size: tuple[int, int]
    factor: int

    @property
    def smallest(self) -> tuple[int, int]:
        """The height and width of the smallest map."""
        height, width = (-(-side // self.factor) for side in self.image_size)
        return height, width

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """The pixels that an image lacks to the left, to the right, above and below, as torch's pad takes them."""
        (height, width), (rows, columns) = self.image_size, self.smallest
        down, right = rows * self.factor - height, columns * self.factor - width
        return right // 2, right - right // 2, down // 2, down - down // 2

    def pad(self, images: Tensor) -> Tensor:
        """Surround images [n, c, h, w] with zeros up to the size at which the network computes."""
        return pad(images, self.margins) if any(self.margins) else images

    def crop(self, images: Tensor) -> Tensor:
        """Cut images [n, c, h, w] of their own size out of the middle of the maps of a generator."""
        if not any(self.margins):
            return images
        left, _, top, _ = self.margins
        height, width = self.image_size
        return images[:, :, top : top + height, left : left + width]
