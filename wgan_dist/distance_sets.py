"""Open the two sets of samples that `python -m wgan_dist.distance` compares."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.loaders import LoadedSamples, open_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.config import is_run
from wgan_dist.config.data_choices import check_data_exist
from wgan_dist.config.image_size import ImageSize, parse_image_size
from wgan_dist.data.datasets import ImageDataset, open_images, open_points
from wgan_dist.data.decoding import without_pillow_warnings
from wgan_dist.data.holdout import choose_rows
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.points import are_points
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.data.sources.base import BadImageError, read_image, width_and_height
from wgan_dist.data.sources.paths import cache_folder
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import GREY
from wgan_dist.distance import DistanceSettings
from wgan_dist.utils.console import note
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import Levels

GENERATOR_SUFFIXES = (".safetensors", ".onnx", ".pt", ".pt2")
# Samples that a generator draws at a time.
DRAWN = 128


@dataclass(frozen=True)
class SampleSet:
    """A set of samples: points float32 [n, d], or images [n, c, h, w] in [−1, 1] whose `levels` are −1 and 1."""

    name: str
    samples: Tensor
    levels: Levels | None = None


def _is_generator(value: str) -> bool:
    """Return whether an argument names a generator and not data."""
    path = Path(value)
    if path.is_dir():
        return is_run(path) or (path / generator_file.EMA_FILE).is_file()
    return path.suffix.lower() in GENERATOR_SUFFIXES


def _open_generator(value: str, settings: DistanceSettings) -> LoadedSamples:
    if not Path(value).exists():
        raise UserError(f"{value}: there is no such file")
    path = generator_file.locate(value, settings.weights) if Path(value).is_dir() else Path(value)
    return open_generator(path, settings.generator, settings.count, settings.seed)


def _drawn(name: str, generator: LoadedSamples, count: int) -> SampleSet:
    parts = [generator.draw(slice(start, min(start + DRAWN, count))) for start in range(0, count, DRAWN)]
    samples = to_network_inputs(torch.cat(parts), torch.float32)
    return SampleSet(name, samples, generator.levels if samples.dim() > 2 else None)


def _points(value: str, settings: DistanceSettings) -> SampleSet:
    points = open_points(value)
    rows = choose_rows(points, np.arange(len(points)), settings.count, settings.seed)
    return SampleSet(value, torch.from_numpy(np.asarray(points.values[rows], np.float32)))


def _own_size(value: str, cache_dir: str) -> ImageSize:
    """Return the size of the first image of a data set, to which all others must be equal."""
    with without_pillow_warnings():
        listing = open_source(value, cache_folder(cache_dir)).list_images()
        if not len(listing):
            raise UserError(f"{value}: there is no image")
        try:
            return parse_image_size(read_image(listing, 0, width_and_height)[::-1])
        except BadImageError as error:
            raise UserError(f"{value}: {listing.names[0]!r}: {error}") from error
        except ValueError as error:
            raise UserError(f"{value}: its images have another size than --image_size may: {error}") from error


def _common_size(data: list[str], generators: list[LoadedSamples], settings: DistanceSettings) -> ImageSettings:
    """Return how images are read: at the size that is set, that of a generator, or their own, which must be equal."""
    if settings.image_size:
        return ImageSettings(settings.image_size, background=settings.background)
    if generators:
        return ImageSettings(ImageSize(*generators[0].shape[1:]), background=settings.background)
    sizes = {value: _own_size(value, settings.cache_dir) for value in data}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{value} has images of {size.in_words} pixels" for value, size in sizes.items())
        raise UserError(f"image_size: {found}; expected --image_size, a size for both")
    return ImageSettings(sizes[data[0]], background=settings.background, resize="none")


def _images(value: str, read: ImageSettings, settings: DistanceSettings) -> ImageDataset:
    images = open_images((value,), read, settings.cache_dir)
    for line in images.warnings:
        note(f"{images.name}: {line}")
    return images


def _read_images(images: ImageDataset, name: str, levels: Levels, settings: DistanceSettings) -> SampleSet:
    """Return images at given levels, chosen by their content."""
    if images.levels.dtype != levels.dtype:
        raise UserError(f"{name}: its values are {images.levels.dtype}, expected {levels.dtype}, as the other set has")
    rows = choose_rows(images, np.arange(len(images)), settings.count, settings.seed)
    values = dataclasses.replace(images, levels=levels).values[rows]
    return SampleSet(name, to_network_inputs(torch.from_numpy(np.array(values)), torch.float32), levels)


def _image_sets(settings: DistanceSettings, generators: dict[str, LoadedSamples]) -> list[SampleSet]:
    data = [value for value in settings.words if value not in generators]
    read = _common_size(data, list(generators.values()), settings)
    opened = {value: _images(value, read, settings) for value in data}
    levels = next((each.levels for each in generators.values()), None) or opened[data[0]].levels
    return [
        _drawn(value, generators[value], settings.count)
        if value in generators
        else _read_images(opened[value], value, levels, settings)
        for value in settings.words
    ]


def _with_equal_channels(first: SampleSet, second: SampleSet) -> tuple[SampleSet, SampleSet]:
    """Return both sets with grey images in three equal channels where the other set is in colour."""
    sets = []
    for this, other in ((first, second), (second, first)):
        samples, channels = this.samples, other.samples.shape[1]
        if samples.dim() > 2 and samples.shape[1] == GREY != channels:
            note(f"{this.name}: its grey images are compared in {channels} equal channels")
            samples = samples.expand(-1, channels, -1, -1).contiguous()
        sets.append(dataclasses.replace(this, samples=samples))
    return sets[0], sets[1]


def open_sets(settings: DistanceSettings) -> tuple[SampleSet, SampleSet]:
    """Open both sets of samples.

    Raises:
        UserError: For a set that cannot be read, and for two sets of different kinds or shapes.
    """
    generators = {value: _open_generator(value, settings) for value in settings.words if _is_generator(value)}
    data = [value for value in settings.words if value not in generators]
    check_data_exist(data)
    kinds = {value: "points" if are_points((value,)) else "images" for value in data}
    kinds |= {value: "points" if len(each.shape) == 1 else "images" for value, each in generators.items()}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{value} are {kind}" for value, kind in kinds.items())
        raise UserError(f"{found}: expected two sets of points, or two of images")
    if "points" in kinds.values():
        sets = [
            _drawn(value, generators[value], settings.count) if value in generators else _points(value, settings)
            for value in settings.words
        ]
    else:
        sets = _image_sets(settings, generators)
    first, second = _with_equal_channels(sets[0], sets[1])
    if first.samples.shape[1:] != second.samples.shape[1:]:
        shapes = " and ".join(f"{each.name} of {list(each.samples.shape[1:])}" for each in (first, second))
        raise UserError(f"samples of different shapes: {shapes}")
    for each in (first, second):
        if not each.samples.isfinite().all():
            raise UserError(f"{each.name}: some values are not finite")
    return first, second
