"""Grey images in idx files, the format of MNIST, and their labels."""

import gzip
import math
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.paths import hash_of, size_and_mtime
from wgan_dist.utils.errors import UserError

# The embedded data set.
DIGITS = Path(__file__).parents[1] / "digits"
SIZE_LIMIT = 600 << 20
# Two zero bytes, 8 for unsigned bytes, and a byte for the number of dimensions.
MAGIC = 0x0800
# The numbers of dimensions of the two kinds of files, and what messages call them.
IMAGES, LABELS = 3, 1
KINDS = {IMAGES: "grey images: three dimensions", LABELS: "labels: one dimension"}


def read_idx(path: Path, dimensions: int = IMAGES) -> NDArray[np.uint8]:
    """Read an idx or idx.gz file of unsigned bytes, as MNIST's.

    Returns:
        uint8 of so many dimensions: images [n, height, width] or labels [n].

    Raises:
        UserError: If the file is not such a file, does not have the length that its header says, or holds more than
            SIZE_LIMIT bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">I{dimensions}I", file.read(4 + 4 * dimensions))
            size = math.prod(shape)
            is_valid = magic == MAGIC + dimensions and 0 not in shape[1:] and size <= SIZE_LIMIT
            content = file.read(size + 1) if is_valid else b""
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a readable idx file ({error})") from error
    if not is_valid or len(content) != size:
        raise UserError(
            f"{path}: expected an idx file of {KINDS[dimensions]} of unsigned bytes, at most {SIZE_LIMIT:,}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def find_idx_files(folder: Path) -> list[Path]:
    """Return the idx image files of a folder, sorted; only those of the training part if there are some.

    A compressed file beside its uncompressed copy is left out.
    """
    plain = list(folder.glob("*idx3-ubyte"))
    compressed = [file for file in folder.glob("*idx3-ubyte.gz") if file.with_suffix("") not in plain]
    files = sorted(plain + compressed)
    return [file for file in files if file.name.startswith("train")] or files


def find_label_files(files: list[Path]) -> list[Path | None]:
    """Return the file of the labels beside each idx file of images, plain or compressed, or None if there is none."""
    plain = (
        file.with_name(file.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1"))
        for file in files
    )
    candidates = ((file, file.with_name(f"{file.name}.gz")) for file in plain)
    return [next((file for file in pair if file.exists()), None) for pair in candidates]


def _read_labels(file: Path | None, count: int) -> list[str | None]:
    """Return the label of each of `count` images, None if there is no file of labels."""
    if file is None:
        return [None] * count
    labels = read_idx(file, LABELS)
    if len(labels) != count:
        raise UserError(f"{file}: {len(labels):,} labels; expected {count:,}, one for each image")
    return [str(label) for label in labels]


def _list_images(files: list[Path], label_files: list[Path | None]) -> ImageListing:
    arrays = {file.name: read_idx(file) for file in files}
    names = [f"{name}[{index}]" for name, array in arrays.items() for index in range(len(array))]
    images = [image for array in arrays.values() for image in array]

    def classes() -> ClassNames:
        labels = (_read_labels(file, len(array)) for file, array in zip(label_files, arrays.values(), strict=True))
        return ClassNames([label for each in labels for label in each])

    return ImageListing(names, lambda index: Image.fromarray(images[index]), classes=classes)


def idx_source(folder: Path, files: list[Path], name: str) -> Source:
    """Return the source of the images of all idx files `files` of `folder`."""
    identity = hash_of([str(folder.resolve()), [(file.name, *size_and_mtime(file)) for file in files]])
    label_files = find_label_files(files)
    return Source(name, identity, lambda: _list_images(files, label_files), list(filter(None, label_files)))
