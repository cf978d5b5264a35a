"""Where pictures come from: a folder, idx files, torchvision's data sets; listed, then opened one by one."""

import gzip
import hashlib
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wgan_dist.utils.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
DIGITS = Path(__file__).parents[1] / "digits"
# What decodes within a gigabyte, copies included: 64 million pixels of a picture, half of it where there may be
# transparency or 16 bits, and 600 MiB of an idx file.
PIXEL_LIMIT, PLAIN_MODES = 1 << 26, ("L", "RGB")
IDX_LIMIT = 600 << 20
# Two zero bytes, 8 for unsigned bytes, 3 for the dimensions.
IDX_GREY_IMAGES = 0x0803


Result = TypeVar("Result")


class BadImageError(Exception):
    """A picture that cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Pictures:
    """`open(i)` is picture i, perhaps not yet decoded: use `read`. `names` are what a person would call them."""

    names: Sequence[str]
    open: Callable[[int], Image.Image]


@dataclass(frozen=True)
class Source:
    """Pictures of one origin. `identity` changes whenever a picture might have.

    `pictures()` lists them, which can take long and is not asked for where a cache has them decoded; it raises
    UserError for what cannot be listed.
    """

    name: str
    identity: str
    pictures: Callable[[], Pictures]


def read(pictures: Pictures, index: int, use: Callable[[Image.Image], Result]) -> Result:
    """Open picture `index` and give it to `use`; whatever Pillow dislikes about it becomes a BadImageError.

    Pillow itself only warns of pictures that take gigabytes to decode.
    """
    try:
        with pictures.open(index) as picture:
            limit = PIXEL_LIMIT if picture.mode in PLAIN_MODES else PIXEL_LIMIT // 2
            if picture.width * picture.height > limit:
                raise BadImageError(f"{picture.width} x {picture.height}: more than {limit:,} pixels")
            return use(picture)
    except UnidentifiedImageError:
        raise BadImageError("not a PNG, JPEG, WebP or BMP image") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise BadImageError(said(error)) from None


def printable(text: str) -> str:
    """Words of a stranger's data for a terminal: what would move its cursor or end the line is written as \\x1b is."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def said(error: BaseException) -> str:
    """What a library says of an error, as a line."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def expanded(path: str, given: str) -> Path:
    """A path whose ~ is resolved; raises UserError that names what was `given` where that stands for nobody's home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{given}: there is no such folder as its ~ stands for") from None


def is_hidden(name: str) -> bool:
    """Of a file or folder: left out, as a person who looks at the folder does not see it."""
    return name.startswith(".")


def files_below(folder: Path) -> list[str]:
    """The paths below `folder` of all visible files, with /, sorted; linked folders are followed, once each.

    A folder below that cannot be read is one of them: what is in it would be missed without a word. Texts: a Path
    each would take a folder of 100,000 files seconds.
    """
    root, files, seen = os.fspath(folder), [], set()

    def below(place: str) -> str:
        return place[len(root) :].replace(os.sep, "/").strip("/")

    def unreadable(error: OSError) -> None:
        if error.filename == root:
            raise error
        files.append(below(error.filename))

    for place, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        prefix = below(place) and f"{below(place)}/"
        files += [f"{prefix}{name}" for name in names if not is_hidden(name)]
    return sorted(files)


def digest(parts: Sequence[object]) -> str:
    """An identity of whatever has a repr."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def stamp(path: Path | str) -> tuple[int, int]:
    """Size and time of the last change, of which one changes with the content."""
    try:
        status = os.stat(path)  # noqa: PTH116 a Path each would take 100,000 files a second
    except OSError:
        return (-1, -1)  # a dangling link: decoding it will say so
    return (status.st_size, status.st_mtime_ns)


def name_of(path: Path) -> str:
    """What data at `path` are called, in any file that says what it is of."""
    name = path.resolve().name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return name or "images"


def open_file(path: Path) -> Image.Image:
    """A picture not yet decoded; raises BadImageError for what is no file, OSError for what cannot be read."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise BadImageError("a folder that cannot be read")
    if not stat.S_ISREG(mode):
        raise BadImageError("not a regular file")  # opening a pipe would wait for ever, and a device never end
    return Image.open(path, formats=FORMATS)


