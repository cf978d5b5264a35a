"""The data sets that training draws batches from: images in memory-mapped pixels, and points."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.config import Config
from wgan_dist.config.config import NO_LABELS
from wgan_dist.data.content import Hashes, content_hashes
from wgan_dist.data.decoding import ProgressCallback
from wgan_dist.data.find_labels import cached_labels
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.labels import Labels
from wgan_dist.data.pixel_cache import PixelCache, Pixels, check_unreadable
from wgan_dist.data.points import PointStatistics, read_points
from wgan_dist.data.sources.base import Source
from wgan_dist.data.sources.paths import cache_folder, expand_home, name_of_path
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.synthetic import DRAWS, MIXTURES, Mixture
from wgan_dist.data.transforms import RESIZED
from wgan_dist.data.value_ranges import choose_levels, robust_ranges
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import other_writers
from wgan_dist.utils.levels import EIGHT_BITS, Levels

POINT_COUNT = 100_000
# The seed of a set of points, which does not depend on the seed of a run.
POINT_SEED = 0


class ScaledPixels:
    """Images [n, channels, height, width] as float32 in [−1, 1], computed from their source's values when read."""

    dtype = np.dtype(np.float32)

    def __init__(self, pixels: Pixels, levels: Levels) -> None:
        self.pixels, self.levels, self.shape = pixels, levels, pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return the images of a row number, slice, or array of row numbers."""
        return self.levels.scale(np.asarray(self.pixels[rows]))


@dataclass(frozen=True)
class ImageDataset:
    """A data set of images decoded once and memory-mapped.

    Attributes:
        name: The names of its sources, joined by +.
        pixels: The values of the source, uint8, uint16 or float32 of shape [n, channels, height, width].
        fingerprint: The SHA-256 of the shape, of a type other than uint8, of all values, and of the labels if there
            are any.
        bad: A message for each unreadable image that was left out.
        left_out: The number of files that are no images by their names, by suffix.
        resized: How they were brought to their size, in words.
        levels: The values that become −1 and 1.
        warnings: A line for each thing that looks wrong about what the images contain, and about their cache.
        labels: The class of each image, or None without classes.
        class_folders: The names of sub-folders that could be classes, if there are no labels.
    """

    name: str
    pixels: Pixels
    fingerprint: str
    bad: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    resized: str = RESIZED[Config.resize]
    levels: Levels = EIGHT_BITS
    warnings: tuple[str, ...] = ()
    labels: Labels | None = None
    class_folders: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        """Return the number of channels of an image."""
        return int(self.pixels.shape[1])

    @functools.cached_property
    def hashes(self) -> Hashes:
        """Return the content hash of each image, uint64 [n]."""
        return content_hashes(self.pixels)

    @property
    def values(self) -> Pixels | ScaledPixels:
        """Return the pixels in 8 bits, of which 0 is −1 and 255 is 1, or images in [−1, 1]."""
        return self.pixels if self.levels.is_eight_bit else ScaledPixels(self.pixels, self.levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one image, [channels, height, width]."""
        return tuple(self.pixels.shape[1:])


@dataclass(frozen=True)
class PointDataset:
    """A data set of points.

    Attributes:
        name: The name of the distribution, or of the file with its suffix.
        values: float32 of shape [n, d].
        mixture: The mixture of Gaussians that the points are drawn from, or None for another distribution.
    """

    name: str
    values: NDArray[np.float32]
    mixture: Mixture | None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> None:
        """Return None: points have no classes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one point."""
        return tuple(self.values.shape[1:])

    @property
    def is_built_in(self) -> bool:
        """Return whether the points are drawn from a named distribution."""
        return self.name in DRAWS

    def spread(self, count: int) -> NDArray[np.float32]:
        """Return at most `count` points for a drawing, evenly spaced in the data set, which may be sorted."""
        rows = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        return np.asarray(self.values[rows])

    @functools.cached_property
    def statistics(self) -> PointStatistics:
        """Return the mean, standard deviation and range of each dimension."""
        return PointStatistics.of(self.values)

    @functools.cached_property
    def hashes(self) -> Hashes:
        """Return the content hash of each point, uint64 [n]."""
        return content_hashes(self.values)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a line for each thing about the scale of the values that makes training difficult."""
        return tuple(self.statistics.warnings())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all values."""
        return hashlib.sha256(np.ascontiguousarray(self.values, "<f4").data).hexdigest()


