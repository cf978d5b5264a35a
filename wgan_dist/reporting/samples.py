"""What runs make of the same noise in the end, and which training images that is nearest to."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.sampler import grid, latents
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.checkpoint import LoadedCheckpoint
from wgan_dist.checkpoints.generator_file import Artifact
from wgan_dist.checkpoints.manifest import checkpoint_folders, newest_checkpoint
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.data import ImageDataset, are_points, open_images, open_points, split
from wgan_dist.evaluation.metrics.neighbours import nearest
from wgan_dist.reporting.image_files import Picture, to_png
from wgan_dist.reporting.runs import Run
from wgan_dist.sample import images_of, points_of
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import plane, to_image

# Enough to fill the plane; a grid of images is counted by the setting.
POINTS = 1000


@dataclass(frozen=True)
class Noise:
    """The latents that a generator is given: two of the same kind are given the same."""

    dim: int
    distribution: str

    def __str__(self) -> str:
        return f"{self.dim} {self.distribution} numbers"


def load_generator(run: Run, own_class: str) -> Artifact:
    """The run's averaged generator; raises UserError when there is none yet, or none that can be read."""
    return generator_file.load(generator_file.locate(str(run.folder), "ema"), own_class)


def noise_of(source: Artifact) -> Noise:
    """What the generator draws from."""
    return Noise(source.description.latent_dim, source.description.latent_distribution)


def _latents(source: Artifact, count: int, seed: int) -> NDArray[np.float32]:
    about = source.description
    return latents(count, about.latent_dim, about.latent_distribution, seed)


def draw_images(source: Artifact, count: int, seed: int) -> NDArray[np.uint8]:
    """uint8 [count, h, w, c] of the seed's first latents."""
    return images_of(source, _latents(source, count, seed))


def _picture_of_points(run: Run, source: Artifact, seed: int) -> bytes:
    points = points_of(source, _latents(source, POINTS, seed))
    real = open_points(run.config.data[0]).values[:POINTS] if are_points(run.config.data) else points
    return to_png(np.asarray(to_image(plane(real, points))))


def final_picture(run: Run, source: Artifact, count: int, seed: int, folder: str) -> Picture:
    """The grid, or the points over real ones, that the generator makes of the seed's noise."""
    about = source.description
    if about.makes_points:
        alt = f"{POINTS:,} points by {run.name} over real ones, after {about.steps:,} generator steps"
        return Picture(f"{folder}/final.png", _picture_of_points(run, source, seed), alt)
    alt = f"{count} images by {run.name} after {about.steps:,} generator steps"
    return Picture(f"{folder}/final.png", to_png(grid(draw_images(source, count, seed))), alt)


def trained_on(run: Run) -> str | None:
    """The fingerprint of the run's data as its newest checkpoint has it; None where none can be read."""
    if not checkpoint_folders(run.folder / CHECKPOINTS):
        return None
    try:
        folder = newest_checkpoint(run.folder / CHECKPOINTS, set_aside=False)
        return LoadedCheckpoint(folder).saved_state().data_fingerprint
    except UserError:
        return None


def open_run_images(run: Run, channels: int) -> ImageDataset:
    """The images that the run was trained on; raises UserError when they are gone, or now others.

    A run without a readable checkpoint does not say which they were: its images are taken as they are now.
    """
    config = run.config
    images = open_images(
        config.data, config.image_size, channels, config.background, config.skip_bad_images, config.cache_dir
    )
    if trained_on(run) not in (None, images.fingerprint):
        raise UserError(f"data={','.join(config.data)}: its images are no longer those that the run was trained on")
    return images


@dataclass(frozen=True)
class Pairs:
    """Generated images over their nearest training images, and the distances between them [n]."""

    picture: Picture
    distances: NDArray[np.float64]
    training_images: int


def neighbour_pairs(run: Run, source: Artifact, count: int, seed: int, folder: str) -> Pairs:
    """The first `count` images of the seed, each over the training image nearest to it, held-out ones apart.

    The distance is Euclidean over the values of an image in [−1, 1]. Raises UserError when the data are
    gone, or now others.
    """
    drawn = draw_images(source, count, seed)
    images = open_run_images(run, source.description.channels)
    samples = torch.from_numpy(np.ascontiguousarray(drawn.transpose(0, 3, 1, 2)))
    rows = split(images.values, run.config.holdout).training
    found = nearest(samples, images.pixels, rows)
    real = np.stack([images.pixels[index] for index in found.indices]).transpose(0, 2, 3, 1)
    content = to_png(grid(np.concatenate([drawn, real]), columns=count))
    alt = f"{count} images by {run.name} in the upper row, under each the training image nearest to it"
    return Pairs(Picture(f"{folder}/neighbours.png", content, alt), found.distances, len(rows))