def folder_source(folder: Path) -> Source:
    """Every file below a folder, nested or flat."""
    names = files_below(folder)
    if not names:
        raise UserError(f"data={folder}: the folder holds no image")
    stamps = [(name, *stamp(os.path.join(folder, name))) for name in names]  # noqa: PTH118
    identity = digest([str(folder.resolve()), stamps])
    return Source(name_of(folder), identity, lambda: Pictures(names, lambda i: open_file(folder / names[i])))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx or idx.gz file of unsigned bytes, as MNIST's: uint8 of shape (n, height, width).

    Raises UserError when the file is not one, is cut short, claims more than it holds, or more than IDX_LIMIT.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            kind, *shape = struct.unpack(">IIII", file.read(16))
            size = math.prod(shape)
            fits = kind == IDX_GREY_IMAGES and 0 not in shape[1:] and size <= IDX_LIMIT
            content = file.read(size + 1) if fits else b""
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a readable idx file ({error})") from error
    if not fits or len(content) != size:
        raise UserError(
            f"{path}: expected an idx file of grey images, three dimensions of unsigned bytes, at most {IDX_LIMIT:,}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def idx_files(folder: Path) -> list[Path]:
    """The idx image files of a folder; of MNIST's pair the training part alone, the other is for tests."""
    plain = list(folder.glob("*idx3-ubyte"))
    found = sorted([*plain, *(file for file in folder.glob("*idx3-ubyte.gz") if file.with_suffix("") not in plain)])
    return [file for file in found if file.name.startswith("train")] or found


def _idx_pictures(files: list[Path]) -> Pictures:
    arrays = [read_idx(file) for file in files]
    index = [(array, i) for array in arrays for i in range(len(array))]
    names = [f"{file.name}[{i}]" for file, array in zip(files, arrays, strict=True) for i in range(len(array))]
    return Pictures(names, lambda i: Image.fromarray(index[i][0][index[i][1]]))


def idx_source(folder: Path, files: list[Path], name: str) -> Source:
    """Grey images in MNIST's format."""
    identity = digest([str(folder.resolve()), [(file.name, *stamp(file)) for file in files]])
    return Source(name, identity, lambda: _idx_pictures(files))


# torchvision's data sets: class name and what it needs besides root and download.
TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("MNIST", {"train": True}),
    "fashion_mnist": ("FashionMNIST", {"train": True}),
    "kmnist": ("KMNIST", {"train": True}),
    "emnist": ("EMNIST", {"train": True, "split": "balanced"}),
    "cifar10": ("CIFAR10", {"train": True}),
    "cifar100": ("CIFAR100", {"train": True}),
    "svhn": ("SVHN", {"split": "train"}),
    "stl10": ("STL10", {"split": "unlabeled"}),
    "celeba": ("CelebA", {"split": "all"}),
    "flowers102": ("Flowers102", {"split": "train"}),
    "food101": ("Food101", {"split": "train"}),
    "oxford_iiit_pet": ("OxfordIIITPet", {"split": "trainval"}),
}


def torchvision_source(name: str, cache_dir: Path) -> Source:
    """A data set of torchvision, downloaded below `cache_dir` unless it is there already."""
    import torchvision.datasets

    class_name, arguments = TORCHVISION[name]
    try:
        images = getattr(torchvision.datasets, class_name)(cache_dir / "torchvision", download=True, **arguments)
    except (OSError, RuntimeError, ImportError, ValueError, AssertionError) as error:
        raise UserError(
            f"data={name}: cannot be had: {said(error)}; files already downloaded go below {cache_dir}/torchvision"
        ) from error
    identity = digest([name, len(images)])
    names = [f"{name}[{i}]" for i in range(len(images))]
    return Source(name, identity, lambda: Pictures(names, lambda i: images[i][0]))
