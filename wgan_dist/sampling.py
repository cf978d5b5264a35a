"""Sampling with torch: grids, image files, interpolation between seeds, and truncation."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from export.sampler import (
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
from wgan_dist.config.output_paths import ARRAYS, PICTURES, check_file, is_folder
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
POINT_FILES = (".csv", *ARRAYS)


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


def truncation_rows(
    network: nn.Module, z: NDArray[np.float32], scales: tuple[float, ...], enlargement: int
) -> Image.Image:
    """Draw a labelled row of images, enlarged as by `enlarged`, for each scale of the same latents z [n, latent_dim].

    Normal latent vectors of a smaller standard deviation give more typical and less varied images, as the reduced
    temperature of Kingma and Dhariwal 2018 does.
    """
    images = [grid(ImageValues().picture(generate(network, np.float32(scale) * z)), columns=len(z)) for scale in scales]
    rows = [
        labelled(_to_pillow(enlarged(row, enlargement)), f"z × {scale:g}")
        for row, scale in zip(images, scales, strict=True)
    ]
    picture = Image.new(rows[0].mode, (rows[0].width, sum(row.height for row in rows)))
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


def _pictures(generator: Artifact, z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the images of latents as pictures uint8 [n, h, w, 1, 3 or 4]."""
    return ImageValues().picture(generate(generator.network, z))


def _write_interpolation(generator: Artifact, settings: SampleSettings) -> str:
    if generator.description.makes_points:
        raise UserError(f"interpolate={show(settings.interpolate)}: expected a generator of images, not of points")
    z = interpolation_path(generator.description, settings.interpolate, settings.frames)
    scale = settings.scale or 0
    if is_folder(settings.out):
        values = generate(generator.network, z, generator.description.levels)
        return output_text(list(write_images(values, settings.out, scale)), settings.out)
    images = _pictures(generator, z)
    strip = Path(settings.out)
    animation = strip if strip.suffix.lower() == ".gif" else strip.with_suffix(".gif")
    frames = [enlarged(image, scale) for image in images]
    check_picture_size(frames[0], animation)
    with atomic_file(animation) as partial:
        write_gif([_to_pillow(frame) for frame in frames], partial, FRAME_MILLISECONDS)
    if strip == animation:
        return str(animation)
    write_picture(enlarged(grid(images, columns=len(images)), scale), strip)
    return f"{strip} and {animation}"


def _write_truncation(generator: Artifact, settings: SampleSettings) -> str:
    description, scales = generator.description, settings.truncation
    if description.makes_points:
        raise UserError(f"truncation={show(scales)}: expected a generator of images, not of points")
    if description.latent_distribution == "uniform" and max(scales) > 1:
        raise UserError(f"truncation={show(scales)}: latent vectors are uniform in [-1, 1); expected scales up to 1")
    z = _latents(generator, settings.count or ROW_IMAGES, settings.seed)
    picture = np.asarray(truncation_rows(generator.network, z, scales, settings.scale or 0))
    write_picture(picture if picture.ndim == 3 else picture[:, :, None], Path(settings.out))
    return settings.out


def _latents(generator: Artifact, count: int, seed: int) -> NDArray[np.float32]:
    return sample_latents(count, generator.description.latent_dim, generator.description.latent_distribution, seed)


def _write_samples(generator: Artifact, settings: SampleSettings) -> str:
    count, about = settings.count or GRID_IMAGES, generator.description
    if about.makes_points:
        check_file(settings.out, *POINT_FILES, *PICTURES)
    else:
        check_out(settings.out, about.makes_points)
    levels = about.levels
    samples = generate(generator.network, _latents(generator, count, settings.seed), levels)
    if about.makes_points:
        if settings.scale:
            raise UserError(f"scale={settings.scale}: expected a generator of images, not of points")
        return f"{count} points: {_write_points(samples, about.data, settings.out)}"
    values = ImageValues(levels.dtype, levels.low, levels.high, about.channel_names, about.unit)
    written = list(write_images(samples, settings.out, settings.scale or 0, values))
    return f"{count} images: {output_text(written, settings.out)}"


def sample(settings: SampleSettings) -> None:
    """Write the samples that the settings describe, and print where they are.

    Raises UserError for a file that is not a generator, one whose samples are not finite, and for settings that do not
    fit the generator.
    """
    path = generator_file.locate(settings.ckpt, settings.weights)
    generator = generator_file.load(path, settings.generator)
    write = (
        _write_interpolation if settings.interpolate else _write_truncation if settings.truncation else _write_samples
    )
    try:
        print_now(write(generator, settings))
    except SamplerError as error:
        raise UserError(str(error)) from error
    except FloatingPointError as error:
        raise UserError(f"{path}: {error}") from error
