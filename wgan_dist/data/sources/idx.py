"""Grey images in idx files, the format of MNIST."""

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
from wgan_dist.data.sources.paths import hash_of, size_and_mtime
from wgan_dist.utils.errors import UserError

# The embedded data set.
DIGITS = Path(__file__).parents[1] / "digits"
SIZE_LIMIT = 600 << 20
# Two zero bytes, 8 for unsigned bytes, 3 for the number of dimensions.
MAGIC = 0x0803


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx or idx.gz file of unsigned bytes, as MNIST's.

    Returns:
        The images, uint8 of shape [n, height, width].

    Raises:
        UserError: If the file is not such a file, does not have the length that its header says, or holds more than
            SIZE_LIMIT bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(">IIII", file.read(16))
            size = math.prod(shape)
            is_valid = magic == MAGIC and 0 not in shape[1:] and size <= SIZE_LIMIT
            content = file.read(size + 1) if is_valid else b""
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a readable idx file ({error})") from error
    if not is_valid or len(content) != size:
        raise UserError(
            f"{path}: expected an idx file of grey images: three dimensions of unsigned bytes, at most {SIZE_LIMIT:,}"
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


def _list_images(files: list[Path]) -> ImageListing:
    arrays = {file.name: read_idx(file) for file in files}
    names = [f"{name}[{index}]" for name, array in arrays.items() for index in range(len(array))]
    images = [image for array in arrays.values() for image in array]
    return ImageListing(names, lambda index: Image.fromarray(images[index]))


def idx_source(folder: Path, files: list[Path], name: str) -> Source:
    """Return the source of the images of all idx files `files` of `folder`."""
    identity = hash_of([str(folder.resolve()), [(file.name, *size_and_mtime(file)) for file in files]])
    return Source(name, identity, lambda: _list_images(files))
