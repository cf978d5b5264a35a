"""Listings of images that the tests of the sources write and read."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.data.sources.base import ImageListing, Source, read_image
from wgan_dist.data.sources.registry import open_source


def save(file: Path, level: int = 0, size: tuple[int, int] = (4, 4)) -> Path:
    """Write an image of one grey level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(file, format="PNG")
    return file


def level(source: ImageListing, index: int) -> Any:
    return read_image(source, index, lambda image: image.getpixel((0, 0)))


def source_of(data: Path) -> Source:
    return open_source(str(data), data / "no cache")


def opened(data: Path) -> ImageListing:
    return source_of(data).list_images()


def idx(pixels: NDArray[np.uint8], kind: int = 8) -> bytes:
    """Return an idx file as the site of MNIST defines it: zero, zero, type, dimensions; sizes; data, all big-endian."""
    return struct.pack(">HBB", 0, kind, pixels.ndim) + struct.pack(f">{pixels.ndim}I", *pixels.shape) + pixels.tobytes()


def write_idx(file: Path, *levels: int) -> None:
    """Write images of 2×2 pixels, one of each grey level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = idx(np.repeat(np.array(levels, np.uint8), 4).reshape(-1, 2, 2))
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def all_levels(source: ImageListing) -> list[Any]:
    return [level(source, index) for index in range(len(source.names))]
