"""The final samples of a run, all runs from the same noise, and the training images nearest to them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Artifact, Description
from wgan_dist.config import Config
from wgan_dist.data.datasets import ImageDataset, open_images, open_points
from wgan_dist.data.holdout import split_holdout
from wgan_dist.data.image_settings import image_settings
from wgan_dist.data.labels import named
from wgan_dist.data.points import are_points
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.evaluation.metrics.neighbours import nearest
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.reporting.image_files import Picture, to_png
from wgan_dist.reporting.run_data import RunData
from wgan_dist.tracking.sample_grid import CLASSES_DRAWN, ImageSampleGrid
from wgan_dist.utils.class_draws import sample_classes
from wgan_dist.utils.console import note
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import as_uint8, enlarged, grid, plot_points, shown_channels, to_image, with_row_names

# The number of points in a drawing. The number of images in a grid is an option of the report.
POINTS = 1000
# What shows the channels of images, by the number of those that are shown.
COLOURS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "opacity")}


@dataclass(frozen=True)
class LatentSpace:
    """The dimension and distribution of a generator's latent vectors. In equal ones a seed gives the same vectors."""

    dim: int
    distribution: str

    def __str__(self) -> str:
        return f"{self.dim} {self.distribution} numbers"


def load_generator(run: RunData, own_class: str) -> Artifact:
    """Load the averaged generator of a run. Raises UserError if there is none or it cannot be read."""
    return generator_file.load(generator_file.locate(str(run.folder), "ema"), own_class)


def latent_space(generator: Artifact) -> LatentSpace:
    """Return the latent space of a generator."""
    return LatentSpace(generator.description.latent_dim, generator.description.latent_distribution)


def shown_values(description: Description) -> str:
    """Return in words which channels and values pictures show; nothing for points and pictures of 8 bits."""
    count, levels = description.channels, description.levels
    if description.makes_points or (levels.is_eight_bit and count in COLOURS):
        return ""

    def channel(index: int) -> str:
        name = description.channel_names[index] if description.channel_names else f"channel {index + 1}"
        low, high = (side[index % len(side)] for side in (levels.low, levels.high))
        return f"{name}, {low:,.6g} to {high:,.6g} {description.unit}".strip()

    colours = COLOURS[shown_channels(count)]
    shown = "; ".join(f"{colour} is {channel(index)}" for index, colour in enumerate(colours))
    return f"{shown[0].upper()}{shown[1:]}." + (f" The images have {count} channels." if len(colours) < count else "")


def _latents(generator: Artifact, count: int, seed: int) -> NDArray[np.float32]:
    space = latent_space(generator)
    return sample_latents(count, space.dim, space.distribution, seed)


def _draw(generator: Artifact, count: int, seed: int) -> NDArray[Any]:
    """Return the first samples of a seed, which with classes are of those that the seed draws."""
    description = generator.description
    shares = np.array(description.class_shares)
    labels = sample_classes(count, shares, seed) if description.classes else None
    return _generate(generator, _latents(generator, count, seed), labels)


