"""Sampling with torch: grids, image files, interpolation between seeds and between classes, and truncation."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from export.labels import sample_labels
from export.sampler import (
    POINT_FILES,
    ImageValues,
    SamplerError,
    check_out,
    check_picture_size,
    enlarged,
    grid,
    output_text,
    write_images,
    write_picture,
    write_points,
)
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Artifact, Description
from wgan_dist.config.fields import show
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.config.output_paths import PICTURES, check_file, is_folder
from wgan_dist.data.datasets import open_points
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.sample import SampleSettings
from wgan_dist.utils.console import print_now
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file
from wgan_dist.utils.images import labelled, plot_points, write_gif

FRAME_MILLISECONDS = 80
GRID_IMAGES, ROW_IMAGES = 64, 8


def interpolate(
    start: NDArray[np.float32], end: NDArray[np.float32], share: float, distribution: str
) -> NDArray[np.float32]:
    """Return the latent vector at `share` in [0, 1] of the way from `start` to `end`, both [latent_dim].

    Interpolation is spherical for normal latent vectors (White 2016), whose norm is nearly constant, and linear for
    uniform ones.
    """
    if distribution == "normal":
        # In float32 the sine of the angle between opposite vectors is too far from 0 to be recognised.
        first, second = start.astype(np.float64), end.astype(np.float64)
        angle = np.arccos(np.clip(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)), -1.0, 1.0))
        if not np.isclose(np.sin(angle), 0.0):
            return (np.sin((1.0 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return (1.0 - share) * start + share * end


def interpolation_path(description: Description, seeds: tuple[int, ...], frames: int) -> NDArray[np.float32]:
    """Return latent vectors [n, latent_dim] that lead from the first vector of each seed to that of the next.

    There are `frames` vectors from one seed to the next, and the last seed's vector at the end.
    """
    dim, distribution = description.latent_dim, description.latent_distribution
    stops = [sample_latents(1, dim, distribution, seed)[0] for seed in seeds]
    path = [
        interpolate(start, end, step / frames, distribution)
        for start, end in zip(stops, stops[1:], strict=False)
        for step in range(frames)
    ]
    return np.stack([*path, stops[-1]]).astype(np.float32)


def _named_rows(images: dict[str, NDArray[np.uint8]], enlargement: int) -> Image.Image:
    """Draw a row of pictures [n, h, w, c], enlarged as by `enlarged`, under each name."""
    rows = [
        labelled(_to_pillow(enlarged(grid(row, columns=len(row)), enlargement)), name) for name, row in images.items()
    ]
    picture = Image.new(rows[0].mode, (max(row.width for row in rows), sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        picture.paste(row, (0, number * row.height))
    return picture


def _to_pillow(image: NDArray[np.uint8]) -> Image.Image:
    """Convert an image [h, w, c] to a Pillow image."""
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def _write_points(points: NDArray[np.float32], data: str, out: str) -> str:
    """Write points as text or an array, or as a picture of them, over those of `data` if it is a distribution."""
    if Path(out).suffix.lower() in POINT_FILES:
        return str(write_points(points, out))
    real = open_points(data).spread(len(points)) if data in DRAWS else None
    write_picture(plot_points(real, points).permute(1, 2, 0).numpy(), Path(out))
    return out


def _pictures(network: nn.Module, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Return the images of latents as pictures uint8 [n, h, w, 1, 3 or 4]."""
    return ImageValues().picture(generate(network, z, labels=labels))


def _write_interpolation(generator: Artifact, settings: SampleSettings) -> str:
    about = generator.description
    if about.makes_points:
        raise UserError(f"interpolate={show(settings.interpolate)}: expected a generator of images, not of points")
    if about.classes and not settings.label:
        raise UserError(f"interpolate={show(settings.interpolate)}: all images are of one class; expected --label=")
    z = interpolation_path(about, settings.interpolate, settings.frames)
    return _write_path(generator.network, about, z, _labels(about, len(z), settings), settings)


def _write_interpolation_of_labels(generator: Artifact, settings: SampleSettings) -> str:
    about, text = generator.description, settings.interpolate_labels
    if about.makes_points:
        raise UserError(f"interpolate_labels={text}: expected a generator of images, not of points")
    if is_own_class(about.network.name):
        raise UserError(f"interpolate_labels={text}: expected a network of this package, which has a table of classes")
    if not about.classes:
        raise UserError(f"interpolate_labels={text}: this generator has no classes")
    names = _class_names(text, about.classes)
    if len(names) < 2:
        raise UserError(f"interpolate_labels={text}: expected at least two classes, with commas")
    stops = sample_labels(about, len(names), 0, names)
    assert stops is not None
    mixtures = mixtures_of_classes(stops, len(about.classes), settings.frames)
    z = _latents(generator, 1, settings.seed).repeat(len(mixtures), 0)
    return _write_path(with_classes(generator.network, mixtures), about, z, np.arange(len(mixtures)), settings)


def _write_path(
    network: nn.Module,
    about: Description,
    z: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    settings: SampleSettings,
) -> str:
    """Write the images of latents z [n, latent_dim] that follow a path: single files, or a strip and an animation."""
    scale = settings.scale or 0
    if is_folder(settings.out):
        values = generate(network, z, about.levels, labels)
        return output_text(list(write_images(values, settings.out, scale)), settings.out)
    images = _pictures(network, z, labels)
    strip = Path(settings.out)
    animation = strip if strip.suffix.lower() == ".gif" else strip.with_suffix(".gif")
    frames = [enlarged(image, scale) for image in images]
    check_picture_size(frames[0], animation)
    row = enlarged(grid(images, columns=len(images)), scale)
    if strip != animation:
        check_picture_size(row, strip)
    with atomic_file(animation) as partial:
        write_gif([_to_pillow(frame) for frame in frames], partial, FRAME_MILLISECONDS)
    if strip == animation:
        return str(animation)
    write_picture(row, strip)
    return f"{strip} and {animation}"


