"""The height and width of images, as settings and files write them: 64 for 64×64 pixels, 48x96 for 48×96."""

from typing import Any, NamedTuple

# The least and the greatest height and width.
MIN_SIDE, MAX_SIDE = 8, 1024


class ImageSize(NamedTuple):
    """The height and width of images in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"

    @property
    def in_words(self) -> str:
        """The size as people read it: 48×96."""
        return f"{self.height}×{self.width}"


def square(side: int) -> ImageSize:
    """Return the size of square images."""
    return ImageSize(side, side)


def parse_image_size(value: Any) -> ImageSize:
    """Return the size that a number, such as 64, or HEIGHTxWIDTH, such as 48x96, stands for.

    Raises:
        ValueError: For anything else; the message says what is accepted.
    """
    if isinstance(value, (tuple, list)):
        value = "x".join(map(str, value))
    sides = str(value).strip().lower().replace("×", "x").split("x")
    numbers = [int(side) for side in sides if side.isascii() and side.isdecimal() and len(side) <= len(str(MAX_SIDE))]
    if not (1 <= len(sides) <= 2 and len(numbers) == len(sides) and all(MIN_SIDE <= n <= MAX_SIDE for n in numbers)):
        raise ValueError(
            f"a size such as 64, or HEIGHTxWIDTH such as 48x96, from {MIN_SIDE} to {MAX_SIDE} pixels on each side"
        )
    return ImageSize(numbers[0], numbers[-1])
