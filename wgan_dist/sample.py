"""The command line of sampling with torch: grids, single files, ways from seed to seed, and truncation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export.sampler import SamplerError, grid, latents, to_uint8, write_images, write_picture, write_points
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Artifact, Description
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting, show
from wgan_dist.data import are_points, open_points
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file
from wgan_dist.utils.images import labelled, plane, to_image, write_gif

USAGE = """
Draw images from a trained generator.

  python -m wgan_dist.sample --ckpt=runs/0001 --count=64 --seed=0 --out=grid.png   a grid
  python -m wgan_dist.sample --ckpt=runs/0001 --count=1000 --out=images/           single files
  python -m wgan_dist.sample --ckpt=runs/0001 --interpolate=1,2,3 --out=way.png    from seed to seed, and way.gif
  python -m wgan_dist.sample --ckpt=runs/0001 --truncation=0.5,0.7,1 --out=t.png   a strip for each scale of z
"""
BATCH_SIZE = 64
GIF_MILLISECONDS = 80
GRID_IMAGES, STRIP_IMAGES = 64, 8


@dataclass(frozen=True)
class SampleSettings:
    """What sampling is told."""

    ckpt: str = setting("", "run folder, checkpoint folder or generator.safetensors")
    count: int | None = setting(None, "number of images; auto: 64, or 8 to a strip of --truncation", least=1)
    seed: int = setting(0, "same seed, same images", least=0)
    out: str = setting("grid.png", "picture of a grid, or folder for single files; of points, picture or .csv")
    weights: str = setting("ema", "averaged or last weights", choices=("ema", "raw"))
    interpolate: tuple[int, ...] = setting((), "seeds to go between, as 1,2,3", least=0)
    frames: int = setting(8, "images from one seed to the next", least=2)
    truncation: tuple[float, ...] = setting((), "scales of z, as 0.5,0.7,1: variety against typicality", least=0)
    generator: str = setting("", "module:Class, for a network of your own")


def _outputs(source: Artifact, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    network = source.network.float()
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    for part in torch.from_numpy(z).split(BATCH_SIZE):
        yield network(part.to(device)).cpu().numpy()


@torch.no_grad()
def images_of(source: Artifact, z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 [n, h, w, c] of the latent vectors z [n, latent_dim]."""
    return np.concatenate([to_uint8(part) for part in _outputs(source, z)])


