"""The interface of a source of images: list the images, then open and decode them one by one."""

import io
import stat
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from wgan_dist.data.sources.array_values import supported_values
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.jpeg_scans import MAX_SCANS, has_too_many_scans
from wgan_dist.data.sources.paths import error_line
from wgan_dist.data.sources.tiff import is_read_fully, is_tiff, read_tiff

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# The suffixes of the pictures of phones, which Pillow does not read.
PHONES = (".heic", ".heif")
# The largest image that decodes within a gigabyte, copies included: 64 million pixels of grey or RGB, and half as many
# of any other mode, which may have transparency or 16 bits.
PIXEL_LIMIT, OPAQUE_MODES = 1 << 26, ("L", "RGB")
# As many bytes as an uncompressed image of so many pixels has in four channels.
JPEG_LIMIT = 1 << 28
# What Pillow raises for damaged images.
DECODING_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)

# It also warns of the tags of a TIFF that are damaged, one by one.
warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")

# A picture, which may not be decoded yet, or an array [c, h, w].
OpenedImage = Image.Image | NDArray[Any]
Result = TypeVar("Result")
# What Pillow keeps of colour PNG files of 16 bits; their modes are RGB and RGBA as those of 8 bits.
DEEP_PNG_NOTE = "PNG files of 16-bit colours are read in 8 bits; TIFF files and arrays keep 16"


class BadImageError(Exception):
    """An image cannot be decoded; the message says why."""


@dataclass(frozen=True)
class ImageListing:
    """The images of a source.

    Attributes:
        names: The images' names for messages.
        open: A function from an image's index to the picture, which may not be decoded yet, or to an array [c, h, w].
            Call `read_image` instead, which limits the size and unifies the types of values and the errors.
        left_out: The number of files that are no images by their names, by suffix.
        notes: A line for each way in which images lost precision when they were read; `read_image` adds them.
        classes: A function that returns the class of each image, or None if the source has no classes.
        column: A function that returns the classes in a column of a table by its name, or None without columns.
            Both raise UserError for classes that cannot be read.
    """

    names: Sequence[str]
    open: Callable[[int], OpenedImage]
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    classes: Callable[[], ClassNames | None] = lambda: None
    column: Callable[[str], ClassNames] | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Source:
    """Images of one origin.

    Attributes:
        name: The data set's name for messages and metadata.
        identity: A hash that changes whenever an image may have changed.
        list_images: A function that lists the images. It may take long, and is not called if the images are cached.
            It raises UserError if the images cannot be listed.
        label_files: The files that hold the images' classes and are not a part of the identity.
        class_folders: The names of the sub-folders that are classes, as far as they are known without a listing.
    """

    name: str
    identity: str
    list_images: Callable[[], ImageListing]
    label_files: Sequence[Path] = ()
    class_folders: Sequence[str] = ()


def _check_scans(file: IO[bytes]) -> None:
    """Raise BadImageError for a JPEG of too many scans, or one so large that they are not counted."""
    file.seek(0)
    content = file.read(JPEG_LIMIT + 1)
    if len(content) > JPEG_LIMIT:
        raise BadImageError(f"a JPEG of more than {JPEG_LIMIT:,} bytes")
    if has_too_many_scans(content):
        raise BadImageError(f"a JPEG of more than {MAX_SCANS} scans")


def check_picture(image: Image.Image) -> None:
    """Raise BadImageError for a picture, not decoded yet, that is too large or takes too long to decode."""
    limit = PIXEL_LIMIT if image.mode in OPAQUE_MODES else PIXEL_LIMIT // 2
    if image.width * image.height > limit:
        raise BadImageError(f"{image.width} x {image.height}: more than {limit:,} pixels")
    if isinstance(image, JpegImageFile) and image.fp is not None:
        _check_scans(image.fp)


def _is_deep_png(image: Image.Image) -> bool:
    """Return whether a picture, not decoded yet, is a PNG of 16-bit colours."""
    tiles = getattr(image, "tile", None) or ()
    return image.format == "PNG" and image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in tiles)


def read_image(listing: ImageListing, index: int, function: Callable[[Any], Result]) -> Result:
    """Open the image at `index`, the first one of an animation or of several pages, and return `function(image)`.

    The function gets a picture, or an array [c, h, w] in uint8, uint16 or float32.

    Raises:
        BadImageError: If the image cannot be decoded or is larger than PIXEL_LIMIT, of which Pillow only warns, and
            for a JPEG of very many scans, which would take minutes.
    """
    try:
        opened = listing.open(index)
        if isinstance(opened, np.ndarray):
            values, note = supported_values(opened)
            listing.notes.update([note] * bool(note))
            return function(values)
        with opened as image:
            check_picture(image)
            listing.notes.update([DEEP_PNG_NOTE] * _is_deep_png(image))
            return function(image)
    except UnidentifiedImageError:
        advice = "; convert it to JPEG" if listing.names[index].lower().endswith(PHONES) else ""
        raise BadImageError(f"not a PNG, JPEG, WebP, BMP, GIF or TIFF image{advice}") from None
    except DECODING_ERRORS as error:
        raise BadImageError(error_line(error)) from None


def _open(file: Path | IO[bytes]) -> OpenedImage:
    """Return a picture, not decoded yet, or the values of a TIFF that Pillow would not read fully."""
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if not is_tiff(file):
            raise
        return read_tiff(file)
    if image.format != "TIFF" or is_read_fully(image):
        return image
    if isinstance(file, Path):
        image.close()
    return read_tiff(file)


def width_and_height(image: OpenedImage) -> tuple[int, int]:
    """Return the size of a picture or array in pixels."""
    return image.size if isinstance(image, Image.Image) else image.shape[:0:-1]


def open_image_bytes(content: bytes) -> OpenedImage:
    """Return the image of an encoded file's content; a picture is not decoded yet."""
    return _open(io.BytesIO(content))


def check_regular(path: Path) -> None:
    """Raise BadImageError if `path` is a folder, pipe or device, and OSError if it cannot be read."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise BadImageError("a folder that cannot be read")
    if not stat.S_ISREG(mode):
        raise BadImageError("not a regular file")  # opening a pipe may block forever, and a device may have no end


def open_image_file(path: Path) -> OpenedImage:
    """Return the image of a file; a picture is not decoded yet.

    Raises:
        BadImageError: If `path` is a folder, pipe or device.
        OSError: If the file cannot be read.
    """
    check_regular(path)
    return _open(path)