def _write_truncation(generator: Artifact, settings: SampleSettings) -> str:
    description, scales = generator.description, settings.truncation
    if description.makes_points:
        raise UserError(f"truncation={show(scales)}: expected a generator of images, not of points")
    if description.latent_distribution == "uniform" and max(scales) > 1:
        raise UserError(f"truncation={show(scales)}: latent vectors are uniform in [-1, 1); expected scales up to 1")
    z = _latents(generator, settings.count or ROW_IMAGES, settings.seed)
    labels = _labels(description, len(z), settings)
    images = {f"z × {scale:g}": _pictures(generator.network, np.float32(scale) * z, labels) for scale in scales}
    return _write_rows(images, settings)


def _write_classes(generator: Artifact, settings: SampleSettings, names: list[str]) -> str:
    """Write a row of images of the same latents for each class."""
    about = generator.description
    check_file(settings.out, *PICTURES)
    if about.makes_points:
        raise UserError(f"label={settings.label}: expected one class for points")
    z = _latents(generator, settings.count or ROW_IMAGES, settings.seed)
    rows = {}
    for name in names:
        labels = sample_labels(about, len(z), settings.seed, name)
        assert labels is not None
        rows[about.classes[labels[0]]] = _pictures(generator.network, z, labels)
    return _write_rows(rows, settings)


def _write_rows(images: dict[str, NDArray[np.uint8]], settings: SampleSettings) -> str:
    picture = np.asarray(_named_rows(images, settings.scale or 0))
    write_picture(picture if picture.ndim == 3 else picture[:, :, None], Path(settings.out))
    return settings.out


def _class_names(text: str, classes: tuple[str, ...]) -> list[str]:
    """Return the classes that a text with commas names; a class whose own name has commas can only stand alone."""
    return [text] if text in classes else [name.strip() for name in text.split(",")]


def _labels(about: Description, count: int, settings: SampleSettings) -> NDArray[np.int64] | None:
    """Return the classes of `count` samples, int64 [count], all of --label or drawn; None without classes."""
    return sample_labels(about, count, settings.seed, settings.label or None)


def mixtures_of_classes(stops: NDArray[np.int64], classes: int, frames: int) -> NDArray[np.float32]:
    """Return the shares [n, classes] of classes that lead from each of `stops` to the next in `frames` equal steps."""
    rows = np.eye(classes, dtype=np.float32)[stops]
    steps = np.linspace(0.0, 1.0, frames, endpoint=False, dtype=np.float32)[:, None]
    path = [(1.0 - steps) * start + steps * end for start, end in zip(rows, rows[1:], strict=False)]
    return np.concatenate([*path, rows[-1:]])


def with_classes(network: nn.Module, mixtures: NDArray[np.float32]) -> nn.Module:
    """Return a copy of a generator of this package whose classes are mixtures, in shares [n, classes], of its own.

    Its embeddings of classes, and the scales and shifts of its class-conditional BatchNorm, are mixed linearly.
    """
    network = copy.deepcopy(network)
    for table in network.modules():
        if isinstance(table, nn.Embedding):
            table.weight = nn.Parameter(torch.from_numpy(mixtures).to(table.weight) @ table.weight, requires_grad=False)
    return network


def _latents(generator: Artifact, count: int, seed: int) -> NDArray[np.float32]:
    return sample_latents(count, generator.description.latent_dim, generator.description.latent_distribution, seed)


def _write_samples(generator: Artifact, settings: SampleSettings) -> str:
    count, about = settings.count or GRID_IMAGES, generator.description
    names = _class_names(settings.label, about.classes)
    if len(names) > 1:
        return _write_classes(generator, settings, names)
    if about.makes_points:
        check_file(settings.out, *POINT_FILES, *PICTURES)
    else:
        check_out(settings.out, about.makes_points)
    levels, labels = about.levels, _labels(about, count, settings)
    samples = generate(generator.network, _latents(generator, count, settings.seed), levels, labels)
    if about.makes_points:
        if settings.scale:
            raise UserError(f"scale={settings.scale}: expected a generator of images, not of points")
        return f"{count} points: {_write_points(samples, about.data, settings.out)}"
    values = ImageValues(levels.dtype, levels.low, levels.high, about.channel_names, about.unit)
    written = list(write_images(samples, settings.out, settings.scale or 0, values))
    return f"{count} images: {output_text(written, settings.out)}"


def _writer(settings: SampleSettings) -> Callable[[Artifact, SampleSettings], str]:
    """Return the function that writes what the settings ask for, and returns in words where it is."""
    if settings.interpolate:
        return _write_interpolation
    if settings.interpolate_labels:
        return _write_interpolation_of_labels
    return _write_truncation if settings.truncation else _write_samples


def sample(settings: SampleSettings) -> None:
    """Write the samples that the settings describe, and print where they are.

    Raises UserError for a file that is not a generator, one whose samples are not finite, and for settings that do not
    fit the generator.
    """
    path = generator_file.locate(settings.ckpt, settings.weights)
    generator = generator_file.load(path, settings.generator)
    try:
        print_now(_writer(settings)(generator, settings))
    except SamplerError as error:
        raise UserError(str(error)) from error
    except FloatingPointError as error:
        raise UserError(f"{path}: {error}") from error
