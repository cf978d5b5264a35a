"""Measure the input pipeline: decoding a folder, opening its cache, and loading batches.

    python -m tests.benchmarks.input --image_size=64 --batch_size=32

It writes 2,000 JPEG files of 256 × 256 pixels, made from the embedded digits, into a temporary folder.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wgan_dist import distributed
from wgan_dist.config import Config, command_line, load_config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.samplers import GlobalBatchOrder, RankSampler, micro_batches, to_network_inputs

FILES, SIDE, BATCHES = 2_000, 256, 2_000


def write_photos(folder: Path, digits: ImageDataset) -> None:
    """Write JPEG files in colour."""
    folder.mkdir()
    for number in range(FILES):
        small = Image.fromarray(np.asarray(digits.pixels[number % len(digits), 0])).convert("RGB")
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg", quality=90)


def timed_open(config: Config, folder: Path) -> tuple[ImageDataset, float]:
    """Return the images and the seconds that opening them took."""
    started = time.perf_counter()
    images = open_images((str(folder / "photos"),), ImageSettings(config.image_size), str(folder / "cache"))
    return images, time.perf_counter() - started


def batches_per_second(config: Config, images: ImageDataset) -> float:
    """Return the number of batches a second, converted to float32 in [−1, 1]."""
    order = GlobalBatchOrder(config.seed, len(images), config.batch_size)
    rank_slices = distributed.micro_batch_slices(config.batch_size, config.accumulation, distributed.world())
    batches = micro_batches(images.values, RankSampler(order, 0, rank_slices), config.workers, pin_memory=False)
    next(batches)
    started = time.perf_counter()
    for _ in range(BATCHES):
        to_network_inputs(next(batches)[0], torch.float32)
    return BATCHES / (time.perf_counter() - started)


def measure(flags: dict[str, str]) -> None:
    """Print decoding and loading speed."""
    config = load_config(flags)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder / "photos", open_images(("digits",), ImageSettings(square(32)), str(folder / "cache")))
        images, decoding = timed_open(config, folder)
        _, reopening = timed_open(config, folder)
        rate = batches_per_second(config, images) * config.batch_size
    print(
        f"{FILES:,} JPEG files of {SIDE} × {SIDE} decoded in {decoding:.2f} s ({FILES / decoding:,.0f} a second), "
        f"opened from the cache in {reopening:.3f} s; "
        f"batches of {config.batch_size} at {config.image_size} × {config.image_size}: {rate:,.0f} images a second"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.input:measure", Config, __doc__ or "", dict)
