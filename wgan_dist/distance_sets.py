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
from wgan_dist.data.transforms import GREY, RGB
from wgan_dist.distance import DistanceSettings
from wgan_dist.utils.console import note
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import EIGHT_BITS, Levels, common_levels

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


def _open_generator(number: int, settings: DistanceSettings) -> LoadedSamples | None:
    """Return the generator that argument `number` names, or None if it names data.

    Both generators draw from latents of their own, so that the samples are independent.
    """
    value = settings.words[number]
    if not _is_generator(value):
        return None
    if not Path(value).exists():
        raise UserError(f"{value}: there is no such file")
    path = generator_file.locate(value, settings.weights) if Path(value).is_dir() else Path(value)
    return open_generator(path, settings.generator, settings.count, settings.seed, start=number * settings.count)


def _draw(generator: LoadedSamples, count: int) -> Tensor:
    """Return samples of a generator: points, or images in [−1, 1] at its own levels."""
    parts = [generator.draw(slice(start, min(start + DRAWN, count))) for start in range(0, count, DRAWN)]
    return to_network_inputs(torch.cat(parts), torch.float32)


def _drawn_images(generator: LoadedSamples, name: str, levels: Levels, count: int) -> SampleSet:
    """Return images of a generator at given levels."""
    images = _draw(generator, count)
    if generator.levels is not None and generator.levels != levels:
        images = torch.from_numpy(levels.scale(generator.levels.restore(images.numpy())))
    return SampleSet(name, images, levels)


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
    """Return images of a data set at given levels, chosen by their content."""
    rows = choose_rows(images, np.arange(len(images)), settings.count, settings.seed)
    values = dataclasses.replace(images, levels=levels).values[rows]
    return SampleSet(name, to_network_inputs(torch.from_numpy(np.array(values)), torch.float32), levels)


def _image_sets(settings: DistanceSettings, generators: list[LoadedSamples | None]) -> list[SampleSet]:
    """Return two sets of images at levels that contain the values of both."""
    words = settings.words
    data = [value for value, generator in zip(words, generators, strict=True) if generator is None]
    read = _common_size(data, [generator for generator in generators if generator], settings)
    sources = [each or _images(value, read, settings) for value, each in zip(words, generators, strict=True)]
    first, second = (each.levels or EIGHT_BITS for each in sources)
    try:
        levels = common_levels(first, second)
    except ValueError as error:
        raise UserError(f"{words[0]} and {words[1]}: {error}") from error
    return [
        _drawn_images(each, value, levels, settings.count)
        if isinstance(each, LoadedSamples)
        else _read_images(each, value, levels, settings)
        for value, each in zip(words, sources, strict=True)
    ]


def _makes_points(value: str, generator: LoadedSamples | None) -> bool:
    return len(generator.shape) == 1 if generator else are_points((value,))


def _with_equal_channels(first: SampleSet, second: SampleSet) -> tuple[SampleSet, SampleSet]:
    """Return both sets with grey images in three equal channels where the other set is in colour."""
    sets = []
    for this, other in ((first, second), (second, first)):
        samples, channels = this.samples, other.samples.shape[1]
        if samples.dim() > 2 and samples.shape[1] == GREY and channels == RGB:
            note(f"{this.name}: its grey images are compared in {channels} equal channels")
            samples = samples.expand(-1, channels, -1, -1).contiguous()
        sets.append(dataclasses.replace(this, samples=samples))
    return sets[0], sets[1]


def open_sets(settings: DistanceSettings) -> tuple[SampleSet, SampleSet]:
    """Open both sets of samples.

    Raises:
        UserError: For a set that cannot be read, and for two sets of different kinds or shapes.
    """
    words, generators = settings.words, [_open_generator(number, settings) for number in range(len(settings.words))]
    pairs = list(zip(words, generators, strict=True))
    check_data_exist([value for value, generator in pairs if generator is None])
    kinds = ["points" if _makes_points(value, generator) else "images" for value, generator in pairs]
    if kinds[0] != kinds[1]:
        found = ", ".join(f"{value} are {kind}" for value, kind in zip(words, kinds, strict=True))
        raise UserError(f"{found}: expected two sets of points, or two of images")
    if kinds[0] == "points":
        sets = [
            SampleSet(value, _draw(generator, settings.count)) if generator else _points(value, settings)
            for value, generator in pairs
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
