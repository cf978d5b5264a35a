"""How fast images come: decoding a folder, starting again from the cache, and batches as training takes them.

    python -m tests.benchmarks.input --image_size=64 --batch_size=32

2,000 JPEG files of 256 × 256, made from the embedded digits, in a scratch folder.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wgan_dist import distributed
from wgan_dist.config import Config, command_line, load_config
from wgan_dist.data import ImageDataset, as_inputs, open_images
from wgan_dist.data.samplers import Order, ShareSampler, micro_batches

FILES, SIDE, BATCHES = 2_000, 256, 2_000


def write_photos(folder: Path, digits: ImageDataset) -> None:
    """Files as a camera's, in colour."""
    folder.mkdir()
    for number in range(FILES):
        small = Image.fromarray(np.asarray(digits.pixels[number % len(digits), 0])).convert("RGB")
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg", quality=90)


def opened(config: Config, folder: Path) -> tuple[ImageDataset, float]:
    """The images, and the seconds until they were there."""
    started = time.perf_counter()
    images = open_images((str(folder / "photos"),), config.image_size, None, "ffffff", False, str(folder / "cache"))
    return images, time.perf_counter() - started


def batches_per_second(config: Config, images: ImageDataset) -> float:
    """Batches as the critic takes them, float32 in [−1, 1]."""
    order = Order(config.seed, len(images), config.batch_size)
    shares = distributed.micro_batch_slices(config.batch_size, config.accumulation, distributed.world())
    values = micro_batches(images.values, ShareSampler(order, 0, shares), config.workers, pin_memory=False)
    next(values)
    started = time.perf_counter()
    for _ in range(BATCHES):
        as_inputs(next(values), torch.float32)
    return BATCHES / (time.perf_counter() - started)


def measure(flags: dict[str, str]) -> None:
    """Print the figures."""
    config = load_config(flags)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder / "photos", open_images(("digits",), 32, None, "ffffff", False, str(folder / "cache")))
        images, decoding = opened(config, folder)
        _, again = opened(config, folder)
        rate = batches_per_second(config, images) * config.batch_size
    print(
        f"{FILES:,} JPEG files of {SIDE} × {SIDE} decoded in {decoding:.2f} s ({FILES / decoding:,.0f} a second), "
        f"opened again in {again:.3f} s; batches of {config.batch_size} at {config.image_size} × {config.image_size}: "
        f"{rate:,.0f} images a second"
    )


if __name__ == "__main__":
    command_line.run_command("tests.benchmarks.input:measure", Config, __doc__ or "", dict)
