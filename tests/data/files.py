"""Image files, folders and archives that the tests of the data write, and how they open them."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.decoding import ProgressCallback
from wgan_dist.data.image_settings import ImageSettings

SIZE = 4
RED, GREEN = (255, 0, 0), (0, 255, 0)


def quiet(done: int, total: int) -> None:
    """Report no progress."""


def opened(
    cache: Path,
    *data: Path | str,
    size: int = SIZE,
    channels: int | None = None,
    background: str = "ffffff",
    skip: bool = False,
    progress: ProgressCallback = quiet,
) -> ImageDataset:
    return open_images(
        tuple(map(str, data)),
        ImageSettings(square(size), channels=channels, background=background, skip_bad_images=skip),
        str(cache),
        progress,
    )


def save(file: Path, colour: int | tuple[int, ...] = 0) -> Path:
    """Write a PNG of one colour: grey, RGB or RGBA by the number of values."""
    mode = "L" if isinstance(colour, int) else {3: "RGB", 4: "RGBA"}[len(colour)]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (SIZE, SIZE), colour).save(file, "PNG")
    return file


def save_levels(folder: Path, levels: Sequence[int]) -> Path:
    """Write grey images of these levels, named in this order."""
    for number, level in enumerate(levels):
        save(folder / f"{number:03d}.png", level)
    return folder


def first_pixels(found: ImageDataset) -> Any:
    """Return the colour of each image, which must have only one: a number for grey, else a list."""
    corners = found.pixels[:, :, 0, 0]
    assert (found.pixels == corners[:, :, None, None]).all()
    return corners.squeeze(axis=1).tolist() if found.channels == 1 else corners.tolist()


def files_in(folder: Path) -> list[str]:
    return sorted(file.suffix for file in folder.iterdir())


def half(format: str) -> bytes:
    """Return the first half of an image file, as an interrupted transfer leaves it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format)
    return buffer.getvalue()[: buffer.tell() // 2]


def png(level: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), level).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(seed: int) -> bytes:
    """Return a JPEG of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def write_zip(out: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_tar(out: Path, files: dict[str, bytes]) -> Path:
    content = tar_of(files)
    out.write_bytes(gzip.compress(content) if out.name.lower().endswith("gz") else content)
    return out


def write_folder(out: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return out


def write(out: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of the format that the suffix says."""
    return write_zip(out, files) if out.suffix == ".zip" else write_tar(out, files)
