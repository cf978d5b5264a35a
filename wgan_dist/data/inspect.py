"""Summarise a set of images before training: formats, sizes, modes, duplicates and unreadable files."""

import dataclasses
import functools
import hashlib
import itertools
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from wgan_dist.config import Config
from wgan_dist.config.image_size import MAX_SIDE, MIN_SIDE, ImageSize, square
from wgan_dist.data.content import ContentCounter, ContentSummary
from wgan_dist.data.datasets import PointDataset, open_points
from wgan_dist.data.decoding import ProgressCallback, map_images, progress_reporter, without_pillow_warnings
from wgan_dist.data.few_images import suggestion
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.inspect_classes import class_lines
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.data.points import DIMENSIONS_SHOWN, are_points
from wgan_dist.data.sources.base import DECODING_ERRORS, BadImageError, ImageListing, OpenedImage, read_image
from wgan_dist.data.sources.other_files import add_up, left_out_line
from wgan_dist.data.sources.paths import cache_folder
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import (
    GREY,
    RGB,
    deep_values,
    natural_channels,
    natural_format,
    to_eight_bits,
    to_pixels,
    to_values,
)
from wgan_dist.data.value_ranges import ValueRanges, choose_levels, value_ranges
from wgan_dist.utils import rng
from wgan_dist.utils.console import print_lines, print_now
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file
from wgan_dist.utils.images import enlarged, labelled
from wgan_dist.utils.levels import DTYPES, UINT8

ITEMS_SHOWN, CHANNELS_SHOWN = 10, 8
# JPEGs are decoded at an eighth of their size, which still reads the whole file.
DRAFT_SCALE = 8
# The height and width at which the content of images is examined.
CONTENT_SIZE = square(32)
# The EXIF orientations that exchange width and height, among all that change the image.
TRANSPOSED, ROTATED = (5, 6, 7, 8), range(2, 9)
# The contact sheet, in pixels.
CELL, GAP, COLUMNS, CANVAS_COLOUR = 112, 8, 4, "#808080"
# The sides of squares that are suggested, at which networks compute without padding. Those of rectangles are multiples
# of the step, so that small ones have nearly the proportions of the images too.
SQUARE_SIDES, SIDE_STEP = (8, 16, 32, 64, 128, 256, 512, 1024), 4
# A rectangle is suggested where a crop to a square would cut away more than this share of the pixels.
MAX_CUT_SHARE = 0.1
# The area of a suggested rectangle, as multiples of that of the square in whose place it is suggested.
AREAS = (0.5, 1.3)
# The critic of the suggested recipe compares groups of four images.
MIN_IMAGES = 4
# The folder in which the suggested command makes that of the run.
RUNS = "runs"
# The suggested command: without a GPU that of a recipe of narrow networks, and with one the defaults of all settings.
CPU_RECIPE, LARGEST_SIDE, BATCH_SIZE = "own_images", 64, 64
# The recipe of networks for points, and its batch size.
POINT_RECIPE, POINT_BATCH = "toy_8gaussians", 256


