"""How long an exported generator takes for an image, each file alone in a process of its own.

`python -m wgan_dist.reports.timing FILE` is that process: it prints milliseconds per image at each batch as JSON.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.sampler import Sampler, SamplerError, latents, to_uint8
from wgan_dist import artifact, cli
from wgan_dist.errors import UserError
from wgan_dist.reports.runs import Run

BATCHES = (1, 64)
WARM_UP, LEAST_REPEATS, LEAST_SECONDS = 2, 3, 1.0
HANG_SECONDS = 600
PROTOCOL = (
    "From latents to images of whole levels, on the CPU, with as many threads as the library chooses: median of "
    f"repeated calls over at least {LEAST_SECONDS:g} second, after {WARM_UP} calls to warm up. One file at a time, "
    "each in a process of its own, on the machine below, when this page was made."
)

Draw = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True)
class Timing:
    """Milliseconds per image of a file by batch size, or words for why there are none."""

    file: str
    size_bytes: int
    milliseconds: dict[int, float]
    error: str = ""


def exported_files(run: Run) -> list[Path]:
    """The generators in a run's folder: its own file, and what was exported beside it."""
    own = run.folder / artifact.EMA_FILE
    exports = [path for suffix in ("*.onnx", "*.pt") for path in sorted(run.folder.glob(suffix))]
    return [path for path in (own, *exports) if path.is_file()]


def _open_onnx(path: Path) -> tuple[Draw, int, str]:
    sampler = Sampler(path, provider="cpu")
    return sampler.images, sampler.latent_dim, sampler.latent_distribution


def _open_safetensors(path: Path, own_class: str) -> tuple[Draw, int, str]:
    from wgan_dist.sample import images_of, points_of

    source = artifact.load(path, own_class)
    about = source.description
    draw = points_of if about.makes_points else images_of
    return lambda z: draw(source, z), about.latent_dim, about.latent_distribution


def _open_torchscript(path: Path) -> tuple[Draw, int, str]:
    import torch

    from export.torchscript import METADATA_FILE

    files = {METADATA_FILE: ""}
    try:
        script = torch.jit.load(str(path), map_location="cpu", _extra_files=files)
        about = json.loads(files[METADATA_FILE])
        latent_dim, distribution = int(about["wgan_dist.latent_dim"]), about["wgan_dist.latent_distribution"]
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a TorchScript file written by export.torchscript") from error

    def draw(z: NDArray[np.float32]) -> Any:
        with torch.no_grad():
            images = script(torch.from_numpy(z)).numpy()
        return to_uint8(images) if images.ndim == 4 and images.dtype == np.float32 else images

    return draw, latent_dim, distribution


def open_file(path: Path, own_class: str) -> tuple[Draw, int, str]:
    """What draws images, the length of its latents and their distribution; raises UserError for no generator."""
    try:
        if path.suffix == ".onnx":
            return _open_onnx(path)
    except SamplerError as error:
        raise UserError(str(error)) from error
    return _open_torchscript(path) if path.suffix == ".pt" else _open_safetensors(path, own_class)


def milliseconds_per_image(draw: Draw, z: NDArray[np.float32]) -> float:
    """The median over repeated calls with the latents z [n, latent_dim]."""
    for _ in range(WARM_UP):
        draw(z)
    took: list[float] = []
    while len(took) < LEAST_REPEATS or sum(took) < LEAST_SECONDS:
        begun = time.perf_counter()
        draw(z)
        took.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(took) / len(z)


def measure(path: Path, own_class: str) -> dict[int, float]:
    """Milliseconds per image at each batch size, in this process."""
    draw, latent_dim, distribution = open_file(path, own_class)
    return {size: milliseconds_per_image(draw, latents(size, latent_dim, distribution)) for size in BATCHES}


def time_file(path: Path, own_class: str) -> Timing:
    """Measure a file alone in a process of its own."""
    command = [sys.executable, "-m", __name__, str(path), own_class]
    size = path.stat().st_size
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return Timing(path.name, size, {}, f"not done after {HANG_SECONDS} seconds")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"ended with {error.returncode}"]
        return Timing(path.name, size, {}, lines[-1].removeprefix("error: "))
    found = json.loads(done.stdout.splitlines()[-1])
    return Timing(path.name, size, {int(batch): float(value) for batch, value in found.items()})


if __name__ == "__main__":
    cli.guarded(lambda: print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2]))))