def _generate(generator: Artifact, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[Any]:
    try:
        return generate(generator.network, z, labels=labels)
    except FloatingPointError as error:
        raise UserError(f"{EMA_FILE}: {error}") from error


def _grid(images: NDArray[np.uint8], columns: int = 0) -> Image.Image:
    """Return a grid of images [n, h, w, c] of at least 512 pixels in width."""
    nchw = torch.from_numpy(images.transpose(0, 3, 1, 2))
    return enlarged(to_image(grid(to_network_inputs(nchw, torch.float32), columns)))


def _class_picture(run: RunData, generator: Artifact, count: int, seed: int, path: str) -> Picture:
    """Draw a row of images for each of the first classes, beside its name; all rows have the same latent vectors."""
    description = generator.description
    rows = ImageSampleGrid(count, description.classes[:CLASSES_DRAWN])
    z = _latents(generator, rows.columns, seed)
    labels = np.arange(len(rows.classes)).repeat(rows.columns)
    images = _grid(_generate(generator, np.tile(z, (len(rows.classes), 1)), labels), rows.columns)
    picture = with_row_names(torch.from_numpy(np.array(images)).permute(2, 0, 1), rows.classes)
    of_all = f" of {len(description.classes):,}" if len(description.classes) > CLASSES_DRAWN else ""
    alt = (
        f"{rows.columns} images of each class by {run.name} after {description.steps:,} generator steps, in "
        f"{len(rows.classes)} rows{of_all} from top to bottom: {named(rows.classes)}"
    )
    return Picture(path, to_png(to_image(picture)), alt)


def final_picture(run: RunData, generator: Artifact, count: int, seed: int, folder: str) -> Picture:
    """Draw the samples of a seed: a grid of `count` images, or points over real ones, in `folder` of the report.

    With classes the grid has a row for each of them, of about `count` images in all.
    """
    description, path = generator.description, f"{folder}/final.png"
    if description.classes:
        return _class_picture(run, generator, count, seed, path)
    if not description.makes_points:
        alt = f"{count} images by {run.name} after {description.steps:,} generator steps"
        return Picture(path, to_png(_grid(_draw(generator, count, seed))), alt)
    points = _draw(generator, POINTS, seed)
    real = _real_points(run, description)
    over = "" if real is None else " over real points"
    alt = f"{POINTS:,} points by {run.name}{over}, after {description.steps:,} generator steps"
    return Picture(path, to_png(to_image(plot_points(real, points))), alt)


def _real_points(run: RunData, description: Description) -> NDArray[np.float32] | None:
    """Return points that a generator was trained on, or None if they are missing or have changed.

    As with images, a stranger's run may name any file: one with another fingerprint is not shown.
    """
    try:
        data = open_points(run.config.data[0]) if are_points(run.config.data) else None
    except UserError as error:
        note(str(error))
        return None
    if data is None or not (data.is_built_in or data.fingerprint == description.data_fingerprint):
        return None
    return data.spread(POINTS)


def _open_data(config: Config, channels: int, cache_dir: str) -> ImageDataset | None:
    """Open the images that a run names, or return None and print the reason, which may contain names of files."""
    try:
        settings = dataclasses.replace(image_settings(config), channels=channels)
        return open_images(config.data, settings, cache_dir, download=False)
    except UserError as error:
        note(str(error))
        return None


def open_training_images(run: RunData, generator: Artifact, cache_dir: str) -> ImageDataset:
    """Open the images that a generator was trained on.

    A run may be a stranger's, and name any folder as its data: images with another fingerprint than that in the
    generator are not used, and the error, which is shown on the page, says nothing of them. Nothing is downloaded.
    Raises UserError for other images, and if there are none.
    """
    images = _open_data(run.config, generator.description.channels, cache_dir)
    if images is None or images.fingerprint != generator.description.data_fingerprint:
        data = ",".join(run.config.data)
        raise UserError(f"data={data}: its images are missing, or are not those that the run was trained on")
    return images


@dataclass(frozen=True)
class NearestImages:
    """Generated images above their nearest training images, the distances of the pairs [n], and the images searched."""

    picture: Picture
    distances: NDArray[np.float64]
    training_images: int


def nearest_images(
    run: RunData, generator: Artifact, count: int, seed: int, folder: str, cache_dir: str
) -> NearestImages:
    """Draw the first `count` images of a seed above the training images nearest to them, held-out images excluded.

    The distance is Euclidean over the pixel values in [−1, 1]; the images are decoded into `cache_dir`. Raises
    UserError if the data are missing or have changed.
    """
    generated = _draw(generator, count, seed)
    images = open_training_images(run, generator, cache_dir)
    rows = split_holdout(images, run.config.holdout).training
    found = nearest(torch.from_numpy(generated.transpose(0, 3, 1, 2)), images.values, rows)
    pixels = as_uint8(torch.from_numpy(np.stack([images.values[index] for index in found.indices])))
    real = pixels.permute(0, 2, 3, 1).numpy()
    alt = f"Above, {count} images by {run.name}; below each, the training image nearest to it"
    content = to_png(_grid(np.concatenate([generated, real]), columns=count))
    return NearestImages(Picture(f"{folder}/neighbours.png", content, alt), found.distances, len(rows))