Dataset = ImageDataset | PointDataset


def open_points(data: str) -> PointDataset:
    """Return the points that `data` names: those of a file, or 100,000 of a distribution, the same at every call.

    Raises:
        UserError: If the file cannot be read, or if values in it are not finite.
    """
    if data in DRAWS:
        return PointDataset(data, DRAWS[data](POINT_COUNT, POINT_SEED).astype(np.float32), MIXTURES.get(data))
    return PointDataset(name_of_path(expand_home(data, f"data={data}")), read_points(data), None)


def _cache_warnings(folder: Path) -> list[str]:
    """Return a line if others can change the decoded images."""
    writers = other_writers(folder)
    return [f"cache_dir={folder}, which {writers}: who writes there decides what the images are"] if writers else []


def _listed_once(source: Source) -> Source:
    """Return a source that lists its images once, however often it is asked to."""
    return dataclasses.replace(source, list_images=functools.cache(source.list_images))


def _class_folders(sources: list[Source]) -> list[str]:
    """Return the names of all sub-folders that could be classes, none if a source has no such folders."""
    if not all(source.class_folders for source in sources):
        return []
    return sorted(set[str]().union(*(source.class_folders for source in sources)))


def _with_labels(images: ImageDataset, labels: Labels, notes: list[str]) -> ImageDataset:
    """Add labels to images without labels, and notes on them to the warnings."""
    sha256 = hashlib.sha256(repr((images.fingerprint, labels.classes)).encode())
    sha256.update(labels.values.astype("<i8").tobytes())
    warnings = (*images.warnings, *notes)
    return dataclasses.replace(
        images, labels=labels, fingerprint=sha256.hexdigest(), warnings=warnings, class_folders=()
    )


def open_images(
    data: tuple[str, ...],
    settings: ImageSettings,
    cache_dir: str,
    progress: ProgressCallback | None = None,
    download: bool = True,
) -> ImageDataset:
    """Return the images of all sources in `data`, in this order; decode them unless they are cached.

    With `settings.labels`, they have labels, which are cached beside them: adding labels decodes no image again.

    Args:
        data: Values of `--data`: known names, paths, patterns or hf:….
        settings: How images are read.
        cache_dir: The folder of decoded pixels and downloads.
        progress: A function of the number of images done and of all images, called while decoding.
        download: Whether a data set of the Hub or of torchvision is downloaded unless it is on the disk.

    Raises:
        UserError: If a source cannot be opened, an image is unreadable and not to be skipped, no image is readable, or
            the images do not have the classes that are asked for.
    """
    folder = cache_folder(cache_dir)
    sources = [_listed_once(open_source(value, folder, download, settings.axes)) for value in data]
    found = None if settings.labels == NO_LABELS else cached_labels(folder, sources, settings.labels)
    cache = PixelCache(folder, sources, settings)
    cached = cache.load(progress or (lambda done, total: None))
    check_unreadable(cached.bad, settings.skip_bad_images)
    if cached.ranges is None:
        raise UserError(f"data={','.join(data)}: no readable image")
    dtype = cached.pixels.dtype.name
    ranges = robust_ranges(cached.pixels) if settings.levels == "robust" else cached.ranges
    images = ImageDataset(
        name="+".join(source.name for source in sources),
        pixels=cached.pixels,
        fingerprint=cached.fingerprint,
        bad=tuple(cached.bad),
        left_out=cached.left_out,
        resized=RESIZED[settings.resize],
        levels=choose_levels(settings.levels, dtype, ranges),
        warnings=(
            *cached.notes,
            *cached.content.warnings(dtype, settings.levels != "default"),
            *_cache_warnings(folder),
        ),
        class_folders=_class_folders(sources),
    )
    return images if found is None else _with_labels(images, *found.of_images(cached.rows))