@torch.no_grad()
def points_of(source: Artifact, z: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [n, 2] of the latent vectors z [n, latent_dim]."""
    return np.concatenate(list(_outputs(source, z)))


def _write_points(points: NDArray[np.float32], data: str, out: str) -> str:
    """As text, or as a picture over the data they were learnt from."""
    if Path(out).suffix.lower() not in (".png", ".csv"):
        raise UserError(f"out={out}: this generator makes points; expected a file ending in .png or .csv")
    if Path(out).suffix.lower() == ".csv":
        return str(write_points(points, out))
    real = open_points(data).values[: len(points)] if are_points((data,)) else points
    with atomic_file(out) as partial:
        to_image(plane(real, points)).save(partial, "PNG")
    return out


def between(
    start: NDArray[np.float32], end: NDArray[np.float32], share: float, distribution: str
) -> NDArray[np.float32]:
    """The latent vector at `share` of the way from start to end, both [latent_dim].

    Along the great circle for normal latents (White 2016), whose length is nearly constant; straight for uniform.
    """
    if distribution == "uniform":
        return (1.0 - share) * start + share * end
    # In single precision the sine of opposite vectors' angle is far enough from 0 to divide by.
    first, second = start.astype(np.float64), end.astype(np.float64)
    angle = np.arccos(np.clip(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)), -1.0, 1.0))
    if np.isclose(np.sin(angle), 0.0):
        return (1.0 - share) * start + share * end
    return (np.sin((1.0 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)


def way(source: Artifact, seeds: tuple[int, ...], frames: int) -> NDArray[np.float32]:
    """Latent vectors [n, latent_dim] that pass through the first of each seed, `frames` to a leg, ends included."""
    about = source.description
    stops = [latents(1, about.latent_dim, about.latent_distribution, seed)[0] for seed in seeds]
    legs = [
        between(start, end, step / frames, about.latent_distribution)
        for start, end in zip(stops, stops[1:], strict=False)
        for step in range(frames)
    ]
    return np.stack([*legs, stops[-1]]).astype(np.float32)


def _as_pictures(images: NDArray[np.uint8]) -> list[Image.Image]:
    """Images [n, h, w, c] as Pillow has them."""
    return [Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image) for image in images]


def _interpolate(source: Artifact, settings: SampleSettings) -> str:
    if source.description.makes_points:
        raise UserError("interpolate: for images, and this generator makes points")
    if len(settings.interpolate) < 2:
        raise UserError("interpolate: expected at least two seeds, as 1,2")
    images = images_of(source, way(source, settings.interpolate, settings.frames))
    strip = Path(settings.out).with_suffix(".png")
    write_picture(grid(images, columns=len(images)), strip)
    with atomic_file(strip.with_suffix(".gif")) as partial:
        write_gif(_as_pictures(images), partial, GIF_MILLISECONDS)
    return f"{strip} and {strip.with_suffix('.gif')}"


def _check_truncation(about: Description, scales: tuple[float, ...]) -> None:
    given = f"truncation={','.join(map(show, scales))}"
    if about.makes_points:
        raise UserError(f"{given}: for images, and this generator makes points")
    if about.latent_distribution == "uniform" and max(scales) > 1:
        raise UserError(f"{given}: this generator's latents are uniform in [-1, 1); expected scales up to 1")


def strips(source: Artifact, z: NDArray[np.float32], scales: tuple[float, ...]) -> Image.Image:
    """A labelled row of images for each scale of the same latent vectors z [n, latent_dim].

    Normal latents of a smaller deviation are the reduced temperature of Kingma and Dhariwal 2018: more typical images,
    less variety.
    """
    rows = [
        labelled(
            _as_pictures(grid(images_of(source, np.float32(scale) * z), columns=len(z))[None])[0], f"z at {scale:g}"
        )
        for scale in scales
    ]
    picture = Image.new(rows[0].mode, (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        picture.paste(row, (0, number * row.height))
    return picture


def _truncate(source: Artifact, settings: SampleSettings) -> str:
    about, out = source.description, Path(settings.out).with_suffix(".png")
    _check_truncation(about, settings.truncation)
    z = latents(settings.count or STRIP_IMAGES, about.latent_dim, about.latent_distribution, settings.seed)
    with atomic_file(out) as partial:
        strips(source, z, settings.truncation).save(partial, "PNG")
    return str(out)


def sample(flags: dict[str, str]) -> None:
    """Write the images that the texts of settings describe; what the command line does."""
    settings = from_flags(SampleSettings, flags)
    if not settings.ckpt:
        raise UserError("ckpt: expected --ckpt=, a run folder, a checkpoint folder or a generator.safetensors")
    if settings.interpolate and settings.truncation:
        raise UserError("interpolate with truncation: expected one of them")
    source = generator_file.load(generator_file.locate(settings.ckpt, settings.weights), settings.generator)
    about = source.description
    try:
        if settings.interpolate:
            print(_interpolate(source, settings))
            return
        if settings.truncation:
            print(_truncate(source, settings))
            return
        count = settings.count or GRID_IMAGES
        z = latents(count, about.latent_dim, about.latent_distribution, settings.seed)
        if about.makes_points:
            print(f"{count} points: {_write_points(points_of(source, z), about.data, settings.out)}")
            return
        written = list(write_images(images_of(source, z), settings.out))
    except SamplerError as error:
        raise UserError(str(error)) from error
    print(f"{count} images: {written[0] if len(written) == 1 else settings.out}")


if __name__ == "__main__":
    command_line.run(sample, SampleSettings, USAGE)