@dataclass(frozen=True)
class ImageInfo:
    """The properties of one readable image.

    Attributes:
        width, height: The size in pixels after EXIF rotation.
        channels: 1 if a picture is grey, else 3; or those of an array.
        dtype: The type of the values: uint8, uint16 or float32.
        low, high: The least and greatest value of each channel, of an array or a picture of more than 8 bits.
        animated: Whether there are more images in the file, of which training takes the first.
        sha256: The hash of the file, or of the pixels if there is no file.
    """

    format: str
    mode: str
    channels: int
    width: int
    height: int
    transparent: bool
    rotated: bool
    animated: bool
    sha256: bytes
    dtype: str = UINT8
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The properties of all images.

    Attributes:
        names: The names of all images.
        images: The properties of the readable images by their numbers in the whole set.
        errors: A message for each unreadable image.
        content: What the readable pictures of 8 bits contain, seen at 32×32 pixels.
        left_out: The number of files that are no images by their names, by suffix.
        notes: A line for each way in which images lost precision when they were read.
    """

    names: Sequence[str]
    images: dict[int, ImageInfo]
    errors: list[str]
    content: ContentSummary
    left_out: Mapping[str, int]
    notes: Sequence[str]

    @property
    def channels(self) -> int:
        """Return 1 if all images are grey, else 3, as training chooses; or the channels of arrays."""
        return max((image.channels for image in self.images.values()), default=GREY)

    @property
    def dtype(self) -> str:
        """Return the widest type of the values of all images."""
        return max((image.dtype for image in self.images.values()), key=DTYPES.index, default=UINT8)

    @property
    def ranges(self) -> ValueRanges | None:
        """Return the range of each channel of arrays and pictures of more than 8 bits, or None if there is none."""
        ranged = [image for image in self.images.values() if len(image.low) == self.channels]
        if not ranged:
            return None
        low = np.min([image.low for image in ranged], axis=0).tolist()
        high = np.max([image.high for image in ranged], axis=0).tolist()
        return ValueRanges(tuple(low), tuple(high))

    @property
    def constant(self) -> tuple[int, int]:
        """Return how many arrays and pictures of more than 8 bits have one value in each channel, of how many."""
        ranged = [image for image in self.images.values() if image.low]
        return sum(image.low == image.high for image in ranged), len(ranged)

    @property
    def warnings(self) -> list[str]:
        """Return a line for each thing that looks wrong about the images."""
        of_pictures = self.content.warnings() if self.content.count else []
        constant, count = self.constant
        of_others = f"{constant:,} of {count:,} arrays and pictures of more than 8 bits have one value in each channel"
        return [*self.notes, *of_pictures, *[of_others] * bool(constant)]

    @property
    def sides(self) -> NDArray[np.float64]:
        """Return the height and the width of every readable image in pixels, [n, 2]."""
        return np.array([(image.height, image.width) for image in self.images.values()], np.float64)

    def duplicates(self) -> list[list[str]]:
        """Return the names of images whose files are equal byte for byte, one list for each such file."""
        names_by_hash: dict[bytes, list[str]] = {}
        for index, image in self.images.items():
            names_by_hash.setdefault(image.sha256, []).append(self.names[index])
        return [names for names in names_by_hash.values() if len(names) > 1]


def _sha256(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None)
    if file is None:
        return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).digest()
    position = file.tell()
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(position)
    return digest


def _is_animated(image: Image.Image) -> bool:
    """Return whether a loaded image is the first of several; a second one that is damaged counts as well."""
    try:
        return getattr(image, "is_animated", False)
    except DECODING_ERRORS:
        return True


def _with_range(info: ImageInfo, values: NDArray[Any]) -> ImageInfo:
    """Add the type and the range of values [c, h, w]."""
    low, high = (tuple(map(float, bound)) for bound in (values.min(axis=(1, 2)), values.max(axis=(1, 2))))
    return dataclasses.replace(info, dtype=values.dtype.name, low=low, high=high)


def _examine_array(values: NDArray[Any]) -> ImageInfo:
    channels, height, width = values.shape
    sha256 = hashlib.sha256(f"{values.dtype}{values.shape}".encode() + values.tobytes()).digest()
    info = ImageInfo("array", values.dtype.name, channels, width, height, False, False, False, sha256)
    return _with_range(info, values)


def _examine(image: OpenedImage, background: str) -> tuple[ImageInfo, NDArray[np.uint8] | None]:
    """Return the properties of an image, and the pixels of a picture of 8 bits in RGB at 32×32."""
    if isinstance(image, np.ndarray):
        return _examine_array(image), None
    is_deep = natural_format(image).dtype != UINT8
    info, pixels = _examine_picture(image, background)
    return (_with_range(info, deep_values(image)), None) if is_deep else (info, pixels)


def _examine_picture(image: Image.Image, background: str) -> tuple[ImageInfo, NDArray[np.uint8]]:
    """Return the properties of a picture, decoded to find out whether it can be, and its pixels in RGB at 32×32."""
    mode, channels, (width, height) = image.mode, natural_channels(image), image.size
    sha256, transparent = _sha256(image), image.has_transparency_data
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    image.draft(None, (width // DRAFT_SCALE, height // DRAFT_SCALE))
    image.load()
    if orientation in TRANSPOSED and image.format != "TIFF":  # Pillow turns a TIFF itself
        width, height = height, width
    rotated = orientation in ROTATED
    animated = _is_animated(image)
    info = ImageInfo(image.format or "array", mode, channels, width, height, transparent, rotated, animated, sha256)
    return info, to_pixels(image, CONTENT_SIZE, RGB, background)


def inspect_images(listings: list[ImageListing], background: str, progress: ProgressCallback) -> Inspection:
    """Read every image and return the properties of all; `progress(done, total)` is called meanwhile."""
    images: dict[int, ImageInfo] = {}
    errors: list[str] = []
    content = ContentCounter(RGB)
    results = map_images(listings, functools.partial(_examine, background=background), progress)
    for index, result in enumerate(results):
        if isinstance(result, BadImageError):
            errors.append(str(result))
        else:
            images[index], pixels = result
            if pixels is not None:
                content.add(pixels)
    names = [name for listing in listings for name in listing.names]
    left_out = add_up(listing.left_out for listing in listings)
    notes = sorted(set[str]().union(*(listing.notes for listing in listings)))
    return Inspection(names, images, errors, content.summary(), left_out, notes)


def _count_values(values: list[str]) -> str:
    return ", ".join(f"{value} {count:,}" for value, count in Counter(values).most_common())


def _size_lines(images: list[ImageInfo]) -> list[str]:
    size = np.array([(image.width, image.height) for image in images], np.float64)
    columns = [size[:, 0], size[:, 1], size.min(axis=1), size[:, 0] / size[:, 1]]
    lines = [f"{'':<16}{'width':>8}{'height':>8}{'shorter':>9}{'width/height':>14}"]
    for name, statistic in (("smallest", np.min), ("median", np.median), ("largest", np.max)):
        width, height, shorter, aspect = (float(statistic(column)) for column in columns)
        lines.append(f"{name:<16}{width:>8.0f}{height:>8.0f}{shorter:>9.0f}{aspect:>14.2f}")
    return lines


def _list_lines(title: str, items: list[str]) -> list[str]:
    more = [f"  and {len(items) - ITEMS_SHOWN:,} more"] if len(items) > ITEMS_SHOWN else []
    return [title, *(f"  {item}" for item in items[:ITEMS_SHOWN]), *more] if items else []


def _range_lines(dtype: str, ranges: ValueRanges | None) -> list[str]:
    """Return the type of values and the range of each channel, of at most CHANNELS_SHOWN ones."""
    if ranges is None:
        return []
    pairs = list(enumerate(zip(ranges.low, ranges.high, strict=True), start=1))
    lines = [f"  channel {number:<6}{low:g} to {high:g}" for number, (low, high) in pairs[:CHANNELS_SHOWN]]
    more = [f"  and {len(pairs) - CHANNELS_SHOWN:,} more"] * (len(pairs) > CHANNELS_SHOWN)
    return [f"{'values':<16}{dtype} in {len(pairs):,} channel{'s' * (len(pairs) > 1)}", *lines, *more]


def _fit_lines(inspection: Inspection, size: ImageSize, resize: str) -> list[str]:
    """Return what bringing the images to a size does to them."""
    enlarged_images = int((inspection.sides < size).any(axis=1).sum())
    lines = [f"{'small':<16}{enlarged_images:,} would be enlarged to {size.in_words}"]
    if resize == "crop":
        shares = cut_shares(inspection.sides, size)
        lines.append(f"{'cropped':<16}{shares.mean():.0%} of the pixels would be cut away at {size.in_words}")
    return lines


def summary_lines(inspection: Inspection, size: ImageSize, resize: str) -> list[str]:
    """Return the lines of the summary; at least one image must be readable."""
    images, duplicates = list(inspection.images.values()), inspection.duplicates()
    animated = sum(image.animated for image in images)
    animated_lines = [f"{'animated':<16}{animated:,}, of which training takes the first frame or page"] * bool(animated)
    left_out_lines = [f"{'left out':<16}{left_out_line(inspection.left_out)}"] * bool(inspection.left_out)
    surplus = sum(len(names) - 1 for names in duplicates)
    return [
        f"{'images':<16}{len(images):,} readable, {len(inspection.errors):,} unreadable",
        *left_out_lines,
        f"{'formats':<16}{_count_values([image.format for image in images])}",
        f"{'colour modes':<16}{_count_values([image.mode for image in images])}",
        f"{'transparent':<16}{sum(image.transparent for image in images):,}",
        f"{'EXIF-rotated':<16}{sum(image.rotated for image in images):,}",
        *animated_lines,
        f"{'duplicates':<16}{surplus:,} copies of other files, byte for byte",
        *_range_lines(inspection.dtype, inspection.ranges),
        *_fit_lines(inspection, size, resize),
        *_size_lines(images),
        *_list_lines(
            "equal files:", [" = ".join(map(repr, names[:3])) + " …" * (len(names) > 3) for names in duplicates]
        ),
        *_list_lines("unreadable:", inspection.errors),
        *_list_lines("looks wrong:", inspection.warnings),
    ]


def cut_shares(sides: NDArray[np.float64], size: ImageSize) -> NDArray[np.float64]:
    """Return the share of its pixels that each image of `sides` [n, 2], height and width, loses by a crop to `size`."""
    ratios = (sides[:, 1] / sides[:, 0]) / (size.width / size.height)
    return 1.0 - np.minimum(ratios, 1.0 / ratios)


def _rectangle(aspect: float, side: int) -> ImageSize:
    """Return the size nearest to an aspect, width / height, of about the area of a square of `side` pixels."""
    steps = range(MIN_SIDE, MAX_SIDE + 1, SIDE_STEP)
    low, high = (area * side**2 for area in AREAS)
    sizes = [ImageSize(height, width) for height in steps for width in steps if low <= height * width <= high]

    def distance(size: ImageSize) -> tuple[float, int]:
        return abs(math.log(size.width / size.height / aspect)), abs(size.height * size.width - side**2)

    return min(sizes, key=distance)


def suggested_size(sides: NDArray[np.float64], limit: int) -> ImageSize:
    """Return a size for images of `sides` [n, 2], height and width.

    A square has at most `limit` pixels on a side, and most images are not smaller. A rectangle in the median of their
    proportions has about its area; it is suggested where a square would cut away more than a tenth of the pixels.
    """
    shorter = float(np.median(sides.min(axis=1)))
    side = max((side for side in SQUARE_SIDES if side <= min(shorter, limit)), default=SQUARE_SIDES[0])
    if cut_shares(sides, square(side)).mean() <= MAX_CUT_SHARE:
        return square(side)
    aspect = float(np.median(sides[:, 1] / sides[:, 0]))
    return min(square(side), _rectangle(aspect, side), key=lambda size: float(cut_shares(sides, size).mean()))


def _new_run_dir(name: str) -> str:
    """Return a folder for a run on the data of this name: runs/NAME, or with a number if that exists."""
    slug = re.sub(r"[^\w]+", "-", name).strip("-") or "run"
    folder = f"{RUNS}/{slug}"
    names = (f"{folder}{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def suggested_command(
    settings: InspectSettings, name: str, size: ImageSize, count: int, any_unreadable: bool, on_gpu: bool
) -> str:
    """Return a shell command that trains on `count` readable images, at least MIN_IMAGES, of the data `name`."""
    batch_size = min(BATCH_SIZE, 1 << (count.bit_length() - 1))
    flags = [] if on_gpu else [f"--recipe={CPU_RECIPE}"]
    flags += [f"--data={','.join(settings.data)}", f"--image_size={size}", f"--batch_size={batch_size}"]
    for name_of_setting in ("background", "resize", "axes"):
        value = getattr(settings, name_of_setting)
        flags += [f"--{name_of_setting}={value}"] * (value != getattr(Config, name_of_setting))
    flags += ["--skip_bad_images"] * any_unreadable
    return shlex.join(["python", "-m", "wgan_dist.train", *flags, f"--run_dir={_new_run_dir(name)}"])


def _suggestion_lines(
    settings: InspectSettings, name: str, inspection: Inspection, size: ImageSize, on_gpu: bool
) -> list[str]:
    """Return what the number of images suggests, and a command to start with."""
    count, channels = len(inspection.images), inspection.channels
    if count < MIN_IMAGES:
        return [f"too few images to train on: {count}; the suggested recipe needs at least {MIN_IMAGES} in a batch"]
    item_size = np.dtype(inspection.dtype).itemsize
    megabytes = count * channels * size.height * size.width * item_size / 2**20
    return [
        *filter(None, [suggestion(count)]),
        f"to start at {size.in_words} in {channels} channel{'s' * (channels > 1)} ({megabytes:.1f} MiB of cache):",
        f"  {suggested_command(settings, name, size, count, bool(inspection.errors), on_gpu)}",
    ]


def choose_images(inspection: Inspection, count: int, seed: int) -> list[int]:
    """Return the sorted numbers of at most `count` readable images, drawn by `seed`."""
    numbers = list(inspection.images)
    return sorted(numbers[position] for position in rng.permutation(seed, "inspect", 0, len(numbers))[:count])


def _scaled_picture(values: NDArray[Any], ranges: ValueRanges | None) -> Image.Image:
    """Return the first three channels of an array as colours, or its first one as grey, scaled by their ranges.

    An array of another number of channels than the ranges have is scaled by its own.
    """
    if ranges is None or len(ranges.low) != len(values):
        ranges = value_ranges(values[None])
    scaled = choose_levels("auto", values.dtype.name, ranges).scale(values)
    pixels = np.rint((scaled + 1.0) * 127.5).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) < RGB else np.ascontiguousarray(pixels[:RGB].transpose(1, 2, 0)))


def _thumbnail(opened: OpenedImage, ranges: ValueRanges | None) -> Image.Image:
    if isinstance(opened, np.ndarray) or opened.mode == "F":
        image = _scaled_picture(deep_values(opened), ranges)
    else:
        image = opened
    ImageOps.exif_transpose(image, in_place=True)
    thumbnail = to_eight_bits(image).convert("RGBA")
    thumbnail.thumbnail((CELL, CELL))
    return thumbnail


def contact_sheet(
    listings: list[ImageListing],
    chosen: list[int],
    size: ImageSize,
    channels: int,
    background: str,
    resize: str,
    ranges: ValueRanges | None = None,
) -> Image.Image:
    """Return the images of the numbers `chosen` in pairs: the original, and beside it what training sees.

    Of arrays, the first three channels are shown, or one, scaled by `ranges`.
    """
    scale = CELL / max(size)
    shown = (max(1, round(scale * size.width)), max(1, round(scale * size.height)))

    def training_view(image: OpenedImage) -> Image.Image:
        if isinstance(image, np.ndarray) or image.mode == "F":
            settings = ImageSettings(size, background=background, resize=resize)
            values = to_values(image, settings, natural_format(image))
            return _scaled_picture(values, ranges).convert("RGB").resize(shown, Image.Resampling.NEAREST)
        pixels = to_pixels(image, size, RGB if channels == GREY else channels, background, resize)
        return Image.fromarray(pixels.transpose(1, 2, 0)).resize(shown, Image.Resampling.NEAREST)

    images = [(listing, index) for listing in listings for index in range(len(listing))]
    rows = -(-len(chosen) // COLUMNS)
    width, height = 2 * CELL + 2 * GAP, CELL + GAP
    sheet = Image.new("RGB", (min(COLUMNS, len(chosen)) * width, rows * height), CANVAS_COLOUR)
    for position, number in enumerate(chosen):
        left, top = position % COLUMNS * width, position // COLUMNS * height
        original = read_image(*images[number], functools.partial(_thumbnail, ranges=ranges))
        sheet.paste(original, (left + (CELL - original.width) // 2, top + (CELL - original.height) // 2), original)
        view = read_image(*images[number], training_view)
        sheet.paste(view, (left + CELL + (CELL - view.width) // 2, top + (CELL - view.height) // 2))
    return sheet


def _point_command(data: str, points: PointDataset) -> str:
    """Return a shell command that trains on points."""
    if points.is_built_in:
        flags = [f"--recipe=toy_{data}"]
    else:
        # As many latent numbers as dimensions, so that the generated points can fill the space.
        flags = [f"--recipe={POINT_RECIPE}", f"--data={data}"]
        flags += [f"--latent_dim={points.shape[0]}"] * (points.shape[0] > 2)
        flags += [f"--batch_size={len(points)}"] * (len(points) < POINT_BATCH)
    return shlex.join(["python", "-m", "wgan_dist.train", *flags, f"--run_dir={_new_run_dir(points.name)}"])


def _print_points(data: str) -> None:
    points = open_points(data)
    statistics, dimensions = points.statistics, points.shape[0]
    rows = zip(statistics.mean, statistics.std, statistics.low, statistics.high, strict=True)
    lines = [
        f"  {number:<9}{mean:>12.4g}{std:>12.4g}{low:>12.4g}{high:>12.4g}"
        for number, (mean, std, low, high) in enumerate(rows, start=1)
    ]
    more = [f"  and {dimensions - DIMENSIONS_SHOWN:,} more"] * (dimensions > DIMENSIONS_SHOWN)
    print_lines(
        [
            f"{points.name}: {len(points):,} points of {dimensions:,} dimension{'s' * (dimensions > 1)}, no images",
            f"  {'dimension':<9}{'mean':>12}{'std':>12}{'least':>12}{'greatest':>12}",
            *lines[:DIMENSIONS_SHOWN],
            *more,
            *_list_lines("looks wrong:", list(points.warnings)),
            "to start:",
            f"  {_point_command(data, points)}",
        ]
    )


def _print_images(settings: InspectSettings) -> None:
    cache = cache_folder(settings.cache_dir)
    sources = [open_source(value, cache, axes=settings.axes) for value in settings.data]
    listings = [source.list_images() for source in sources]
    inspection = inspect_images(listings, settings.background, progress_reporter("inspected"))
    if not inspection.images:
        raise UserError(f"data={','.join(settings.data)}: no readable image; the first: {inspection.errors[0]}")
    on_gpu = torch.cuda.is_available()
    size = settings.image_size or suggested_size(inspection.sides, LARGEST_SIDE)
    name = "+".join(source.name for source in sources)
    suggestion = _suggestion_lines(settings, name, inspection, size, on_gpu)
    classes = class_lines(sources, listings, inspection.images)
    print_lines([name, *summary_lines(inspection, size, settings.resize), *classes, *suggestion])
    if settings.out:
        chosen = choose_images(inspection, settings.count, settings.seed)
        with without_pillow_warnings():
            look = (size, inspection.channels, settings.background, settings.resize, inspection.ranges)
            sheet = contact_sheet(listings, chosen, *look)
        with atomic_file(settings.out) as partial:
            labelled(enlarged(sheet), f"original | as training sees it, {size.height} x {size.width}").save(
                partial, "PNG"
            )
        print_now(f"{settings.out}: {len(chosen)} images")


def print_summary(settings: InspectSettings) -> None:
    """Print the summary and a training command, and write the contact sheet if `settings.out` names a file.

    Raises:
        UserError: If the data cannot be opened or no image is readable.
    """
    if are_points(settings.data):
        _print_points(settings.data[0])
    else:
        _print_images(settings)
