"""How long an exported generator takes for an image, each file alone in a process of its own.

`python -m wgan_dist.reports.timing FILE` is that process: it prints milliseconds per image at each batch as JSON.
"""

import json
import os
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

from export.loaders import open_generator
from export.sampler import to_uint8
from wgan_dist.checkpoints import generator_file
from wgan_dist.config import command_line
from wgan_dist.reporting.runs import Run

BATCHES = (1, 64)
WARM_UP, LEAST_REPEATS, LEAST_SECONDS = 2, 3, 1.0
HANG_SECONDS = 600
PROTOCOL = (
    "From latents to images of whole levels, on the CPU, with as many threads as the library chooses: median of "
    f"repeated calls over at least {LEAST_SECONDS:g} second, after {WARM_UP} calls to warm up. One file at a time, "
    "each in a process of its own, on the machine below, when this page was made."
)

# Samples by their numbers.
Draw = Callable[[slice], Any]


@dataclass(frozen=True)
class Timing:
    """Milliseconds per image of a file by batch size, or words for why there are none."""

    file: str
    size_bytes: int
    milliseconds: dict[int, float]
    error: str = ""


def exported_files(run: Run) -> list[Path]:
    """The generators in a run's folder: its own file, and what was exported beside it."""
    own = run.folder / generator_file.EMA_FILE
    exports = [path for suffix in ("*.onnx", "*.pt", "*.pt2") for path in sorted(run.folder.glob(suffix))]
    return [path for path in (own, *exports) if path.is_file()]


def milliseconds_per_image(draw: Draw, size: int) -> float:
    """The median over repeated draws of a batch of `size`."""
    for _ in range(WARM_UP):
        draw(slice(size))
    took: list[float] = []
    while len(took) < LEAST_REPEATS or sum(took) < LEAST_SECONDS:
        begun = time.perf_counter()
        draw(slice(size))
        took.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(took) / size


def drawing(path: Path, own_class: str) -> Draw:
    """What draws samples of a generator's file by their numbers, as images of whole levels uint8, or points
    float32 [n, 2]. Raises UserError for a file that is none.
    """
    subject = open_generator(path, own_class, max(BATCHES), seed=0)

    def draw(part: slice) -> NDArray[Any]:
        samples = subject.draw(part).numpy()
        return to_uint8(samples) if samples.ndim == 4 and samples.dtype == np.float32 else samples

    return draw


def measure(path: Path, own_class: str) -> dict[int, float]:
    """Milliseconds per image at each batch size, in this process."""
    draw = drawing(path, own_class)
    return {size: milliseconds_per_image(draw, size) for size in BATCHES}


def time_file(path: Path, own_class: str) -> Timing:
    """Measure a file alone in a process of its own."""
    command = [sys.executable, "-m", __name__, str(path), own_class]
    size = path.stat().st_size
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # onnxruntime would take it, torch not: all on the CPU
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        return Timing(path.name, size, {}, f"not done after {HANG_SECONDS} seconds")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"ended with {error.returncode}"]
        return Timing(path.name, size, {}, lines[-1].removeprefix("error: "))
    found = json.loads(done.stdout.splitlines()[-1])
    return Timing(path.name, size, {int(batch): float(value) for batch, value in found.items()})


if __name__ == "__main__":
    command_line.guarded(lambda: print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2]))))
